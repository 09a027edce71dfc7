"""The data sets as they lie on the disk: which subvolumes there are, and how they came to be.

For each number of files N there is a directory of that name with the subvolumes

    empty, b                 set B: an empty blank, and a live root that holds all N files
    blank, a                 set A: `b` frozen, and its snapshot with 1 % changed
    k                        set K: a snapshot of `blank` with 2,000 changes
    same                     a snapshot of `blank` where nothing is changed
    alone, nested            `b` again, alone and with 50 snapshots of itself
    *-now                    what `btrfs send` needs: the live root as a read-only snapshot
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import build
from bench.disk import command
from bench.plan import MIB, Directory, Entry, Plan, Truth, changes, everything, plan
from bench.tools import Pair

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from bench.disk import Disk

K_CHANGES = 2000
# A smaller tree has no room for so many changes.
K_LEAST = 4 * K_CHANGES
SNAPSHOTS = 50
# Times of the kernel advance in ticks; what must be older waits for the next one.
TICK = 0.02

CONTENT_SMALL = 1500
CONTENT_LARGE = 6


@dataclass(frozen=True, slots=True)
class Trees:
    """The pairs of one N; those that no set needs are missing."""

    count: int
    pairs: dict[str, Pair]


@dataclass(frozen=True, slots=True)
class Content:
    """Pairs of equal trees: `read` must be read, `shared` share their extents.

    `files` lists what a sequential read of each `read` pair takes, NUL between names.
    """

    bytes: int
    read: dict[str, Pair]
    shared: dict[str, Pair]
    files: dict[str, Path]


def make_trees(disk: Disk, count: int, sets: Collection[str]) -> Trees:
    """Build what `sets` need of the trees with `count` files."""
    name = str(count)
    planned = plan(count)
    whole = everything(planned)
    pairs = {}
    disk.subvolume(f"{name}/empty")
    disk.freeze(f"{name}/empty")
    _branch(disk, f"{name}/b", f"{name}/empty")
    reference = _reference(disk, f"{name}-b")
    build.write_tree(disk.top / name / "b", planned)
    disk.sync()
    pairs["B"] = _pair(disk, f"{name}/b", f"{name}/empty", whole, reference)
    changed = {kind: name for kind, name in (("A", "a"), ("K", "k")) if kind in sets}
    if count < K_LEAST:
        changed.pop("K", None)
    if changed or "small" in sets:
        blank = f"{name}/blank"
        disk.subvolume(blank, of=f"{name}/b", readonly=True)
        disk.subvolume(f"{name}/same", of=blank)
        pairs["same"] = Pair(disk.top, f"{name}/same", blank, Truth())
        for each in changed.values():
            _branch(disk, f"{name}/{each}", blank)
        reference = _reference(disk, f"{name}-blank")
        wanted = {"A": count // 100, "K": K_CHANGES}
        for kind, each in changed.items():
            acts, truth = changes(planned, wanted[kind])
            build.apply_changes(disk.top / name / each, acts)
            disk.sync()
            pairs[kind] = _pair(disk, f"{name}/{each}", blank, truth, reference)
    if "nested" in sets:
        disk.subvolume(f"{name}/alone", of=f"{name}/b")
        disk.subvolume(f"{name}/nested", of=f"{name}/b")
        # A scan takes each snapshot as one entry.
        extra = everything(planned)
        extra.add("A", ".snapshots")
        for number in range(1, SNAPSHOTS + 1):
            inside = f".snapshots/{number}/snapshot"
            disk.subvolume(f"{name}/nested/{inside}", of=f"{name}/alone", readonly=True)
            extra.add("A", f".snapshots/{number}")
            extra.add("A", inside)
        pairs["alone"] = Pair(disk.top, f"{name}/alone", f"{name}/empty", whole)
        pairs["nested"] = Pair(disk.top, f"{name}/nested", f"{name}/empty", extra)
    disk.sync()
    return Trees(count, pairs)


def make_content(disk: Disk) -> Content:
    """Build four pairs of equal trees: with and without history, with and without shared extents."""
    planned = _content_plan()
    blank = "content/blank"
    build.write_tree(disk.subvolume(blank), planned)
    disk.sync()
    disk.freeze(blank)
    written = disk.subvolume("content/written", of=blank)
    touched = disk.subvolume("content/touched", of=blank)
    for entry in planned.entries:
        with open(written / entry.path, "r+b") as file:
            file.write(build.content(entry.seed, entry.size))
        os.utime(touched / entry.path)
    build.write_tree(disk.subvolume("content/copied"), planned)
    cloned = disk.subvolume("content/cloned")
    command("cp", "-a", "--reflink=always", f"{disk.top / blank}/.", cloned)
    disk.sync()

    def pair(name: str) -> Pair:
        return Pair(disk.top, f"content/{name}", blank, Truth())

    files = {}
    for name, live in (("A", "written"), ("B", "copied")):
        files[name] = disk.scratch / f"content-{name}"
        paths = [
            f"{side}/{entry.path}\0"
            for entry in planned.entries
            for side in (f"content/{live}", blank)
        ]
        files[name].write_text("".join(paths))
    return Content(
        2 * sum(entry.size for entry in planned.entries),
        {"A": pair("written"), "B": pair("copied")},
        {"A": pair("touched"), "B": pair("cloned")},
        files,
    )


def _content_plan() -> Plan:
    directories = [Directory(f"dir-{number}", 0, 0, 0o755) for number in range(100)]
    entries = [
        Entry(f"dir-{number % 100}/file-{number}", 0, 0, 0o644, size, number)
        for number, size in enumerate(
            [50 * MIB] * CONTENT_LARGE
            + [64 * 1024 + 131 * number for number in range(CONTENT_SMALL)]
        )
    ]
    return Plan(directories, entries)


def _branch(disk: Disk, live: str, blank: str) -> None:
    """Snapshot `blank`, once as `live` and once for snapper.

    All of it comes before the first change: find-new begins at the blank's own generation, and each
    further snapshot of the blank would raise that past changes.
    """
    disk.subvolume(live, of=blank)
    disk.subvolume(f"{live}-snapper")
    disk.subvolume(f"{live}-snapper/.snapshots")
    disk.subvolume(f"{live}-snapper/.snapshots/1/snapshot", of=blank, readonly=True)
    disk.sync()


def _pair(disk: Disk, live: str, blank: str, truth: Truth, reference: Path) -> Pair:
    """A changed branch with everything that the rivals need."""
    disk.subvolume(f"{live}-now", of=live, readonly=True)
    disk.subvolume(f"{live}-snapper/.snapshots/2/snapshot", of=live, readonly=True)
    snapper = disk.top / f"{live}-snapper"
    for number in (1, 2):
        (snapper / f".snapshots/{number}/info.xml").write_text(_INFO.format(number=number))
    return Pair(disk.top, live, blank, truth, f"{live}-now", reference, snapper)


_INFO = """\
<?xml version="1.0"?>
<snapshot>
  <type>single</type>
  <num>{number}</num>
  <date>2024-01-01 00:00:00</date>
  <description>benchmark</description>
</snapshot>
"""


def configure_snapper(disk: Disk, pairs: list[Pair]) -> None:
    """Give snapper a configuration for each pair, in the mounts of this process alone."""
    etc, default = disk.scratch / "snapper", disk.scratch / "default"
    (etc / "configs").mkdir(parents=True)
    default.mkdir()
    names = []
    for pair in pairs:
        assert pair.snapper is not None
        name = pair.live.replace("/", "-")
        names.append(name)
        (etc / "configs" / name).write_text(f'SUBVOLUME="{pair.snapper}"\nFSTYPE="btrfs"\n')
    (default / "snapper").write_text(f'SNAPPER_CONFIGS="{" ".join(names)}"\n')
    for source, at in ((etc, "/etc/snapper"), (default, "/etc/default")):
        command("mount", "--bind", source, at)


def _reference(disk: Disk, name: str) -> Path:
    """A file between what was written before and what comes next."""
    time.sleep(TICK)
    path = disk.scratch / f"reference-{name}"
    path.touch()
    time.sleep(TICK)
    return path
