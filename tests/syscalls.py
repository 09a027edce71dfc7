"""The system calls that Python doesn't offer, for tests that make unusual files.

Each raises OSError as the kernel says; request numbers are those of linux/fs.h and linux/btrfs.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_ZERO_RANGE = 16

FS_COMPR_FL = 0x4
FS_NODUMP_FL = 0x40
FS_NOATIME_FL = 0x80
FS_NOCOW_FL = 0x800000

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
BTRFS_IOC_DEFRAG_RANGE = 0x40309410
BTRFS_DEFRAG_COMPRESS = 1
BTRFS_COMPRESSION = {"none": 0, "zlib": 1, "lzo": 2, "zstd": 3}

AT_FDCWD = -100
LONGEST_PLAIN_PATH = 3500

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def renameat2(old: bytes, new: bytes, flags: int) -> None:
    _check(_libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags), new)


def link_descriptor(fd: int, new: bytes) -> None:
    """Give a name to an open file that has none (made with O_TMPFILE)."""
    at_symlink_follow = 0x400
    _check(_libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, new, at_symlink_follow), new)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    _check(_libc.fallocate(fd, mode, offset, length), b"")


def clone(target: int, source: int) -> None:
    fcntl.ioctl(target, FICLONE, source)


def clone_range(target: int, at: int, source: int, offset: int, length: int) -> None:
    fcntl.ioctl(target, FICLONERANGE, struct.pack("<qQQQ", source, offset, length, at))


def dedupe(source: int, target: int, length: int) -> int:
    """Let two files share their first `length` bytes; return how many bytes the kernel shared."""
    head = struct.pack("<QQHHI", 0, length, 1, 0, 0)
    request = bytearray(head + struct.pack("<qQQiI", target, 0, 0, 0, 0))
    fcntl.ioctl(source, FIDEDUPERANGE, request)
    shared: int
    _, _, shared, _, _ = struct.unpack_from("<qQQiI", request, len(head))
    return shared


def get_flags(fd: int) -> int:
    flags: int
    (flags,) = struct.unpack("i", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(4)))
    return flags


def set_flags(fd: int, flags: int) -> None:
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("i", flags))


def defragment(fd: int, compression: str = "") -> None:
    """Rewrite a file's extents (struct btrfs_ioctl_defrag_range_args) and write them out."""
    flags = BTRFS_DEFRAG_COMPRESS if compression else 0
    whole, kind = 2**64 - 1, BTRFS_COMPRESSION[compression or "none"]
    fcntl.ioctl(fd, BTRFS_IOC_DEFRAG_RANGE, struct.pack("<QQQII16x", 0, whole, flags, 2**31, kind))
    os.fsync(fd)


@contextmanager
def opened(path: bytes | str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the directory at `path`, closed at the end."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def reachable(root: bytes, path: bytes) -> Iterator[bytes]:
    """Give a path to an entry below `root` that every system call takes, however deep it is."""
    if len(root) + len(path) < LONGEST_PLAIN_PATH:
        yield root + path
        return
    *parents, name = path.lstrip(b"/").split(b"/")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for parent in parents:
            below = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        # Of this process by number, so that the path means the same to a program it starts.
        yield b"/proc/%d/fd/%d/%s" % (os.getpid(), fd, name)
    finally:
        os.close(fd)


def _check(result: int, path: bytes) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
