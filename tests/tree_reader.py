"""Read every byte, link, owner and attribute of a directory tree through the ordinary file calls.

Descends by directory descriptors, so a path may be longer than the kernel takes at once.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBVOLUME_INO = 256
STUB_INO = 2

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
}
_libc = ctypes.CDLL(None, use_errno=True)


class Identity(NamedTuple):
    """What tells a file from all others that ever had its inode number."""

    ino: int
    generation: int
    born: int


class Node(NamedTuple):
    """One entry as it was read; `content` is None for directories."""

    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes | int | None
    xattrs: dict[bytes, bytes]
    stub: bool
    identity: Identity | None

    @property
    def properties(self) -> tuple[int, int, int, dict[bytes, bytes]]:
        return self.mode, self.uid, self.gid, self.xattrs


def read_tree(top: bytes) -> dict[bytes, Node]:
    """Read all of a directory, `/` being itself, nested subvolumes included.

    Access times stay as they are, so that reading doesn't touch what is to be compared.
    """
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    try:
        root = _node(fd, b".", b"/", is_subvolume=os.fstat(fd).st_ino == SUBVOLUME_INO)
        return {b"/": root, **dict(_walk(fd, b"", os.fstat(fd).st_dev))}
    finally:
        os.close(fd)


def _walk(parent: int, path: bytes, subvolume: int | None) -> Iterator[tuple[bytes, Node]]:
    """Yield all entries below an open directory.

    `subvolume` is the device number of the compared subvolume, None inside of nested ones, whose
    entries have no identity.
    """
    with os.scandir(parent) as entries:
        names = [os.fsencode(entry.name) for entry in entries]
    for name in names:
        below = path + b"/" + name
        node = _node(parent, name, below, is_subvolume=subvolume is not None)
        yield below, node
        if node.kind in ("directory", "subvolume") and not node.stub:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME
            fd = os.open(name, flags, dir_fd=parent)
            try:
                inside = subvolume if os.fstat(fd).st_dev == subvolume else None
                yield from _walk(fd, below, inside)
            finally:
                os.close(fd)


def _node(parent: int, name: bytes, path: bytes, *, is_subvolume: bool) -> Node:
    status = os.lstat(name, dir_fd=parent)
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    nested = stub = False
    if kind == "directory" and path != b"/" and status.st_ino in (SUBVOLUME_INO, STUB_INO):
        on_btrfs = _handle(parent, name) is not None
        nested = on_btrfs and status.st_ino == SUBVOLUME_INO
        stub = on_btrfs and status.st_ino == STUB_INO
    nowhere = nested or stub or not is_subvolume
    # A stub has no inode: the kernel gives it the owner that its directory had when the stub was
    # first looked at. What a fresh mount shows is the directory's owner of now.
    owner = os.fstat(parent) if stub else status
    return Node(
        kind="subvolume" if nested else kind,
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        uid=owner.st_uid,
        gid=owner.st_gid,
        mtime=status.st_mtime_ns,
        content=_content(parent, name, kind, status),
        xattrs={} if stub else _xattrs(parent, name),
        stub=stub,
        identity=None if nowhere else _identity(parent, name, status.st_ino),
    )


def _content(parent: int, name: bytes, kind: str, status: os.stat_result) -> bytes | int | None:
    if kind == "symlink":
        return os.readlink(name, dir_fd=parent)
    if kind in ("character", "block"):
        return status.st_rdev
    if kind != "file":
        return None if kind == "directory" else b""
    digest = hashlib.blake2b()
    with open(
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=parent), "rb"
    ) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def _xattrs(parent: int, name: bytes) -> dict[bytes, bytes]:
    # The name is at most 255 bytes, so this path is short however deep the parent is.
    path = b"/proc/self/fd/%d/%s" % (parent, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {os.fsencode(key): os.getxattr(path, key, follow_symlinks=False) for key in names}


def _identity(parent: int, name: bytes, ino: int) -> Identity | None:
    handle = _handle(parent, name)
    if handle is None:
        return None
    assert handle[0] == ino
    return Identity(ino, handle[1], _birth(parent, name))


def _handle(parent: int, name: bytes) -> tuple[int, int] | None:
    """Read an inode's number and generation from its file handle; None if it isn't on Btrfs.

    That works for every type of file and opens none.
    """
    handle = ctypes.create_string_buffer(8 + 128)
    struct.pack_into("Ii", handle, 0, 128, 0)
    mount = ctypes.c_int()
    if _libc.name_to_handle_at(parent, name, handle, ctypes.byref(mount), 0):
        return None
    _, kind = struct.unpack_from("Ii", handle)
    if kind != 0x4D:  # FILEID_BTRFS_WITHOUT_PARENT of linux/exportfs.h
        return None
    objectid, _, generation = struct.unpack_from("<QQI", handle, 8)
    return objectid, generation


def _birth(parent: int, name: bytes) -> int:
    """Return when the file was made, in nanoseconds (statx.stx_btime of linux/stat.h)."""
    result = ctypes.create_string_buffer(256)
    at_symlink_nofollow, statx_btime = 0x100, 0x800
    if _libc.statx(parent, name, at_symlink_nofollow, statx_btime, result):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = struct.unpack_from("<qI", result, 0x50)
    return seconds * 1_000_000_000 + nanoseconds
