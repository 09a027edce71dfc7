"""Lineages: every way in which people's live root and blank descend from each other, or don't."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import btrfsutil

if TYPE_CHECKING:
    from collections.abc import Callable

    from histories import History

LINEAGES: dict[str, Callable[[History], tuple[str, str | None]]] = {}


def _lineage(
    function: Callable[[History], tuple[str, str | None]],
) -> Callable[[History], tuple[str, str | None]]:
    """Register a function that plays a history and returns the names of live and blank."""
    LINEAGES[function.__name__.replace("_", " ")] = function
    return function


def _blank(history: History, name: str = "root-blank", *, steps: int = 8) -> str:
    """Make a subvolume that has seen some life."""
    history.create(name)
    history.populate(name)
    history.edit(name, steps)
    return name


@_lineage
def live_from_blank(history: History) -> tuple[str, str]:
    blank = _blank(history)
    if history.rng.random() < 0.5:
        history.freeze(blank)
    history.snapshot(blank, "root")
    history.perhaps_remount()
    history.edit("root")
    return "root", blank


@_lineage
def blank_from_live(history: History) -> tuple[str, str]:
    live = _blank(history, "root")
    history.snapshot(live, "root-blank", readonly=True)
    history.edit(live)
    return live, "root-blank"


@_lineage
def rolled_back_several_times(history: History) -> tuple[str, str]:
    blank = _blank(history)
    for _ in range(history.rng.randrange(2, 4)):
        history.snapshot(blank, "root")
        history.edit("root", 5)
        history.perhaps_remount()
        history.delete("root")
    history.snapshot(blank, "root")
    history.edit("root")
    return "root", blank


@_lineage
def rolled_back_keeping_old_roots(history: History) -> tuple[str, str]:
    blank = _blank(history)
    for number in range(2):
        history.snapshot(blank, "root")
        history.edit("root", 6)
        history.move("root", f"old_roots/{number}")
    if history.rng.random() < 0.3:
        return "old_roots/1", blank
    history.snapshot(blank, "root")
    history.edit("root")
    return "root", blank


@_lineage
def rolled_back_to_a_blank_from_live(history: History) -> tuple[str, str]:
    live = _blank(history, "root")
    history.snapshot(live, "root-blank", readonly=True)
    history.edit(live, 6)
    history.delete(live)
    history.snapshot("root-blank", "root")
    history.perhaps_remount()
    history.edit("root")
    return "root", "root-blank"


@_lineage
def copied(history: History) -> tuple[str, str]:
    return _copied(history, reflink=False)


@_lineage
def copied_by_reflink(history: History) -> tuple[str, str]:
    return _copied(history, reflink=True)


def _copied(history: History, *, reflink: bool) -> tuple[str, str]:
    blank = _blank(history)
    history.create("root")
    history.copy(blank, "root", reflink=reflink)
    history.edit("root", history.rng.choice((2, 10)))
    if history.rng.random() < 0.3:
        history.edit(blank, 5)
    return "root", blank


@_lineage
def sent_and_received(history: History) -> tuple[str, str]:
    """The received subvolume knows its origin only as received_uuid."""
    live = _blank(history, "root")
    history.snapshot(live, "root-blank", readonly=True)
    history.send("root-blank", "received")
    if history.rng.random() < 0.5:
        history.edit(live)
        return live, "received/root-blank"
    history.snapshot("received/root-blank", "restored")
    history.edit("restored")
    return "restored", history.rng.choice(("root-blank", "received/root-blank"))


@_lineage
def sent_incrementally(history: History) -> tuple[str, str]:
    live = _blank(history, "root")
    history.snapshot(live, "first", readonly=True)
    history.send("first", "received")
    history.edit(live, 10)
    history.snapshot(live, "second", readonly=True)
    history.send("second", "received", parent="first")
    history.edit(live, 8)
    sides = ("first", "received/first", "second", "received/second", "root")
    one, other = history.rng.sample(sides, 2)
    return one, other


@_lineage
def written_to_after_being_received(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "frozen", readonly=True)
    history.send("frozen", "received")
    history.freeze("received/frozen", frozen=False)
    history.snapshot("received/frozen", "root")
    history.edit("received/frozen", 5)
    history.edit("root", 8)
    return "root", "received/frozen"


@_lineage
def snapshot_of_a_snapshot(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "middle")
    history.edit("middle", 8)
    history.snapshot("middle", "root")
    history.edit("root", 8)
    if history.rng.random() < 0.3:
        history.edit("middle", 5)
    return "root", blank


@_lineage
def snapshot_of_a_deleted_snapshot(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "middle")
    history.edit("middle", 8)
    history.snapshot("middle", "root")
    history.delete("middle")
    history.perhaps_remount()
    history.edit("root", 8)
    return "root", blank


@_lineage
def blank_two_snapshots_away(history: History) -> tuple[str, str]:
    live = _blank(history, "root")
    history.snapshot(live, "middle")
    history.edit("middle", 6)
    history.edit(live, 6)
    history.snapshot("middle", "root-blank", readonly=True)
    if history.rng.random() < 0.5:
        history.delete("middle")
    history.edit(live, 6)
    return live, "root-blank"


@_lineage
def siblings(history: History) -> tuple[str, str]:
    ancestor = _siblings(history)
    history.edit(ancestor, 3)
    return "root", "root-blank"


@_lineage
def siblings_of_a_deleted_ancestor(history: History) -> tuple[str, str]:
    history.delete(_siblings(history))
    history.perhaps_remount()
    history.edit("root", 5)
    return "root", "root-blank"


def _siblings(history: History) -> str:
    ancestor = _blank(history, "ancestor")
    first, second = history.rng.sample(("root", "root-blank"), 2)
    history.snapshot(ancestor, first)
    history.edit(ancestor, history.rng.choice((0, 8)))
    history.snapshot(ancestor, second)
    if history.rng.random() < 0.5:
        history.edit("root-blank", 5)
    history.edit("root", 10)
    return ancestor


@_lineage
def cousins(history: History) -> tuple[str, str]:
    ancestor = _blank(history, "ancestor")
    for side in ("root", "root-blank"):
        history.snapshot(ancestor, f"parent-of-{side}")
        history.edit(f"parent-of-{side}", 4)
        history.snapshot(f"parent-of-{side}", side)
        if history.rng.random() < 0.3:
            history.delete(f"parent-of-{side}")
        history.edit(ancestor, 3)
    history.edit("root", 8)
    return "root", "root-blank"


@_lineage
def blank_edited_after_the_snapshot(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "root")
    first, second = history.rng.sample((blank, "root"), 2)
    history.edit(first, 8)
    history.perhaps_remount()
    history.edit(second, 8)
    return "root", blank


@_lineage
def blank_edited_once(history: History) -> tuple[str, str]:
    """A single change of the blank, and live left as it is: the easiest one to miss."""
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit(blank, 1)
    return "root", blank


@_lineage
def both_edited_after_the_blank_was_taken(history: History) -> tuple[str, str]:
    live = _blank(history, "root")
    history.snapshot(live, "root-blank")
    history.edit("root-blank", 6)
    history.edit(live, 6)
    history.edit("root-blank", 6)
    return live, "root-blank"


@_lineage
def blank_edited_and_snapshotted_again(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit("root", 6)
    history.edit(blank, 4)
    history.snapshot(blank, "other")
    history.edit("root", 6)
    return history.rng.choice(("root", "other")), blank


@_lineage
def blank_snapshotted_again_and_again(history: History) -> tuple[str, str]:
    """Each snapshot raises the generation of its source, though nothing in it changes."""
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit("root", 8)
    for number in range(3):
        history.snapshot(blank, f"copies/{number}", readonly=True)
    history.edit("root", 4)
    return "root", blank


@_lineage
def blank_made_again_from_its_snapshot(history: History) -> tuple[str, str]:
    original = _blank(history, "original")
    history.snapshot(original, "root")
    history.snapshot(original, "root-blank", readonly=True)
    if history.rng.random() < 0.6:
        history.delete(original)
    history.edit("root")
    return "root", "root-blank"


@_lineage
def blank_made_again_from_live(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit("root", 8)
    history.delete(blank)
    history.snapshot("root", "root-blank", readonly=True)
    history.edit("root", 8)
    return "root", "root-blank"


@_lineage
def blank_empty(history: History) -> tuple[str, str]:
    history.create("root-blank")
    if history.rng.random() < 0.5:
        history.snapshot("root-blank", "root")
    else:
        history.create("root")
    history.populate("root")
    history.edit("root")
    return "root", "root-blank"


@_lineage
def no_blank(history: History) -> tuple[str, None]:
    live = _blank(history, "root")
    history.edit(live)
    return live, None


@_lineage
def unrelated(history: History) -> tuple[str, str]:
    """Both were filled alike in the same minute: equal inode numbers, other files."""
    for side in ("root-blank", "root"):
        history.create(side)
        history.populate(side)
    history.edit("root", 8)
    return "root", "root-blank"


@_lineage
def blank_holding_the_snapshot_inside(history: History) -> tuple[str, str]:
    """The guide's trap: `root-blank` existed, so the snapshot went to `root-blank/root`."""
    history.create("root-blank")
    live = _blank(history, "root")
    history.snapshot(live, "root-blank/root", readonly=True)
    history.edit(live, 10)
    return live, history.rng.choice(("root-blank", "root-blank/root"))


