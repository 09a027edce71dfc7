"""Run one engine over two directories, as `drift diff` does."""

from drift.compare import differences
from drift.diff.stream import Block
from drift.locate import locate


def diff(live, blank, engine="auto"):
    """The sorted changes between two directories; `blank` None means an empty baseline."""
    # What drift chooses is `generation` wherever the lineage is proved.
    chosen = "auto" if engine == "generation" else engine
    located = locate(live, b"none" if blank is None else blank, chosen, explicit_live=True)
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
