"""One side of the comparison: a subvolume with all that is nested in it, read as far as asked for."""

from __future__ import annotations

import stat
from functools import cached_property
from typing import TYPE_CHECKING

from drift.btrfs.columns import NAMES
from drift.btrfs.items import (
    DIR_ITEM_HEAD,
    EMPTY_SUBVOL_DIR_OBJECTID,
    FIRST_FREE_OBJECTID,
    INODE_ITEM,
    DirEntry,
    Link,
    dir_index,
)
from drift.btrfs.parallel import read_tree
from drift.btrfs.subvolumes import relate
from drift.btrfs.trees import (
    Node,
    Parts,
    highest_inode,
    node_of,
    read_links,
    read_node,
    read_nodes,
)
from drift.diff.touched import Sift
from drift.diff.unequal import Unequal

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Collection, Iterable, Mapping

    from drift.btrfs.ioctl import Search
    from drift.btrfs.subvolumes import Subvolume

ROOT = FIRST_FREE_OBJECTID
# Directories whose entries are kept for another look; a bound for memory, not for truth.
ENTRIES_KEPT = 4096
# Up to this share of all rows is looked up directory by directory, before all are put in order.
FEW = 16


class Tree:
    """One subvolume's tree: what is new in it since a generation, and the rest on demand."""

    def __init__(
        self,
        search: Search,
        tree_id: int,
        since: int,
        progress: Callable[[int], None] | None = None,
        other: int | None = None,
    ) -> None:
        self.search = search
        self.id = tree_id
        self.since = since

        sift = Sift(tree_id, other, since) if since and other is not None else None
        self.columns, parts = read_tree(search, tree_id, since, sift=sift, progress=progress)
        # What was touched, where it was compared with the other tree, and how it differs there.
        self.unequal = Unequal()
        for part in parts if sift else ():
            self.unequal.update(part)
        self._runs: dict[int, list[range]] | None = None
        self._looked_up = 0
        self._kept: dict[int, Node] = {}
        self._index: dict[int, dict[bytes, bytes]] = {}

    def is_new(self, inode: int) -> bool:
        """Whether `inode` was made after `since`."""
        return bool(self.columns.rows_of(inode))

    def highest_inode(self) -> int:
        return highest_inode(self.search, self.id)

    def keep(self, node: Node) -> None:
        """Answer later questions about this inode from `node`."""
        self._kept[node.inode] = node

    def node(self, inode: int) -> Node | None:
        kept = self._kept.get(inode)
        return kept if kept is not None else read_node(self.search, self.id, inode)

    def outline(self, inode: int, *, gone: bool) -> Node | None:
        """An inode without names, xattrs and data, where no more is needed to call it new or gone.

        None for one that is neither new since `since`, nor, with `gone`, in this tree alone.
        """
        if not self.since or inode in self._kept:
            return None
        columns = self.columns
        rows = columns.rows_of(inode)
        if rows:
            row = rows[0]
            uid, gid, mode = columns.owner(row)
            size, mtime, target = columns.sizes[row], columns.mtime(row), columns.targets.get(row)
            return Node(
                inode, self.since + 1, size, 1, uid, gid, mode, 0, mtime, 0, [], [], [], target, []
            )
        head = self.search.item(self.id, (inode, INODE_ITEM, 0)) if gone else None
        if head is None:
            return None
        node = node_of(inode, Parts([(INODE_ITEM, 0, head)], []))
        # A link's target is in its extent, and below a directory there is more to see.
        return node if stat.S_ISREG(node.mode) else None

    def nodes(self, inodes: Iterable[int]) -> dict[int, Node]:
        """Those of `inodes` that exist, in full."""
        wanted = sorted(set(inodes))
        found = {inode: self._kept[inode] for inode in wanted if inode in self._kept}
        missing = [inode for inode in wanted if inode not in found]
        found.update((node.inode, node) for node in read_nodes(self.search, self.id, missing))
        return found

    def link(self, directory: int) -> Link | None:
        """The one link of `directory`, None where it does not exist."""
        return self.links([directory]).get(directory)

    def links(self, directories: Collection[int]) -> dict[int, Link]:
        """The one link of each of `directories` that exists."""
        known = self.unequal.links
        found = {inode: Link(*known[inode]) for inode in directories if inode in known}
        others = sorted(inode for inode in directories if inode not in found)
        found.update(read_links(self.search, self.id, others))
        return found

    def runs(self, directory: int) -> list[range]:
        """The rows of the new entries in `directory`, as runs of rows."""
        if self._runs is None:
            self._runs = _runs(self.columns.parents)
        return self._runs.get(directory, [])

    def rows(self, directory: int) -> list[int]:
        """The rows of the new entries in `directory`, where `rows_are_all` says yes."""
        folder = self.columns.folders.get(directory)
        if folder is None:
            return []
        if self._runs is None and self._looked_up < len(self.columns.names) // FEW:
            rows = self._rows_by_key(directory)
            self._looked_up += len(rows)
            if sum(len(self.columns.names[row]) for row in rows) == folder[NAMES]:
                return rows
        return [row for run in self.runs(directory) for row in run]

    @cached_property
    def others(self) -> dict[int, list[int]]:
        """The rows of the new entries of each directory that are no regular files."""
        others: dict[int, list[int]] = {}
        parents = self.columns.parents
        for row in self.columns.others:
            others.setdefault(parents[row], []).append(row)
        return others

    def _rows_by_key(self, directory: int) -> list[int]:
        # A scan lists few directories; an index of all rows would cost it more than these searches.
        columns = self.columns
        return [
            row
            for name, item in self._indexed(directory).items()
            for row in columns.rows_of(dir_index(item).objectid)
            if columns.parents[row] == directory and columns.names[row] == name
        ]

    def rows_are_all(self, directory: int) -> bool:
        """Whether `rows` names all entries of `directory`: its size is twice the sum of its names."""
        size = self.columns.directories.get(directory)
        if size is None:
            return False
        folder = self.columns.folders.get(directory)
        return size == (0 if folder is None else 2 * folder[NAMES])

    def entries(self, directory: int) -> dict[bytes, DirEntry]:
        """All entries of `directory`, by name."""
        if self.rows_are_all(directory):
            names, inodes = self.columns.names, self.columns.inodes
            return {
                names[row]: DirEntry(names[row], inodes[row], False) for row in self.rows(directory)
            }
        return {name: dir_index(item) for name, item in self._indexed(directory).items()}

    def entry(self, directory: int, name: bytes) -> DirEntry | None:
        item = self._indexed(directory).get(name)
        return None if item is None else dir_index(item)

    def _indexed(self, directory: int) -> dict[bytes, bytes]:
        """The DIR_INDEX items of `directory` by name: decoding all is dear, and few are asked for."""
        index = self._index.get(directory)
        if index is None:
            node = self.node(directory)
            if node is not None and node.index is None:
                node = read_node(self.search, self.id, directory)
            start = DIR_ITEM_HEAD.size
            items = [] if node is None or node.index is None else node.index
            index = {item[start:]: item for item in items}
            if len(self._index) >= ENTRIES_KEPT:
                self._index.clear()
            self._index[directory] = index
        return index


