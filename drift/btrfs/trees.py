"""Read one subvolume's tree by key: single inodes in full, links, and ranges of items.

Item order within a tree is by key (objectid, type, offset), so all items of an inode follow its
INODE_ITEM: INODE_REF, INODE_EXTREF, XATTR_ITEM, DIR_ITEM, DIR_INDEX, EXTENT_DATA.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.ioctl import ANY, ANY_TYPE, HEADER, HEADER_SIZE, Search, after
from drift.btrfs.items import (
    DIR_INDEX,
    DIR_ITEM,
    EXTENT_DATA,
    INODE,
    INODE_EXTREF,
    INODE_ITEM,
    INODE_REF,
    INODE_REF_HEAD,
    LAST_FREE_OBJECTID,
    XATTR_ITEM,
    Link,
    MalformedItemError,
    inline_data,
    inode_extrefs,
    inode_refs,
    xattrs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.btrfs.ioctl import Key

# A header (objectid, offset, type, len) with the head of an INODE_REF, of which the name's length.
REF_IN_ANSWER = Struct("<8xQQII8xH")
INODE_ITEM_SIZE = 160

# The last key there can be.
END = (ANY, ANY_TYPE, ANY)
# A file has fewer items than this, mostly.
FEW = 6

# Inodes that lie closer than this are read in one search instead of one each.
NEARBY = 8

# One item of a known inode: type, offset, payload.
Item = tuple[int, int, bytes]


class Parts(NamedTuple):
    """What an inode consists of: its inode item, then its other items, and its DIR_INDEX payloads.

    DIR_ITEMs, which repeat the DIR_INDEXes, are left out.
    """

    items: list[Item]
    entries: list[bytes]


@dataclass(slots=True)
class Node:
    """One inode in full.

    `extents` are the EXTENT_DATA items without their generation, each behind its file offset: equal
    extents mean equal bytes. `index` are a directory's DIR_INDEX items, None where they are not held;
    `links` are all names of the inode.
    """

    inode: int
    generation: int
    size: int
    nlink: int
    uid: int
    gid: int
    mode: int
    rdev: int
    mtime: int
    otime: int
    links: list[Link]
    xattrs: list[tuple[bytes, bytes]]
    extents: list[bytes]
    inline: bytes | None
    index: list[bytes] | None

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


def onward(asked: Key, last: Key) -> Key:
    """The key behind `last`, the last one that was answered where `asked` was the first wanted.

    An answer that leads back would have a search go round for ever.
    """
    if last < asked or last[0] == ANY:
        raise MalformedItemError("the items of a tree are out of order")
    return after(last)


def read_links(search: Search, tree: int, directories: Iterable[int]) -> Iterator[tuple[int, Link]]:
    """Yield (directory, its one link) for each of `directories` that exists in `tree`.

    Of an inode that is no directory it is one of its links.
    """
    fetch, unpack, buffer = search.fetch, REF_IN_ANSWER.unpack_from, search.buffer
    for directory in directories:
        first, last = (directory, INODE_REF, 0), (directory, INODE_REF, ANY)
        if fetch(tree, first, last, items=1, zeroed=False):
            objectid, parent, kind, length, name_length = unpack(buffer, search.START)
            if objectid == directory and kind == INODE_REF:
                start = search.START + REF_IN_ANSWER.size
                name = buffer[start : start + name_length]
                # The number may have been given out again, to a file with several names.
                if length < INODE_REF_HEAD.size + name_length or len(name) < name_length:
                    raise MalformedItemError(f"the ref of inode {directory} has {length} bytes")
                yield directory, Link(parent, name)


def read_inodes(search: Search, tree: int, inodes: Iterable[int]) -> Iterator[tuple[int, Parts]]:
    """Yield each of `inodes` (ascending) that exists in `tree`, in that order."""
    wanted: list[int] = []
    for inode in inodes:
        if wanted and (inode - wanted[-1] > NEARBY):
            yield from _read_together(search, tree, wanted).items()
            wanted = []
        wanted.append(inode)
    if wanted:
        yield from _read_together(search, tree, wanted).items()


def _read_together(search: Search, tree: int, wanted: list[int]) -> dict[int, Parts]:
    found: dict[int, Parts] = {}
    key: Key = (wanted[0], 0, 0)
    last: Key = (wanted[-1], ANY_TYPE, ANY)
    # A search looks at all the rest of a leaf, unless it has found as many items as are asked for. So
    # a few are asked for: if the last one is another inode's, the wanted one has no more.
    few = FEW if len(wanted) == 1 else 0
    buffer, unpack = search.buffer, HEADER.unpack_from
    chosen = wanted if len(wanted) < NEARBY else frozenset(wanted)
    inode, parts = -1, None
    while True:
        if few:
            count = search.fetch(tree, key, END, items=few, zeroed=False)
        else:
            count = search.fetch(tree, key, last, zeroed=False)
        if not count:
            break
        position = search.START
        for _ in range(count):
            _, objectid, offset, kind, length = unpack(buffer, position)
            start = position + HEADER_SIZE
            position = start + length
            if kind == DIR_ITEM:
                continue
            if kind == INODE_ITEM:
                inode, parts = objectid, None
                if inode in chosen:
                    parts = found[inode] = Parts([(kind, offset, buffer[start:position])], [])
            elif parts is not None and objectid == inode:
                if kind == DIR_INDEX:
                    parts[1].append(buffer[start:position])
                else:
                    parts[0].append((kind, offset, buffer[start:position]))
        key = onward(key, (objectid, kind, offset))
        if key > last or (search.ended(position) and count != few):
            break
        few = 0
    return found


def read_nodes(search: Search, tree: int, inodes: Iterable[int]) -> Iterator[Node]:
    """Yield each of `inodes` (ascending) that exists in `tree`, in full and in that order."""
    for inode, parts in read_inodes(search, tree, inodes):
        yield node_of(inode, parts)


def highest_inode(search: Search, tree: int) -> int:
    """The highest inode number in `tree`, 0 where it is empty."""
    end: Key = (LAST_FREE_OBJECTID, ANY_TYPE, ANY)
    low, high = 0, LAST_FREE_OBJECTID
    while low < high:
        # Numbers are given out from the bottom, so look close to the low end first.
        middle = min(low * 2 + 1024, (low + high + 1) // 2)
        if search.fetch(tree, (middle, 0, 0), end, items=1):
            low = HEADER.unpack_from(search.buffer, search.START)[1]
            onward((middle, 0, 0), (low, 0, 0))
        else:
            high = middle - 1
    return low


def read_node(search: Search, tree: int, inode: int) -> Node | None:
    return next(read_nodes(search, tree, [inode]), None)


def read_items(
    search: Search,
    tree: int,
    first: Key,
    last: Key,
    *,
    min_transid: int = 0,
) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (objectid, type, offset, payload) of all items from `first` to `last`.

    The generator may be left at any time, and the search buffer used by others meanwhile.
    """
    key = first
    unpack = HEADER.unpack_from
    while True:
        count = search.fetch(tree, key, last, min_transid=min_transid, zeroed=False)
        if not count:
            return
        buffer, position = search.buffer, search.START
        found = []
        for _ in range(count):
            _, objectid, offset, kind, length = unpack(buffer, position)
            start = position + HEADER_SIZE
            position = start + length
            found.append((objectid, kind, offset, buffer[start:position]))
        ended = search.ended(position)
        key = onward(key, (objectid, kind, offset))
        # Handed out only now: the caller may search again between two items.
        yield from found
        if ended or key > last:
            return


