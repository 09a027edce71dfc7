"""Read what was written to one subvolume's tree since a generation, as columns of rows."""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING

from drift.btrfs.ioctl import ANY, ANY_TYPE, HEADER, HEADER_SIZE, Search
from drift.btrfs.items import (
    DIR_INDEX,
    DIR_ITEM,
    DIR_ITEM_HEAD,
    EXTENT_DATA,
    FIRST_FREE_OBJECTID,
    INODE_EXTREF,
    INODE_ITEM,
    INODE_REF,
    INODE_REF_HEAD,
    LAST_FREE_OBJECTID,
    Link,
    MalformedItemError,
    inline_data,
    inode_extrefs,
    inode_refs,
)
from drift.btrfs.trees import INODE_ITEM_SIZE, onward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drift.btrfs.ioctl import Key
    from drift.btrfs.trees import Item

# How items lie, taken in one call from the header of an INODE_ITEM on: its objectid, from its
# payload generation, transid, size, the bytes of uid to mode, and mtime; then the next
# header (objectid, offset, type, len) and, where that is an INODE_REF, the length of its name.
WIDE = Struct("<8xQ16x QQQ20x12s80xqI12x 8xQQII 8xH")
WIDE_NAME = WIDE.size
TYPE_AND_LENGTH = Struct("<II")
# Of an item, its objectid, offset, type and length, and of a DIR_INDEX the transid.
OWNED = Struct("<8xQQII17xQ")
# Of an INODE_ITEM, from its header on, its length and transid, and the next header's TYPE_AND_LENGTH.
NARROW = Struct("<28xI8xQ168xII")
# Of an INODE_REF, from its header's offset on: that is the parent, the type, the length of the item,
# and that of the name.
PASSED = Struct("<QII8xH")
# uid, gid and mode, and mtime, as the columns keep them.
OWNER = Struct("<III")
# Where the four bits of the mode that name the type lie in OWNER's bytes.
TYPE_BYTE = 9
TYPE_BITS = 0xF0
SYMLINK_BITS = stat.S_IFLNK >> 8
REGULAR_BITS = stat.S_IFREG >> 8
DIRECTORY_BITS = stat.S_IFDIR >> 8

# Where a header has the offset 0, the type INODE_ITEM and the length of its item. Among the DIR_ITEM
# and DIR_INDEX items of a directory these bytes begin a true header and nothing else, as long as no
# number in them (of inodes, trees and transactions, of which there was never that many) takes more
# than four of its eight bytes: each 1 but a type's has a byte that is not zero too close before it
# or behind it, and names hold no zeros at all.
INODE_HEADER = Struct("<QIB").pack(0, INODE_ITEM, INODE_ITEM_SIZE)
INODE_HEADER_OFFSET = 16
MOST_INODES = 2**32


# What is known of a directory's new entries together, in a list, for thousands of processes' parts
# are added up: how many regular files, their bytes and newest second, and the length of all names.
FILES, BYTES, NEWEST, NAMES = range(4)
# Before any time that an inode can hold.
NEVER = -(2**63)


def folder_in(folders: dict[int, list[int]], parent: int) -> list[int]:
    folder = folders[parent] = [0, 0, NEVER, 0]
    return folder


class Rewritten:
    """What a search for rewritten leaves returned of an older inode: not all, it may be.

    `items` are all but DIR_ITEM and DIR_INDEX, the inode item first. Of a directory `entries` are
    the DIR_INDEX payloads that were made since the generation asked for, `older` the offsets of the
    others in ascending order, and `older_names` the length of their names together.
    """

    __slots__ = ("entries", "items", "older", "older_names")

    def __init__(self, head: bytes) -> None:
        self.items: list[Item] = [(INODE_ITEM, 0, head)]
        self.entries: list[bytes] = []
        self.older: list[int] = []
        self.older_names = 0