def _runs(parents: array[int]) -> dict[int, list[range]]:
    """Map each parent to its rows. Files made one after the other lie side by side."""
    runs: dict[int, list[range]] = {}
    if not parents:
        return runs
    before, start = parents[0], 0
    for row, parent in enumerate(parents):
        if parent != before:
            runs.setdefault(before, []).append(range(start, row))
            before, start = parent, row
    runs.setdefault(before, []).append(range(start, len(parents)))
    return runs


class Side:
    """The live root or the blank: its own tree, and those of the subvolumes nested in it."""

    def __init__(
        self,
        search: Search,
        subvolume: Subvolume,
        subvolumes: Mapping[int, Subvolume],
        since: int,
        progress: Callable[[int], None] | None = None,
        other: int | None = None,
    ) -> None:
        self._search = search
        self._progress = progress
        self.subvolume = subvolume
        self._subvolumes = subvolumes
        self.tree = Tree(search, subvolume.id, since, progress, other)
        self._trees = {subvolume.id: self.tree}
        # Where each subvolume really is: a snapshot of its parent names it too, but holds a stub.
        self._real = {
            (one.parent_id, one.directory, one.name): one.id for one in subvolumes.values()
        }
        self._paths: dict[int, bytes] = {ROOT: b""}
        self._directories: dict[bytes, tuple[Tree, int] | None] = {b"": (self.tree, ROOT)}

    def nested(self, tree: Tree, directory: int, entry: DirEntry) -> Tree | None:
        """The tree of the subvolume that `entry` names, None where it is a snapshot's stub."""
        if self._real.get((tree.id, directory, entry.name)) != entry.objectid:
            return None
        if entry.objectid not in self._trees:
            self._trees[entry.objectid] = Tree(self._search, entry.objectid, 0, self._progress)
        return self._trees[entry.objectid]

    def trees(self) -> list[int]:
        """The trees that were read so far."""
        return list(self._trees)

    def origin(self, tree: Tree, directory: int, entry: DirEntry) -> bytes | None:
        """Of which subvolume a nested one is a read-only snapshot, if it is one of this side's own.

        The path from the top level; a source that was deleted shared it with this side's own.
        """
        if self._real.get((tree.id, directory, entry.name)) != entry.objectid:
            return None
        nested = self._subvolumes[entry.objectid]
        everything = self._subvolumes.values()
        if not nested.read_only or relate(self.subvolume, nested, everything).base is None:
            return None
        return next(
            (one.path for one in everything if one.uuid == nested.parent_uuid), self.subvolume.path
        )

    def top_of(self, entry: DirEntry) -> Node | None:
        """The top directory of a nested subvolume, without reading its tree."""
        return read_node(self._search, entry.objectid, ROOT)

    def nested_in_own_tree(self) -> list[Link]:
        """Where subvolumes are nested directly in this side's own tree."""
        return [Link(place[1], place[2]) for place in self._real if place[0] == self.tree.id]

    def path(self, link: Link) -> bytes | None:
        """The path of an entry of the side's own tree; None if it hangs in the air."""
        chain: list[tuple[int, bytes]] = []
        above: set[int] = set()
        parent = link.parent
        while parent not in self._paths:
            up = self._link(parent)
            # A root that is written to meanwhile can show two directories in each other.
            if up is None or parent in above:
                return None
            above.add(parent)
            chain.append((parent, up.name))
            parent = up.parent
        base = self._paths[parent]
        for directory, name in reversed(chain):
            base += b"/" + name
            self._paths[directory] = base
        return base + b"/" + link.name

    def _link(self, directory: int) -> Link | None:
        rows = self.tree.columns.rows_of(directory)
        if rows:
            columns = self.tree.columns
            return Link(columns.parents[rows[0]], columns.names[rows[0]])
        return self.tree.link(directory)

    def exists(self, path: bytes) -> bool:
        """Whether there is an entry at `path`, across nested subvolumes."""
        above, _, name = path.rpartition(b"/")
        directory = self._directory(above)
        return directory is not None and directory[0].entry(directory[1], name) is not None

    def _directory(self, path: bytes) -> tuple[Tree, int] | None:
        # Down from the nearest ancestor that is known already, without recursion: paths are deep.
        missing = []
        while path not in self._directories:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        place = self._directories[path]
        for name in reversed(missing):
            path = path + b"/" + name
            if place is not None:
                tree, inode = place
                entry = tree.entry(inode, name)
                place = None if entry is None else self._enter(tree, inode, entry)
            self._directories[path] = place
        return place

    def _enter(self, tree: Tree, directory: int, entry: DirEntry) -> tuple[Tree, int] | None:
        if entry.subvolume:
            nested = self.nested(tree, directory, entry)
            return None if nested is None else (nested, ROOT)
        return tree, entry.objectid


def stub(parent: Node | None) -> Node:
    """What a snapshot shows in place of a subvolume nested in its source: an empty directory."""
    return Node(
        inode=EMPTY_SUBVOL_DIR_OBJECTID,
        generation=0,
        size=0,
        nlink=1,
        uid=0 if parent is None else parent.uid,
        gid=0 if parent is None else parent.gid,
        mode=0o040755,
        rdev=0,
        mtime=0,
        otime=0,
        links=[],
        xattrs=[],
        extents=[],
        inline=None,
        index=[],
    )