def read_range(
    search: Search, tree: int, first: Key, last: Key, *, most: int = 2**32 - 1
) -> list[Item]:
    """The items from `first` to `last`, keys of one inode; no more than `most` of them."""
    found: list[Item] = []
    key = first
    buffer, unpack = search.buffer, HEADER.unpack_from
    while count := search.fetch(tree, key, last, items=most, zeroed=False):
        position = search.START
        for _ in range(count):
            _, objectid, offset, kind, length = unpack(buffer, position)
            start = position + HEADER_SIZE
            position = start + length
            found.append((kind, offset, buffer[start:position]))
        key = onward(key, (objectid, kind, offset))
        if search.ended(position) or key > last:
            break
    return found


def node_of(inode: int, parts: Parts) -> Node:
    links: list[Link] = []
    values: list[tuple[bytes, bytes]] = []
    extents: list[bytes] = []
    inline = head = None
    for kind, offset, payload in parts.items:
        if kind == INODE_REF:
            links += inode_refs(offset, payload)
        elif kind == EXTENT_DATA:
            data = inline_data(payload)
            if data is not None and offset == 0:
                inline = data
            extents.append(offset.to_bytes(8, "little") + payload[8:])
        elif kind == INODE_ITEM:
            head = payload
        elif kind == XATTR_ITEM:
            values += xattrs(payload)
        elif kind == INODE_EXTREF:
            links += inode_extrefs(payload)
    if head is None or len(head) != INODE_ITEM_SIZE:
        raise MalformedItemError(f"the item of inode {inode} has {len(head or b'')} bytes")
    (
        generation, _, size, _, _, nlink, uid, gid, mode, rdev, _, _,
        _, _, _, _, mtime, mtime_nsec, otime, otime_nsec,
    ) = INODE.unpack(head)  # fmt: skip
    return Node(
        inode,
        generation,
        size,
        nlink,
        uid,
        gid,
        mode,
        rdev,
        mtime * 1_000_000_000 + mtime_nsec,
        otime * 1_000_000_000 + otime_nsec,
        links,
        values,
        extents,
        inline,
        parts.entries,
    )
