"""Keep what was compiled in a runtime directory, so that it is made once a boot.

A file is trusted only where nobody else can have written it, and any damage is as if it were
not there: what it held is then made again. Runtime directories are in memory; a `/run` that is
part of a Btrfs root is none, for drift writes nothing there.
"""

from __future__ import annotations

import marshal
import os
import stat
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drift import __version__
from drift.rulebook.packing import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

Directory = str | os.PathLike[str]

_FORMAT = 5
_WRITER = (_FORMAT, __version__)
_CHECKSUM_BYTES = 4
_SUBVOLUME_TOP = 256
"""The inode number of every Btrfs subvolume's top directory."""


def cache_directory(environ: Mapping[str, str], uid: int) -> str | None:
    """Where user `uid` may keep the cache; None where there is no runtime directory."""
    runtime = "/run" if uid == 0 else environ.get("XDG_RUNTIME_DIR", "")
    try:
        found, root = os.lstat(runtime), os.stat("/")
    except OSError:
        return None
    if not os.path.isabs(runtime) or not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        return None
    if found.st_dev == root.st_dev and root.st_ino == _SUBVOLUME_TOP:
        return None
    return os.path.join(runtime, "drift")


def read_cache(directory: Directory, key: Any, name: str) -> Any:
    """The value that `write_cache` kept under `key`; None where it isn't there, whole and ours."""
    kept = read_kept(directory, name)
    return kept[1] if kept and kept[0] == key else None


def read_kept(directory: Directory, name: str) -> tuple[Any, Any] | None:
    """The key and the value that the file `name` keeps; None where it isn't there, whole and ours."""
    try:
        place = _open_directory(directory)
    except OSError:
        return None
    try:
        file = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place
        )
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
                return None
            with open(file, "rb", closefd=False) as opened:
                data = opened.read()
        finally:
            os.close(file)
    except OSError:
        return None
    finally:
        os.close(place)
    return decode(data)


def write_cache(directory: Directory, key: Any, value: Any, name: str) -> None:
    """Keep `value`, of plain types only, under `key` in place of what was kept before.

    Where that can't be done, nothing is kept.
    """
    try:
        data = encode(key, value)
    except ValueError:
        # Nested too deeply.
        return
    fresh = f"{name}.{os.getpid()}"
    try:
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        place = _open_directory(directory)
    except OSError:
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600, dir_fd=place)
        try:
            with open(file, "wb") as opened:
                opened.write(data)
            os.rename(fresh, name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            os.unlink(fresh, dir_fd=place)
    except OSError:
        return
    finally:
        os.close(place)


def encode(key: Any, value: Any) -> bytes:
    """What `decode` gives back, of plain types only; ValueError where it is nested too deeply."""
    body = plain((_WRITER, key, value))
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body


def decode(data: bytes) -> tuple[Any, Any] | None:
    """The key and the value; None where `data` is damaged or another drift's."""
    # marshal may crash on what it didn't write, so nothing damaged may reach it.
    body = memoryview(data)[_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != data[:_CHECKSUM_BYTES]:
        return None
    try:
        written = marshal.loads(body)
    except (ValueError, TypeError, EOFError):
        return None
    if not isinstance(written, tuple) or len(written) != 3 or written[0] != _WRITER:
        return None
    return written[1:]


def drop_oldest(directory: Directory, start: str, most: int) -> None:
    """Leave the `most` youngest of the files whose names begin with `start`."""
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if entry.name.startswith(start)]
        found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns, reverse=True)
        for entry in found[most:]:
            os.unlink(entry.path)
    except OSError:
        # Another drift is at it.
        return


def _open_directory(directory: Directory) -> int:
    """Open the cache's directory; OSError where it is not ours alone."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    place = os.open(directory, flags)
    found = os.fstat(place)
    if _is_ours(found):
        return place
    os.close(place)
    raise PermissionError(f"{directory} belongs to others")


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
