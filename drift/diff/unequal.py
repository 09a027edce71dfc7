"""What differs between the inodes of two trees that share a past, as processes hand it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.btrfs.items import Link, dir_index
from drift.btrfs.trees import Node
from drift.diff.equality import entries_apart, equal_but_entries

if TYPE_CHECKING:
    from collections.abc import Iterable


# A DirEntry as a plain tuple, as processes can hand it on.
Entry = tuple[bytes, int, bool, bool]


class Apart(NamedTuple):
    """The entries of a directory that are not equal in both trees, by name."""

    live: dict[bytes, Entry]
    blank: dict[bytes, Entry]


class Settled(NamedTuple):
    """A regular file that is not alike under one name in a directory that both trees have.

    `inode` is its number in the first tree, None where it is gone, and `other` that in the second
    one; `replaced` says that it is another file that took the place. All else is what the first tree
    has, of a file that is gone what the second one has; `mtime` is in nanoseconds. `same_content` is
    None where only reading can tell.
    """

    parent: int
    name: bytes
    inode: int | None
    other: int
    replaced: bool
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    same_content: bool | None
    same_properties: bool


@dataclass(slots=True)
class Unequal:
    """The inodes that differ, by number; each is in `altered`, in `nodes`, or in `apart` alone.

    `nodes` has them as either tree does. `apart` holds, for directories that both trees have, the
    entries that are not in both; where nothing else differs, there are no nodes. Nodes of
    directories in `apart` hold no entries. `settled` has, by directory and name, those files in `apart`
    that need no other look; they may turn out alike. One of them that is gone is so only where its
    inode is not in `nodes`: else it may be elsewhere. `links` is the one link in the first tree,
    as parent and name, of each directory on the ways up from all of these, and of those in `apart`
    that have no nodes. `replaced` is what took another's place and is no regular file, as either
    tree has it.
    """

    nodes: dict[int, tuple[Node | None, Node | None]] = field(default_factory=dict)
    altered: dict[int, Settled] = field(default_factory=dict)
    apart: dict[int, Apart] = field(default_factory=dict)
    settled: dict[int, dict[bytes, Settled]] = field(default_factory=dict)
    links: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    replaced: list[tuple[Node, Node]] = field(default_factory=list)

    def __contains__(self, inode: object) -> bool:
        return inode in self.nodes or inode in self.altered or inode in self.apart

    def add(
        self, inode: int, left: Node | None, right: Node | None, *, force: bool = False
    ) -> None:
        """Add an inode, as either tree has it, unless it is equal in both."""
        if left is not None and right is not None:
            apart = entries_apart(left.index or (), right.index or ())
            if not force and apart == ([], []) and equal_but_entries(left, right):
                return
            if left.is_directory and right.is_directory:
                self.set_apart(inode, *apart)
                left.index = right.index = None
        self.nodes[inode] = left, right

    def set_apart(self, directory: int, live: Iterable[bytes], blank: Iterable[bytes]) -> None:
        """Say which DIR_INDEX items of a directory are not in both trees."""
        self.apart[directory] = Apart(_decoded(live), _decoded(blank))

    def settle(self, one: Settled) -> None:
        self.settled.setdefault(one.parent, {})[one.name] = one

    def as_plain(self) -> Any:
        """All of it in plain types, which `from_plain` takes."""
        nodes = [
            (inode, left and _node_as_plain(left), right and _node_as_plain(right))
            for inode, (left, right) in self.nodes.items()
        ]
        altered = [tuple(one) for one in self.altered.values()]
        settled = [tuple(one) for inside in self.settled.values() for one in inside.values()]
        apart = {inode: tuple(one) for inode, one in self.apart.items()}
        links = {inode: tuple(link) for inode, link in self.links.items()}
        replaced = [tuple(map(_node_as_plain, pair)) for pair in self.replaced]
        return nodes, altered, apart, settled, links, replaced

    def update(self, other: Unequal) -> None:
        """Add what is known of other inodes."""
        self.nodes.update(other.nodes)
        self.altered.update(other.altered)
        self.apart.update(other.apart)
        self.settled.update(other.settled)
        self.links.update(other.links)
        self.replaced += other.replaced

    @classmethod
    def from_plain(cls, plain: Any) -> Unequal:
        self = cls()
        nodes, altered, apart, settled, links, replaced = plain
        for inode, left, right in nodes:
            self.nodes[inode] = left and _node_from_plain(left), right and _node_from_plain(right)
        for one in map(Settled._make, altered):
            self.altered[one.other] = one
        self.apart.update((inode, Apart(*one)) for inode, one in apart.items())
        for one in map(Settled._make, settled):
            self.settle(one)
        self.links.update(links)
        self.replaced = [
            (_node_from_plain(left), _node_from_plain(right)) for left, right in replaced
        ]
        return self


def _decoded(items: Iterable[bytes]) -> dict[bytes, Entry]:
    return {
        name: (name, objectid, subvolume, directory)
        for name, objectid, subvolume, directory in map(dir_index, items)
    }


def _node_as_plain(node: Node) -> tuple[object, ...]:
    return (
        node.inode,
        node.generation,
        node.size,
        node.nlink,
        node.uid,
        node.gid,
        node.mode,
        node.rdev,
        node.mtime,
        node.otime,
        [tuple(link) for link in node.links],
        node.xattrs,
        node.extents,
        node.inline,
        node.index,
    )


def _node_from_plain(plain: Any) -> Node:
    node = Node(*plain)
    node.links = [Link(*link) for link in node.links]
    return node