@_lineage
def blank_inside_of_live(history: History) -> tuple[str, str]:
    """Taking it writes to live's directory in the very generation at which the two part."""
    live = _blank(history, "root")
    directory = history.rng.choice(("root", "root/var", "root/etc/ssh"))
    blank = f"{directory}/root-blank"
    try:
        history.snapshot(live, blank, readonly=True)
    except OSError:
        # Something else than a directory is there by now, or a read-only subvolume.
        blank = "root-blank"
        history.snapshot(live, blank, readonly=True)
    history.edit(live, history.rng.choice((0, 1, 6)))
    path = history.path(blank)
    if not os.path.isdir(path) or os.path.islink(path) or not btrfsutil.is_subvolume(path):
        history.snapshot(live, "root-blank-again", readonly=True)
        return live, "root-blank-again"
    return live, blank


@_lineage
def live_inside_of_the_blank(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, f"{blank}/root")
    history.edit(f"{blank}/root", history.rng.choice((0, 1, 6)))
    return f"{blank}/root", blank


@_lineage
def live_left_alone(history: History) -> tuple[str, str]:
    """Nothing or next to nothing happened: what is invented shows."""
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit("root", history.rng.choice((0, 1, 2)))
    return "root", blank


@_lineage
def inode_numbers_given_out_again(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "root")
    for _ in range(3):
        _delete_newest(history, "root")
        history.remount()
        history.edit("root", 4)
    return "root", blank


@_lineage
def inode_numbers_given_out_again_in_the_blank(history: History) -> tuple[str, str]:
    blank = _blank(history)
    history.snapshot(blank, "root")
    for side in (blank, "root"):
        _delete_newest(history, side)
    history.remount()
    history.edit(blank, 4)
    history.edit("root", 4)
    return "root", blank


@_lineage
def blank_newer_than_live(history: History) -> tuple[str, str]:
    """What a user sees who compares an old root with the root of today."""
    blank = _blank(history)
    history.snapshot(blank, "root")
    history.edit("root", 8)
    return blank, "root"


def _delete_newest(history: History, name: str) -> None:
    """Delete the files of the highest inode numbers: they are the first to be used again."""
    top = history.path(name)
    files = sorted(
        (
            (entry.inode(), entry.name)
            for entry in os.scandir(top)
            if entry.is_file(follow_symlinks=False)
        ),
        reverse=True,
    )
    for _, file in files[:3]:
        history.say(f"{name}: delete {file!r}")
        with suppress(OSError):
            os.unlink(top + b"/" + os.fsencode(file))
