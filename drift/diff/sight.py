"""What the entries of a directory are, with the tree that each one's inode is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import kind_of
from drift.diff.trees import ROOT, Tree, stub
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drift.btrfs.items import DirEntry
    from drift.btrfs.trees import Node
    from drift.diff.trees import Side


class Place(NamedTuple):
    """A directory of one side; without a tree, a snapshot's stub, which is in none."""

    tree: Tree | None
    inode: int


class Seen(NamedTuple):
    """An entry of one side, with the tree its inode is in and, for a directory, where to go on."""

    node: Node
    kind: Kind
    tree: Tree | None
    place: Place | None
    # Of a nested snapshot of this side's own that is not looked into: what it was taken of.
    origin: bytes | None = None


def see(
    place: Place,
    entries: Mapping[bytes, DirEntry],
    side: Side | None,
    other: Collection[bytes],
    *,
    one_directory: bool = False,
    snapshots_whole: bool,
) -> dict[bytes, Seen]:
    """Look at entries of a directory; those whose inode is gone are missing in the answer.

    Names that are not in `other` exist on one side only. `one_directory` says that the directory is
    the same old one on both sides, so that an inode that it alone names there, and that did not
    turn out unequal, is new or gone. With `snapshots_whole`, a read-only snapshot of the side
    itself, as snapper keeps them, is one entry that is not looked into.
    """
    tree = place.tree
    if tree is None or side is None or not entries:
        return {}
    seen: dict[bytes, Seen] = {}
    nodes: dict[int, Node] = {}
    wanted = []
    for name, entry in entries.items():
        if not entry.subvolume:
            outline = None
            if name not in other:
                outline = tree.outline(entry.objectid, gone=one_directory)
            if outline is None:
                wanted.append(entry.objectid)
            else:
                nodes[entry.objectid] = outline
    if wanted:
        nodes.update(tree.nodes(wanted))
    for entry in entries.values():
        if entry.subvolume:
            if snapshots_whole:
                snapshot = _see_snapshot(tree, place.inode, entry, side)
                if snapshot is not None:
                    seen[entry.name] = snapshot
                    continue
            nested = side.nested(tree, place.inode, entry)
            seen[entry.name] = (
                Seen(stub(tree.node(place.inode)), Kind.DIRECTORY, None, Place(None, 0))
                if nested is None
                else see_root(nested, Kind.SUBVOLUME)
            )
            continue
        node = nodes.get(entry.objectid)
        if node is not None:
            seen[entry.name] = seen_of(node, tree)
    return seen


def seen_of(node: Node, tree: Tree) -> Seen:
    place = Place(tree, node.inode) if node.is_directory else None
    return Seen(node, kind_of(node.mode), tree, place)


def see_root(tree: Tree, kind: Kind) -> Seen:
    node = tree.node(ROOT)
    if node is None:
        return Seen(stub(None), kind, tree, Place(tree, ROOT))
    return Seen(node, kind, tree, Place(tree, ROOT))


def entries_of(place: Place) -> dict[bytes, DirEntry]:
    return {} if place.tree is None else place.tree.entries(place.inode)


def change_of(status: Status, path: bytes, seen: Seen) -> Change:
    node = seen.node
    return Change(
        status,
        path,
        seen.kind,
        node.size,
        node.mode & 0o7777,
        node.uid,
        node.gid,
        node.mtime,
        target=node.inline if seen.kind is Kind.SYMLINK else seen.origin,
    )


def _see_snapshot(tree: Tree, directory: int, entry: DirEntry, side: Side) -> Seen | None:
    """A read-only snapshot of the side itself, as snapper keeps them: one entry for a sum."""
    origin = side.origin(tree, directory, entry)
    node = None if origin is None else side.top_of(entry)
    return None if node is None else Seen(node, Kind.SUBVOLUME, None, None, origin)
