"""Decode Btrfs item payloads; no I/O.

Names are those of the kernel's `linux/btrfs_tree.h`. All numbers are little-endian.
"""

from __future__ import annotations

import stat
import struct
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_FREE_OBJECTID = 256
LAST_FREE_OBJECTID = 2**64 - 256
FS_TREE_OBJECTID = 5
# The inode number that a snapshot shows in place of a subvolume nested in its source.
EMPTY_SUBVOL_DIR_OBJECTID = 2

INODE_ITEM = 1
INODE_REF = 12
INODE_EXTREF = 13
XATTR_ITEM = 24
DIR_ITEM = 84
DIR_INDEX = 96
EXTENT_DATA = 108
ROOT_ITEM = 132
ROOT_BACKREF = 144

# struct btrfs_inode_item, 160 bytes: generation, transid, size, nbytes, block_group, nlink, uid,
# gid, mode, rdev, flags, sequence, reserved[4], then atime, ctime, mtime, otime as (sec, nsec).
INODE = Struct("<QQQQQIIIIQQQ32xqIqIqIqI")
# struct btrfs_inode_ref: index, name_len; the name follows, and then the next ref.
INODE_REF_HEAD = Struct("<QH")
# struct btrfs_inode_extref: parent objectid, index, name_len; the name follows.
INODE_EXTREF_HEAD = Struct("<QQH")
# struct btrfs_dir_item: location (objectid, type, offset), transid, data_len, name_len, type; the
# name and the data follow. The same structure holds xattrs.
DIR_ITEM_HEAD = Struct("<QBQQHHB")
# struct btrfs_root_ref: directory, sequence, name_len; the name follows.
ROOT_REF_HEAD = Struct("<QQH")
# struct btrfs_file_extent_item up to its type: generation, ram_bytes, compression, encryption,
# other_encoding, type; inline data follows, or disk_bytenr, disk_num_bytes, offset, num_bytes.
FILE_EXTENT_HEAD = Struct("<QQBBHB")
FILE_EXTENT_INLINE = 0
# The type of a directory in a DIR_INDEX.
FT_DIR = 2

KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
}


class MalformedItemError(DriftError):
    """An item's payload contradicts its own lengths: the metadata is damaged."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the filesystem's metadata is damaged: {what}",
            "btrfs check --readonly on the unmounted device tells more",
        )


@contextmanager
def told_as_damage() -> Iterator[None]:
    """Turn what an item means that lies outside of the answer it came in into that sentence."""
    try:
        yield
    except struct.error as error:
        raise MalformedItemError("an item is longer than the tree's node") from error


class Link(NamedTuple):
    """One name of an inode: the directory it is in, and the name."""

    parent: int
    name: bytes


class DirEntry(NamedTuple):
    """One name in a directory; `subvolume` says that `objectid` is a tree, not an inode.

    `directory` says that the inode is a directory, where the entry's own item was read.
    """

    name: bytes
    objectid: int
    subvolume: bool
    directory: bool = False


def kind_of(mode: int) -> Kind:
    """The kind that `st_mode` names; MalformedItemError for a mode that no inode can have."""
    try:
        return KINDS[mode & 0o170000]
    except KeyError as error:
        raise MalformedItemError(f"mode {mode:o} names no type of file") from error


def inode_refs(parent: int, payload: bytes) -> list[Link]:
    """Decode an INODE_REF: key (inode, INODE_REF, parent directory)."""
    links = []
    position = 0
    while position < len(payload):
        if position + INODE_REF_HEAD.size > len(payload):
            raise MalformedItemError("an inode ref is cut short")
        _, length = INODE_REF_HEAD.unpack_from(payload, position)
        position += INODE_REF_HEAD.size
        links.append(Link(parent, _cut(payload, position, length)))
        position += length
    return links


def inode_extrefs(payload: bytes) -> list[Link]:
    """Decode an INODE_EXTREF: key (inode, INODE_EXTREF, hash of parent and name)."""
    links = []
    position = 0
    while position < len(payload):
        if position + INODE_EXTREF_HEAD.size > len(payload):
            raise MalformedItemError("an extended inode ref is cut short")
        parent, _, length = INODE_EXTREF_HEAD.unpack_from(payload, position)
        position += INODE_EXTREF_HEAD.size
        links.append(Link(parent, _cut(payload, position, length)))
        position += length
    return links


def dir_index(payload: bytes) -> DirEntry:
    """Decode a DIR_INDEX: key (directory, DIR_INDEX, index)."""
    if len(payload) < DIR_ITEM_HEAD.size:
        raise MalformedItemError("a directory entry is cut short")
    objectid, kind, _, _, _, length, form = DIR_ITEM_HEAD.unpack_from(payload)
    name = _cut(payload, DIR_ITEM_HEAD.size, length)
    return DirEntry(name, objectid, kind == ROOT_ITEM, form == FT_DIR)


def root_backref(payload: bytes) -> Link:
    """Decode a ROOT_BACKREF, the place of a subvolume: key (subvolume, ROOT_BACKREF, its parent)."""
    if len(payload) < ROOT_REF_HEAD.size:
        raise MalformedItemError("a root ref is cut short")
    directory, _, length = ROOT_REF_HEAD.unpack_from(payload)
    return Link(directory, _cut(payload, ROOT_REF_HEAD.size, length))


def xattrs(payload: bytes) -> list[tuple[bytes, bytes]]:
    """Decode an XATTR_ITEM: key (inode, XATTR_ITEM, hash of the name); names that collide share it."""
    found = []
    position = 0
    while position < len(payload):
        if position + DIR_ITEM_HEAD.size > len(payload):
            raise MalformedItemError("an xattr is cut short")
        head = DIR_ITEM_HEAD.unpack_from(payload, position)
        data_length, name_length = head[4], head[5]
        position += DIR_ITEM_HEAD.size
        name = _cut(payload, position, name_length)
        position += name_length
        found.append((name, _cut(payload, position, data_length)))
        position += data_length
    return found


def inline_data(payload: bytes) -> bytes | None:
    """The bytes of an uncompressed inline EXTENT_DATA (a symlink's target is one), else None."""
    if len(payload) < FILE_EXTENT_HEAD.size:
        raise MalformedItemError("a file extent is cut short")
    _, _, compression, encryption, other, kind = FILE_EXTENT_HEAD.unpack_from(payload)
    if kind != FILE_EXTENT_INLINE or compression or encryption or other:
        return None
    return payload[FILE_EXTENT_HEAD.size :]


def _cut(payload: bytes, start: int, length: int) -> bytes:
    part = payload[start : start + length]
    if len(part) != length:
        raise MalformedItemError("a name or value is longer than its item")
    return part