@dataclass(slots=True)
class Columns:
    """One row for each name of an inode that is new since a generation.

    Inode numbers ascend from row to row. `owners` holds OWNER of each row, `seconds` and
    `nanoseconds` its mtime, `targets` the symlinks' targets by row, `directories` the size of each
    new directory by inode: twice the length of the names in it. `folders` has what the rows of one
    parent are together (`folder_in`), `others` the rows that are no regular files. `generations` is filled only where all of a tree is read.
    `touched` are the older inodes whose item was written since, in ascending order, with what was
    returned of them in `rewritten`. Whether anything about them differs is for the reader to
    compare. `passed` has for some older directories, by the bytes of their inode number, the item
    that came before their entries, from its offset on.
    """

    inodes: array[int] = field(default_factory=lambda: array("Q"))
    parents: array[int] = field(default_factory=lambda: array("Q"))
    generations: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    seconds: array[int] = field(default_factory=lambda: array("q"))
    nanoseconds: array[int] = field(default_factory=lambda: array("I"))
    owners: bytearray = field(default_factory=bytearray)
    names: list[bytes] = field(default_factory=list)
    targets: dict[int, bytes] = field(default_factory=dict)
    others: array[int] = field(default_factory=lambda: array("Q"))
    folders: dict[int, list[int]] = field(default_factory=dict)
    directories: dict[int, int] = field(default_factory=dict)
    touched: array[int] = field(default_factory=lambda: array("Q"))
    rewritten: list[Rewritten] = field(default_factory=list)
    passed: dict[bytes, bytes] = field(default_factory=dict)

    def owner(self, row: int) -> tuple[int, int, int]:
        """uid, gid and mode of a row; the mode with its type."""
        uid, gid, mode = OWNER.unpack_from(self.owners, OWNER.size * row)
        return uid, gid, mode

    def mode(self, row: int) -> int:
        return int(OWNER.unpack_from(self.owners, OWNER.size * row)[2])

    def mtime(self, row: int) -> int:
        """In nanoseconds since the epoch."""
        return self.seconds[row] * 1_000_000_000 + self.nanoseconds[row]

    def rows_of(self, inode: int) -> range:
        """The rows that name `inode`."""
        first = bisect_left(self.inodes, inode)
        last = first
        while last < len(self.inodes) and self.inodes[last] == inode:
            last += 1
        return range(first, last)


def links_passed(
    passed: Mapping[bytes, bytes], directories: Iterable[int]
) -> dict[int, tuple[int, bytes]]:
    """Parent and name of those of `directories`, all older, whose ref is in Columns.passed."""
    found = {}
    for directory in directories:
        item = passed.get(directory.to_bytes(8, "little"), b"")
        if len(item) >= PASSED.size:
            parent, kind, length, name_length = PASSED.unpack_from(item)
            if kind == INODE_REF and length == INODE_REF_HEAD.size + name_length:
                found[directory] = parent, item[PASSED.size :]
    return found


def add_folders(folders: dict[int, list[int]], others: dict[int, list[int]]) -> None:
    """Add what another part knows of the same directories."""
    for parent, other in others.items():
        folder = folders.get(parent)
        if folder is None:
            folders[parent] = other
            continue
        folder[FILES] += other[FILES]
        folder[BYTES] += other[BYTES]
        folder[NAMES] += other[NAMES]
        if other[NEWEST] > folder[NEWEST]:
            folder[NEWEST] = other[NEWEST]


