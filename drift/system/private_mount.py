"""Mount the top level of a Btrfs filesystem where only this process can see it."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import NoReturn

from drift.errors import DriftError

# asm-generic/unistd.h; the same on every architecture but alpha.
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432

# linux/mount.h
_FSOPEN_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_FSMOUNT_CLOEXEC = 1
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_MOUNT_ATTR_NOEXEC = 0x8
_MOUNT_ATTR_NOATIME = 0x10
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_NOATIME = 0x400
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18

# linux/sched.h, sys/mount.h
_CLONE_NEWNS = 0x20000
_MNT_DETACH = 2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_top_level(device: bytes, *, namespace: bool = False, writable: bool = False) -> int:
    """A directory descriptor of subvolume 5 of the mounted Btrfs filesystem on `device`.

    `device` is the source that mountinfo names; one device of several will do. The mount is
    read-only unless it is to be `writable`, in nobody's mount table, and gone when its last
    descriptor closes. The caller closes the descriptor. `namespace` takes the way of kernels
    before 5.2. To ask for a writable one of a filesystem that is mounted read-only would turn
    that writable too.
    """
    if not namespace:
        try:
            return _open_detached(device, writable=writable)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                _refuse(device, error)
    return _open_in_namespace(device, writable=writable)


def _open_detached(device: bytes, *, writable: bool) -> int:
    libc = _libc()
    context = _call(libc, _SYS_FSOPEN, b"btrfs", _FSOPEN_CLOEXEC)
    try:
        _call(libc, _SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, b"source", device, 0)
        _call(libc, _SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, b"subvolid", b"5", 0)
        # Without it, Btrfs would turn a filesystem that is mounted read-only to read-write. One
        # that is read-write stays so: then only the mount below is read-only.
        if not writable:
            _call(libc, _SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, b"ro", None, 0)
        _call(libc, _SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        attributes = (
            (0 if writable else _MOUNT_ATTR_RDONLY)
            | _MOUNT_ATTR_NOSUID
            | _MOUNT_ATTR_NODEV
            | _MOUNT_ATTR_NOEXEC
            | _MOUNT_ATTR_NOATIME
        )
        mount = _call(libc, _SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)
    try:
        return os.open(".", _DIRECTORY, dir_fd=mount)
    finally:
        os.close(mount)


def _open_in_namespace(device: bytes, *, writable: bool) -> int:
    """The same by mount(2), in a mount namespace that ends with the thread that made it.

    A thread, since unshare() would take the whole program's view of the system with it.
    """
    outcome: list[int | OSError] = []

    def mount() -> None:
        try:
            outcome.append(_mount_apart(device, writable=writable))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=mount, name="private mount")
    thread.start()
    thread.join()
    result = outcome[0]
    if isinstance(result, OSError):
        _refuse(device, result)
    return result


def _mount_apart(device: bytes, *, writable: bool) -> int:
    libc = _libc()
    # Any directory that is there on every system; seen by this thread alone.
    point = b"/proc"
    _check(libc.unshare(_CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, _ulong(_MS_REC | _MS_PRIVATE), None))
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOATIME
    if not writable:
        flags |= _MS_RDONLY
    _check(libc.mount(device, point, b"btrfs", _ulong(flags), b"subvolid=5"))
    try:
        return os.open(point, _DIRECTORY)
    finally:
        libc.umount2(point, _MNT_DETACH)


def _refuse(device: bytes, error: OSError) -> NoReturn:
    name = device.decode(errors="surrogateescape")
    match error.errno:
        case errno.EPERM | errno.EACCES:
            sentence = f"Reading the Btrfs filesystem on {name} needs root"
            hint = "run drift as root, for example with sudo"
        case errno.ENOENT | errno.ENXIO | errno.ENOTBLK | errno.ENOTDIR:
            sentence = f"There is no block device {name}"
            hint = "the mount table names it as the source of the filesystem; is /dev mounted?"
        case errno.ENODEV:
            sentence = "This kernel has no Btrfs"
            hint = "load it with modprobe btrfs"
        case errno.EINVAL:
            sentence = f"{name} holds no Btrfs filesystem that can be mounted"
            hint = "give --live and --blank directories to compare them entry by entry"
        case _:
            sentence = f"The Btrfs top level on {name} can't be mounted: {error.strerror}"
            hint = "the kernel's log (dmesg) may say more"
    raise DriftError(sentence, hint) from error


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _ulong(value: int) -> ctypes.c_ulong:
    return ctypes.c_ulong(value)


def _call(libc: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    # syscall() is variadic: an int of 32 bits would leave half a register to chance.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _check(int(libc.syscall(ctypes.c_long(number), *wide)))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
