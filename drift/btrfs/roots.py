"""Read which subvolumes a filesystem has from its tree of roots.

libbtrfsutil has the kernel put each path together (BTRFS_IOC_INO_LOOKUP), which fails for all of
them as soon as one lies below a path of over 4,080 bytes. Here paths may be of any length.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from drift.btrfs.ioctl import ANY, ANY_TYPE, Search
from drift.btrfs.items import (
    FIRST_FREE_OBJECTID,
    FS_TREE_OBJECTID,
    LAST_FREE_OBJECTID,
    ROOT_BACKREF,
    ROOT_ITEM,
    Link,
    MalformedItemError,
    root_backref,
    told_as_damage,
)
from drift.btrfs.subvolumes import NO_UUID, Subvolume
from drift.btrfs.trees import read_items, read_links

ROOT_TREE_OBJECTID = 1
READ_ONLY = 1
# struct btrfs_root_item: behind an inode item generation and six more numbers of which flags is the
# last; then refs, the drop progress and two levels. What follows came later: generation_v2, uuid,
# parent_uuid, received_uuid, ctransid, otransid, stransid, rtransid, ctime, otime.
ROOT = Struct("<160xQ40xQ4x17x2x")
ROOT_LATER = Struct("<Q16s16s16x8xQ8x8x12xqI")


class _Root(NamedTuple):
    """What a Subvolume takes from its root item; an old kernel, if it wrote last, left no lineage."""

    generation: int
    read_only: bool
    uuid: bytes
    parent_uuid: bytes
    otransid: int
    otime: float


def list_subvolumes(fd: int) -> dict[int, Subvolume]:
    """All subvolumes of the filesystem that `fd` is open on, by id, the top level among them.

    DriftError where the user is not root. One that is deleted meanwhile may be missing.
    """
    search = Search(fd)
    try:
        with told_as_damage():
            return _read(search)
    finally:
        search.close()


def _read(search: Search) -> dict[int, Subvolume]:
    roots: dict[int, _Root] = {}
    places: dict[int, tuple[int, Link]] = {}
    everything = (FS_TREE_OBJECTID, ROOT_ITEM, 0), (LAST_FREE_OBJECTID, ANY_TYPE, ANY)
    for tree, kind, offset, payload in read_items(search, ROOT_TREE_OBJECTID, *everything):
        if tree != FS_TREE_OBJECTID and tree < FIRST_FREE_OBJECTID:
            continue
        if kind == ROOT_ITEM:
            roots[tree] = _root(tree, payload)
        elif kind == ROOT_BACKREF:
            places[tree] = offset, root_backref(payload)
    paths = _Paths(search, places)
    found = {}
    for tree, root in roots.items():
        path = paths.of(tree)
        if path is None:
            continue
        parent, link = places.get(tree, (0, Link(0, b"")))
        found[tree] = Subvolume(
            id=tree,
            parent_id=parent,
            directory=link.parent,
            path=path,
            **root._asdict(),
        )
    return found


class _Paths:
    """The paths of subvolumes from the top level, and of the directories that hold them."""

    def __init__(self, search: Search, places: dict[int, tuple[int, Link]]) -> None:
        self._search = search
        # Of each subvolume: the one it is nested in, the directory there, and its name.
        self._places = places
        self._known: dict[tuple[int, int], bytes | None] = {
            (FS_TREE_OBJECTID, FIRST_FREE_OBJECTID): b""
        }

    def of(self, tree: int) -> bytes | None:
        """None for one that is deleted: the kernel takes its place first, and its root later."""
        return self._directory(tree, FIRST_FREE_OBJECTID)

    def _directory(self, tree: int, inode: int) -> bytes | None:
        # Without recursion: there can be as many levels as a path has bytes, and more.
        way: dict[tuple[int, int], bytes] = {}
        place = tree, inode
        while place not in self._known:
            above = self._above(*place)
            # What is moved while it is looked up can seem to lie in itself.
            if above is None or place in way:
                self._known[place] = None
                break
            way[place] = above[1]
            place = above[0]
        path = self._known[place]
        for below, name in reversed(way.items()):
            if path is not None:
                path = path + b"/" + name if path else name
            self._known[below] = path
        return path

    def _above(self, tree: int, inode: int) -> tuple[tuple[int, int], bytes] | None:
        if inode == FIRST_FREE_OBJECTID:
            parent, link = self._places.get(tree, (tree, None))
        else:
            parent, link = tree, dict(read_links(self._search, tree, [inode])).get(inode)
        return None if link is None else ((parent, link.parent), link.name)


def _root(tree: int, payload: bytes) -> _Root:
    if len(payload) < ROOT.size:
        raise MalformedItemError(f"the root item of subvolume {tree} has {len(payload)} bytes")
    generation, flags = ROOT.unpack_from(payload)
    if len(payload) >= ROOT.size + ROOT_LATER.size:
        later, uuid, parent_uuid, otransid, seconds, nanoseconds = ROOT_LATER.unpack_from(
            payload, ROOT.size
        )
        # A kernel that knows none of these writes only the first one.
        if later == generation:
            otime = seconds + nanoseconds / 1e9
            return _Root(generation, bool(flags & READ_ONLY), uuid, parent_uuid, otransid, otime)
    return _Root(generation, bool(flags & READ_ONLY), NO_UUID, NO_UUID, 0, 0.0)