def read_columns(
    search: Search,
    tree: int,
    since: int,
    *,
    first: int = FIRST_FREE_OBJECTID,
    last: int = LAST_FREE_OBJECTID,
    into: Columns,
    progress: Callable[[int], None] | None = None,
    buffers: int | None = None,
    jump: bool = False,
) -> int | None:
    """Read the inodes from `first` to `last` of `tree` that were written at generation `since` or later.

    With `since` 0 that is all of them, and all count as new; else an inode is new when it was made
    after `since`. `progress` is called with the number of rows now and then. After so many
    `buffers`, reading stops before an inode, whose number is returned; at the end None is. `jump`
    says that all inode numbers are below MOST_INODES, so that INODE_HEADER can be searched for.
    """
    columns = into
    key: Key = (first, 0, 0)
    end: Key = (last, ANY_TYPE, ANY)
    buffer = search.buffer
    inodes, names, touched = columns.inodes, columns.names, columns.touched
    passed = columns.passed
    owners, folders, others = columns.owners, columns.folders, columns.others
    add_second, add_nanosecond = columns.seconds.append, columns.nanoseconds.append
    add_inode, add_parent, add_size = inodes.append, columns.parents.append, columns.sizes.append
    add_name, add_generation = names.append, columns.generations.append
    wide, narrow, owned, type_and_length = (
        WIDE.unpack_from,
        NARROW.unpack_from,
        OWNED.unpack_from,
        TYPE_AND_LENGTH.unpack_from,
    )
    # The inode whose further names are wanted, None while stepping over an older one's, and
    # what there is of one that was touched.
    current: int | None = None
    held: Rewritten | None = None
    older = 0
    resume: int | None = None
    limit = search.START + search.size
    generation = size = form = second = nanosecond = 0
    owner = b""
    folder: list[int] = []
    folder_of: int | None = None
    while search.fetch(tree, key, end, min_transid=since):
        position = before = search.START
        may_jump = jump
        kind, length = type_and_length(buffer, position + 24)
        while kind:
            if kind == INODE_ITEM:
                (
                    inode, generation, transid, size, owner, second, nanosecond,
                    next_inode, parent, kind, next_length, name_length,
                ) = wide(buffer, position)  # fmt: skip
                before = position
                position += 192
                if length != INODE_ITEM_SIZE:
                    raise MalformedItemError(f"the item of inode {inode} has {length} bytes")
                length = next_length
                held = None
                if transid < since:
                    current = None
                elif generation <= since and since:
                    current = None
                    older = inode
                    held = Rewritten(buffer[before + HEADER_SIZE : position])
                    touched.append(inode)
                    columns.rewritten.append(held)
                else:
                    current = inode
                    form = owner[TYPE_BYTE] & TYPE_BITS
                    if form == DIRECTORY_BITS:
                        columns.directories[inode] = size
                    if (
                        kind == INODE_REF
                        and next_inode == inode
                        and length == 10 + name_length
                        and inode != FIRST_FREE_OBJECTID
                    ):
                        add_inode(inode)
                        add_parent(parent)
                        add_size(size)
                        add_second(second)
                        add_nanosecond(nanosecond)
                        owners += owner
                        if parent != folder_of:
                            folder = folders.get(parent) or folder_in(folders, parent)
                            folder_of = parent
                        folder[NAMES] += name_length
                        if form == REGULAR_BITS:
                            folder[FILES] += 1
                            folder[BYTES] += size
                            if second > folder[NEWEST]:
                                folder[NEWEST] = second
                        else:
                            others.append(len(names))
                        start = before + WIDE_NAME
                        add_name(buffer[start : start + name_length])
                        if not since:
                            add_generation(generation)
                        before = position
                        position += HEADER_SIZE + length
                        kind, length = type_and_length(buffer, position + 24)
            elif held is None:
                _, inode, offset, _, _ = HEADER.unpack_from(buffer, position)
                if current == inode and inode != FIRST_FREE_OBJECTID:
                    start = position + HEADER_SIZE
                    if kind == EXTENT_DATA:
                        if form == SYMLINK_BITS:
                            target = inline_data(buffer[start : start + length])
                            for row in () if target is None else columns.rows_of(inode):
                                columns.targets[row] = target or b""
                    else:
                        payload = buffer[start : start + length]
                        for link in _links(kind, offset, payload):
                            add_inode(inode)
                            add_parent(link.parent)
                            add_size(size)
                            add_second(second)
                            add_nanosecond(nanosecond)
                            owners += owner
                            folder_of = None
                            folder = folders.get(link.parent) or folder_in(folders, link.parent)
                            folder[NAMES] += len(link.name)
                            if form == REGULAR_BITS:
                                folder[FILES] += 1
                                folder[BYTES] += size
                                folder[NEWEST] = max(second, folder[NEWEST])
                            else:
                                others.append(len(names))
                            add_name(link.name)
                            if not since:
                                add_generation(generation)
                before = position
                position += HEADER_SIZE + length
                kind, length = type_and_length(buffer, position + 24)
            # Step over what is not wanted, by length alone: to the next inode, and for a new one to
            # its next ref; a symlink's target lies in its extent.
            if held is not None:
                lengths = 0
                inode, offset, kind, length, made = owned(buffer, position)
                while kind > INODE_ITEM and inode == older:
                    before = position
                    start = position + HEADER_SIZE
                    position = start + length
                    if kind == DIR_INDEX:
                        if made >= since:
                            held.entries.append(buffer[start:position])
                        else:
                            held.older.append(offset)
                            lengths += length - DIR_ITEM_HEAD.size
                    elif kind != DIR_ITEM:
                        held.items.append((kind, offset, buffer[start:position]))
                    inode, offset, kind, length, made = owned(buffer, position)
                held.older_names += lengths
                if kind > INODE_ITEM:
                    # The leaf with the inode item of the next one was not rewritten.
                    held = None
            elif current is not None and form == SYMLINK_BITS:
                continue
            else:
                wanted = INODE_ITEM if current is None else INODE_EXTREF
                while True:
                    while kind > wanted:
                        if kind == DIR_ITEM and may_jump:
                            if current is None:
                                # What a directory has before its entries is, mostly, its ref.
                                number = buffer[before + 8 : before + 16]
                                passed[number] = buffer[before + 16 : position]
                            found = buffer.find(INODE_HEADER, position, limit)
                            if found >= 0:
                                position = found - INODE_HEADER_OFFSET
                                kind, length = type_and_length(buffer, position + 24)
                                break
                            may_jump = False
                        before = position
                        position += HEADER_SIZE + length
                        kind, length = type_and_length(buffer, position + 24)
                    if current is not None or kind != INODE_ITEM:
                        break
                    # The neighbours of an old inode are likely to be old as well.
                    item_length, transid, next_kind, next_length = narrow(buffer, position)
                    if transid >= since or item_length != INODE_ITEM_SIZE:
                        break
                    before = position
                    position += 192
                    kind, length = next_kind, next_length
        if progress is not None:
            progress(len(names))
        _, objectid, offset, kind, _ = HEADER.unpack_from(buffer, before)
        key = onward(key, (objectid, kind, offset))
        if key > end or search.ended(position):
            break
        if buffers is not None:
            buffers -= 1
            if buffers <= 0 and end[0] == last:
                # The rest of this inode's items first: nobody else would know whose they are.
                end = (objectid, ANY_TYPE, ANY)
                resume = objectid + 1
                if key > end:
                    return resume
    return resume


def _links(kind: int, offset: int, payload: bytes) -> list[Link]:
    if kind == INODE_REF:
        return inode_refs(offset, payload)
    return inode_extrefs(payload) if kind == INODE_EXTREF else []
