"""The truth about two trees by brute force: everything is listed, read and compared.

It shares no code and no idea with drift: directories are listed and entries examined through the
ordinary file calls, every byte of every file is read, and no Btrfs tree is searched.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, NamedTuple

import btrfsutil
from tree_reader import SUBVOLUME_INO, Identity, Node, read_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drift.model import Change

BTRFS_IOC_FS_INFO = 0x8400941F


class Row(NamedTuple):
    """One line of `drift diff`. A value that must not be compared is None.

    That is the size of directories and subvolumes, and the time of a stub: the empty directory that
    a snapshot shows for a nested subvolume has no inode, and so no time of its own.
    """

    status: str
    path: bytes
    source: bytes | None
    modified: bool
    kind: str
    size: int | None
    mode: int | None
    uid: int | None
    gid: int | None
    mtime: int | None


def expected(live: bytes, blank: bytes | None, *, bound: int | None = None) -> list[Row]:
    """Return what `drift diff` must say about two mounted directories, sorted as it sorts.

    A file counts as renamed if both sides know its identity and it was born in generation `bound`
    or before; without a bound, that is when the younger of the two subvolumes was made.
    """
    here = read_tree(live)
    there = read_tree(blank) if blank is not None else {b"/": here[b"/"]}
    if blank is None or not _same_filesystem(live, blank):
        return compare(here, there, bound=-1)
    if bound is None:
        bound = max(btrfsutil.subvolume_info(side).otransid for side in (live, blank))
    return compare(here, there, bound=bound)


def compare(live: Mapping[bytes, Node], blank: Mapping[bytes, Node], *, bound: int) -> list[Row]:
    """Compare two trees that were read; files born after `bound` are never renamed."""
    rows = []
    sources = _renames(live, blank, bound)
    for path, node in live.items():
        if path in sources:
            source = sources[path]
            rows.append(_row("R", path, node, source, blank[source].content != node.content))
        elif path not in blank:
            rows.append(_row("A", path, node))
        elif status := _status(node, blank[path]):
            rows.append(_row(status, path, node))
    gone = blank.keys() - live.keys() - set(sources.values())
    rows.extend(_row("D", path, blank[path]) for path in gone)
    return sorted(rows, key=lambda row: row.path.split(b"/"))


def mirrored(rows: Iterable[Row]) -> list[tuple[str, bytes, bytes | None, bool]]:
    """Return what a comparison the other way round must say: status, path, source, modified."""
    swapped = {"A": "D", "D": "A"}
    turned = [
        (
            swapped.get(row.status, row.status),
            row.path if row.source is None else row.source,
            None if row.source is None else row.path,
            row.modified,
        )
        for row in rows
    ]
    return sorted(turned, key=lambda row: row[1].split(b"/"))


def disagreements(rows: Iterable[Row], changes: Iterable[Change]) -> list[str]:
    """Say where drift's changes differ from the expected rows, a line for each; empty if nowhere.

    The order counts: rows and changes are both sorted.
    """
    wanted = list(rows)
    masks = {row.path: row for row in wanted}
    found = [_masked(change, masks.get(change.path)) for change in changes]
    wrong = [(row, "missed") for row in wanted if row not in found]
    wrong += [(row, "invented") for row in found if row not in wanted]
    if not wrong and found != wanted:
        return ["the changes are right, but not in order or not each once"]
    wrong.sort(key=lambda pair: (pair[0].path.split(b"/"), pair[1]))
    return [f"{word:8} {_text(row)}" for row, word in wrong]


def _masked(change: Change, row: Row | None) -> Row:
    """Turn a change into a row, without the values that the expected row leaves open."""
    values = Row(
        change.status.value,
        change.path,
        change.source,
        change.modified,
        change.kind.value,
        *(change.size, change.mode, change.uid, change.gid, change.mtime),
    )
    if row is None:
        return values
    open_values = zip(row[5:], values[5:], strict=True)
    return Row._make(
        [*values[:5], *(None if wanted is None else value for wanted, value in open_values)]
    )


def _text(row: Row) -> str:
    source = f" from {row.source!r}" if row.source is not None else ""
    modified = " modified" if row.modified else ""
    mode = "-" if row.mode is None else f"{row.mode:04o}"
    return (
        f"{row.status} {row.path!r}{source}{modified} "
        f"({row.kind} size={row.size} mode={mode} {row.uid}:{row.gid} mtime={row.mtime})"
    )


def _same_filesystem(live: bytes, blank: bytes) -> bool:
    """Whether both are subvolumes of one Btrfs filesystem."""
    ids = []
    for path in (live, blank):
        if os.stat(path).st_ino != SUBVOLUME_INO or not btrfsutil.is_subvolume(path):
            return False
        fd = os.open(path, os.O_RDONLY)
        try:
            ids.append(fcntl.ioctl(fd, BTRFS_IOC_FS_INFO, bytes(1024))[16:32])
        finally:
            os.close(fd)
    return ids[0] == ids[1]


def _renames(
    live: Mapping[bytes, Node], blank: Mapping[bytes, Node], bound: int
) -> dict[bytes, bytes]:
    """Map each new name to the name it had: those of one file are paired in sorted order."""
    gone = _names(blank, live, bound)
    new = _names(live, blank, bound)
    return {
        name: source
        for identity in gone.keys() & new.keys()
        for name, source in zip(new[identity], gone[identity], strict=False)
    }


def _names(
    tree: Mapping[bytes, Node], other: Mapping[bytes, Node], bound: int
) -> dict[Identity, list[bytes]]:
    """Collect, for each file of a tree, its names that the other tree hasn't got, sorted."""
    names: dict[Identity, list[bytes]] = {}
    for path in sorted(tree.keys() - other.keys(), key=lambda path: path.split(b"/")):
        identity = tree[path].identity
        if identity is not None and identity.generation <= bound:
            names.setdefault(identity, []).append(path)
    return names


def _status(live: Node, blank: Node) -> str:
    if live.kind != blank.kind:
        return "T"
    if live.content != blank.content:
        return "M"
    return "P" if live.properties != blank.properties else ""


def _row(
    status: str, path: bytes, node: Node, source: bytes | None = None, modified: bool = False
) -> Row:
    size = None if node.kind in ("directory", "subvolume") else node.size
    mtime = None if node.stub else node.mtime
    return Row(
        status, path, source, modified, node.kind, size, node.mode, node.uid, node.gid, mtime
    )
