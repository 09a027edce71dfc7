"""Which of the inodes that were written to since two trees parted differ between them.

One tree's touched inodes are compared part by part, so that processes can share the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from drift.btrfs.items import DIR_INDEX, DIR_ITEM_HEAD, FIRST_FREE_OBJECTID, INODE_ITEM, Link
from drift.btrfs.trees import DIRECTORY_BITS, TYPE_BITS, Node, node_of, read_inodes, read_links
from drift.diff.equality import entries_apart, equal_but_entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.btrfs.ioctl import Search
    from drift.btrfs.trees import Columns, Item

# How many inodes are held in full, before the equal ones among them are let go.
TOGETHER = 4096
# Where the four bits that name the type lie in an inode item.
MODE_TYPE_BYTE = 53


class Unequal(NamedTuple):
    """The inodes that differ, as either tree has them, and the directories on the ways up from them.

    Of a directory that both trees have, the nodes hold no entries, and `apart` holds the DIR_INDEX
    items that are not in both. `links` holds the one link of each of the directories on the ways up
    that is not unequal itself.
    """

    nodes: dict[int, tuple[Node | None, Node | None]]
    apart: dict[int, tuple[list[bytes], list[bytes]]]
    links: dict[int, Link]

    def add(
        self, inode: int, left: Node | None, right: Node | None, *, force: bool = False
    ) -> None:
        """Add an inode, as either tree has it, unless it is equal in both."""
        if left is not None and right is not None:
            apart = entries_apart(left, right) if left.is_directory else ([], [])
            if not force and apart == ([], []) and equal_but_entries(left, right):
                return
            if left.is_directory and right.is_directory:
                self.apart[inode] = apart
                left.index = right.index = None
        self.nodes[inode] = left, right


def sift(search: Search, tree: int, other: int, since: int, columns: Columns) -> Unequal:
    """Compare what was touched of `tree`, as `columns` has it, with the tree `other`.

    Both were equal just before the generation `since`.
    """
    found = Unequal({}, {}, {})
    for start in range(0, len(columns.touched), TOGETHER):
        numbers = columns.touched[start : start + TOGETHER]
        seen = dict(zip(numbers, columns.items[start : start + TOGETHER], strict=True))
        _compare(search, tree, other, since, seen, found)
    found.links.update(_ways_up(search, tree, found.nodes))
    return found


def as_plain(found: Unequal) -> Any:
    """What `from_plain` takes, of plain types only: processes hand it on."""
    nodes = [
        (inode, left and _node_as_plain(left), right and _node_as_plain(right))
        for inode, (left, right) in found.nodes.items()
    ]
    return nodes, found.apart, [(inode, *link) for inode, link in found.links.items()]


def from_plain(plain: Any) -> Unequal:
    nodes, apart, links = plain
    return Unequal(
        {
            inode: (left and _node_from_plain(left), right and _node_from_plain(right))
            for inode, left, right in nodes
        },
        apart,
        {inode: Link(parent, name) for inode, parent, name in links},
    )


def _compare(
    search: Search,
    tree: int,
    other: int,
    since: int,
    seen: dict[int, list[Item]],
    found: Unequal,
) -> None:
    """Add to `found` those of the inodes in `seen` that differ."""
    wanted = [
        inode
        for inode, items in seen.items()
        if not _was_only_listed(search, other, since, inode, items[0][2])
    ]
    theirs = dict(read_inodes(search, other, wanted))
    in_part = []
    for inode in wanted:
        items = theirs.get(inode)
        if items is None or not _is_all(seen[inode], items, since):
            in_part.append(inode)
    seen.update((inode, []) for inode in in_part)
    seen.update(read_inodes(search, tree, in_part))
    for inode in wanted:
        mine, items = seen[inode], theirs.get(inode)
        found.add(
            inode,
            node_of(inode, mine) if mine else None,
            node_of(inode, items) if items else None,
        )


def _was_only_listed(search: Search, other: int, since: int, inode: int, item: bytes) -> bool:
    """Whether a directory was but read since: its inode item was written for its atime alone.

    Every operation on a directory's names or xattrs raises the `sequence` of its inode item. So
    where the other tree's item was not written since, and all but atime and transid is equal in
    both, names and xattrs are as they were at the parting, which is as they are in `other`.
    """
    if item[MODE_TYPE_BYTE] & TYPE_BITS != DIRECTORY_BITS:
        return False
    theirs = search.item(other, (inode, INODE_ITEM, 0))
    return (
        theirs is not None
        and _transid(theirs) < since
        and _without_atime(item) == _without_atime(theirs)
    )


def _is_all(mine: list[Item], theirs: list[Item], since: int) -> bool:
    """Whether what the search for rewritten leaves returned of an inode is all there is of it.

    What it left out lies in leaves as they were at the parting. So it is in the other tree as well,
    where that has not written the inode since: nothing was left out if every key of `theirs` was
    found. Of a directory, keys that are gone say nothing; its size, twice the length of its names,
    tells.
    """
    if _transid(theirs[0][2]) >= since:
        return False
    keys = {(kind, offset) for kind, offset, _ in mine}
    head = mine[0][2]
    if head[MODE_TYPE_BYTE] & TYPE_BITS != DIRECTORY_BITS:
        return all((kind, offset) in keys for kind, offset, _ in theirs)
    names = sum(len(payload) - DIR_ITEM_HEAD.size for kind, _, payload in mine if kind == DIR_INDEX)
    return int.from_bytes(head[16:24], "little") == 2 * names and all(
        (kind, offset) in keys for kind, offset, _ in theirs if kind != DIR_INDEX
    )


def _transid(item: bytes) -> int:
    return int.from_bytes(item[8:16], "little")


def _without_atime(item: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    # generation; size to rdev; sequence; ctime, mtime and otime. Not transid, flags and atime.
    return item[0:8], item[16:64], item[72:80], item[124:160]


def _ways_up(
    search: Search, tree: int, nodes: dict[int, tuple[Node | None, Node | None]]
) -> dict[int, Link]:
    links: dict[int, Link] = {}
    seen = {FIRST_FREE_OBJECTID, *nodes}
    parents: Iterable[int] = (
        link.parent for pair in nodes.values() for node in pair if node for link in node.links
    )
    while wanted := sorted({parent for parent in parents if parent not in seen}):
        seen.update(wanted)
        new = dict(read_links(search, tree, wanted))
        links.update(new)
        parents = [link.parent for link in new.values()]
    return links


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
