"""Read a file that is to be changed, and put the new text in its place, whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from drift.errors import DriftError
from drift.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is larger was not written by hand.
LARGEST = 8 << 20


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it was read: `given` is how the user names it, `path` where it really is."""

    given: bytes
    path: bytes
    text: bytes
    status: os.stat_result


def read_original(given: bytes) -> Original:
    """Read the regular file that `given` leads to; DriftError where there is none."""
    try:
        path = os.path.realpath(given, strict=True)
        # Not to be held up by a fifo that took the place of the file.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(given, error) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            hint = "name a .nix file in it" if stat.S_ISDIR(status.st_mode) else "name a .nix file"
            raise DriftError(f"{shown(given)} is no file", hint)
        if status.st_size > LARGEST:
            raise DriftError(f"{shown(given)} is too large to be written by hand")
        with open(fd, "rb", closefd=False) as file:
            return Original(given, path, file.read(), status)
    except OSError as error:
        raise _unreadable(given, error) from error
    finally:
        os.close(fd)


def replace_text(original: Original, text: bytes) -> bytes:
    """Write `text` in place of the original, and return the path at which the original is kept.

    The new file has the old one's owner, mode and extended attributes; a symlink that led to it
    still does. The old file stays beside it, under the first free of `.orig`, `.orig.1` and so on.
    DriftError where that can't be done, or the file has changed since it was read; then everything
    is as it was.
    """
    directory, name = os.path.split(original.path)
    with _said_of(original), _opened(directory) as at:
        temporary = _write_beside(at, original, text)
        try:
            _require_unchanged(at, name, original)
            backup = _keep_old(at, name, original)
            try:
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except BaseException:
                os.unlink(backup, dir_fd=at)
                raise
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=at)
            raise
        # The change is made; where a directory can't be synced, it only lasts a little later.
        with suppress(OSError):
            os.fsync(at)
    return os.path.join(directory, backup)


@contextmanager
def _said_of(original: Original) -> Iterator[None]:
    """An error of the system as a sentence about the file."""
    try:
        yield
    except OSError as error:
        if original.path.startswith(b"/nix/store/"):
            _refuse_store(original)
        raise DriftError(
            f"{shown(original.path)} can't be replaced: {error.strerror}", "it is as it was"
        ) from error


def _refuse_store(original: Original) -> NoReturn:
    raise DriftError(
        f"{shown(original.given)} leads into the Nix store, where nothing can be changed",
        "name the file that it was made from",
    )


@contextmanager
def _opened(directory: bytes) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_beside(at: int, original: Original, text: bytes) -> bytes:
    name = b".drift-" + secrets.token_hex(6).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # Nobody else may read it before it has its owner.
    fd = os.open(name, flags, 0o600, dir_fd=at)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            status = os.fstat(fd)
            owner = original.status.st_uid, original.status.st_gid
            if (status.st_uid, status.st_gid) != owner:
                os.fchown(fd, *owner)
            _copy_attributes(original.path, fd)
            os.fchmod(fd, stat.S_IMODE(original.status.st_mode))
            os.fsync(fd)
    except BaseException:
        os.unlink(name, dir_fd=at)
        raise
    return name


def _copy_attributes(path: bytes, fd: int) -> None:
    """ACLs and the like; where the filesystem has none, there are none to copy."""
    with suppress(OSError):
        for attribute in os.listxattr(path, follow_symlinks=False):
            with suppress(OSError):
                os.setxattr(fd, attribute, os.getxattr(path, attribute, follow_symlinks=False))


def _require_unchanged(at: int, name: bytes, original: Original) -> None:
    now, before = os.stat(name, dir_fd=at, follow_symlinks=False), original.status
    if _identity(now) != _identity(before):
        raise DriftError(
            f"{shown(original.path)} was changed by another program just now", "try again"
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


# What filesystems without hard links say.
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _is_there(at: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _keep_old(at: int, name: bytes, original: Original) -> bytes:
    """Give the old file a second name, which is free; where files have only one, copy it."""
    for number in range(10_000):
        backup = name + (b".orig" if number == 0 else b".orig.%d" % number)
        try:
            os.link(name, backup, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if _is_there(at, backup):
                continue
            temporary = _write_beside(at, original, original.text)
            os.rename(temporary, backup, src_dir_fd=at, dst_dir_fd=at)
        return backup
    raise DriftError(f"{shown(original.path)} has too many old files beside it", "remove some")


def _unreadable(given: bytes, error: OSError) -> DriftError:
    if isinstance(error, FileNotFoundError):
        return DriftError(
            f"there is no file {shown(given)}",
            "drift suggest --nix prints a module to save as a new one",
        )
    return DriftError(f"{shown(given)} can't be read: {error.strerror}")
