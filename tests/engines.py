"""Run one engine over two directories, as `drift diff` does."""

from typing import TYPE_CHECKING

from drift.compare import differences, listed
from drift.diff.stream import Block
from drift.locate import locate

if TYPE_CHECKING:
    from drift.model import Change, Skipped


def diff(live, blank, engine="auto"):
    """The sorted changes between two directories; `blank` None means an empty baseline."""
    changes, skipped = diff_and_skipped(live, blank, engine)
    assert skipped == []
    return changes


def diff_and_skipped(live, blank, engine="auto"):
    """The same, with what could not be read."""
    # What drift chooses is `generation` wherever the lineage is proved.
    chosen = "auto" if engine == "generation" else engine
    located = locate(live, b"none" if blank is None else blank, chosen, explicit_live=True)
    skipped: list[Skipped] = []
    changes: list[Change] = []
    try:
        with differences(located, skipped) as stream:
            for item in listed(stream):
                changes.extend(item.changes() if isinstance(item, Block) else [item])
    finally:
        located.close()
    return changes, skipped
