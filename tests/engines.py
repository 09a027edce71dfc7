"""Run one engine over two directories, as `drift diff` does."""

from drift.compare import differences
from drift.diff.stream import Block
from drift.locate import locate


def diff(live, blank, engine="auto"):
    """The sorted changes between two directories; `blank` None means an empty baseline."""
    located = locate(live, b"none" if blank is None else blank, engine, explicit_live=True)
    skipped = []
    changes = []
    try:
        with differences(located, skipped) as stream:
            for item in stream:
                changes.extend(item.changes() if isinstance(item, Block) else [item])
    finally:
        located.close()
    assert skipped == []
    return changes
