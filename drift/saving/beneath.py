"""System calls on names below an open directory, which no symlink can lead out of it."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import stat
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# asm-generic/unistd.h; the same on every architecture but alpha. linux/openat2.h.
_SYS_OPENAT2 = 437
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_RENAME_NOREPLACE = 1  # linux/fs.h

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A path longer than the kernel takes at once is walked in steps.
_LONGEST = 4000


def open_beneath(top: int, path: bytes, flags: int, *, in_steps: bool = False) -> int:
    """Open `path` below the directory `top`; OSError ELOOP or ENOTDIR where a symlink is met.

    `path` may begin with `/`, which means `top`. `in_steps` takes the way of kernels before 5.6.
    """
    names = parts(path)
    if not in_steps and len(path) < _LONGEST:
        try:
            return _openat2(top, b"/".join(names) or b".", flags)
        except OSError as error:
            # EPERM is what some containers say of calls that they don't know.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
    return _open_in_steps(top, names, flags)


def parts(path: bytes) -> list[bytes]:
    """The components of `path`; OSError EINVAL where one would lead out."""
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names or b"\0" in path:
        raise OSError(errno.EINVAL, "the path leads out of its directory", path)
    return names


def rename_new(old: bytes, new: bytes, directory: int) -> None:
    """Rename within one directory; FileExistsError where the new name is taken."""
    result = _libc().renameat2(directory, old, directory, new, _RENAME_NOREPLACE)
    if result == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), new)
    # A filesystem without the flag; the lock keeps other runs of drift out.
    if exists(new, directory):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)


def sync_filesystem(fd: int) -> None:
    """Write out all that is delayed on the filesystem that `fd` is open on."""
    if _libc().syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def exists(name: bytes, directory: int) -> bool:
    return status(name, directory) is not None


def status(name: bytes, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def names_in(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def remove_tree(name: bytes, directory: int) -> None:
    """Remove the entry `name` and all below it, if there is one; no link is followed."""
    found = status(name, directory)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def read_xattrs(directory: int, name: bytes) -> dict[bytes, bytes]:
    """The extended attributes of an entry itself, ACLs and capabilities among them."""
    path = proc_path(directory, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    found = {}
    for key in sorted(os.fsencode(key) for key in names):
        found[key] = os.getxattr(path, key, follow_symlinks=False)
    return found


def proc_path(directory: int, name: bytes) -> bytes:
    """A path to an entry of an open directory, for calls that take no descriptor.

    A name is at most 255 bytes and is never followed, so the path is short and exact.
    """
    return b"/proc/self/fd/%d/%s" % (directory, name)


def _openat2(top: int, path: bytes, flags: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE)
    for _ in range(100):
        # syscall() is variadic: an int of 32 bits would leave half a register to chance.
        result = _libc().syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_long(top),
            path,
            how,
            ctypes.c_long(len(how)),
        )
        if result >= 0:
            return int(result)
        # Something was renamed meanwhile, and the kernel could not tell what is beneath.
        if ctypes.get_errno() != errno.EAGAIN:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


def _open_in_steps(top: int, names: list[bytes], flags: int) -> int:
    if not names:
        return os.open(b".", flags | os.O_CLOEXEC, dir_fd=top)
    for directory in _descend(top, names[:-1]):
        return os.open(names[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    raise AssertionError


def _descend(top: int, names: list[bytes]) -> Iterator[int]:
    current = top
    try:
        for name in names:
            step = os.open(name, _STEP, dir_fd=current)
            if current != top:
                os.close(current)
            current = step
        yield current
    finally:
        if current != top:
            os.close(current)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
