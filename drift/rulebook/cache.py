"""Keep the compiled rules in a runtime directory, so that they are read once a boot.

The file is trusted only where nobody else can have written it, and any damage is as if it were
not there: the rules are then compiled again. Runtime directories are in memory; a `/run` that is
part of a Btrfs root is none, for drift writes nothing there.
"""

from __future__ import annotations

import gc
import marshal
import os
import stat
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drift import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "rules.cache"

_FORMAT = 4
_WRITER = (_FORMAT, __version__, sys.version, marshal.version)
_CHECKSUM_BYTES = 4
_SUBVOLUME_TOP = 256
"""The inode number of every Btrfs subvolume's top directory."""


def cache_directory(environ: Mapping[str, str], uid: int) -> Path | None:
    """Where user `uid` may keep the cache; None where there is no runtime directory."""
    runtime = Path("/run") if uid == 0 else Path(environ.get("XDG_RUNTIME_DIR", ""))
    try:
        found, root = runtime.lstat(), os.stat("/")
    except OSError:
        return None
    if not runtime.is_absolute() or not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        return None
    if found.st_dev == root.st_dev and root.st_ino == _SUBVOLUME_TOP:
        return None
    return runtime / "drift"


def read_cache(directory: Path, key: Any, name: str = FILE) -> Any:
    """The value that `write_cache` kept under `key`; None where it isn't there, whole and ours.

    Each `name` is a file that keeps one value.
    """
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
    # marshal may crash on what it didn't write, so nothing damaged may reach it.
    body = memoryview(data)[_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != data[:_CHECKSUM_BYTES]:
        return None
    try:
        written = _load(body)
    except (ValueError, TypeError, EOFError):
        return None
    if not isinstance(written, tuple) or len(written) != 3 or written[:2] != (_WRITER, key):
        return None
    return written[2]


def write_cache(directory: Path, key: Any, value: Any, name: str = FILE) -> None:
    """Keep `value`, of plain types only, under `key` in place of what was kept before.

    Where that can't be done, nothing is kept.
    """
    body = marshal.dumps((_WRITER, key, value))
    data = zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body
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


def _open_directory(directory: Path) -> int:
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


def _load(body: memoryview) -> object:
    # Thousands of lists and dicts come at once: collecting garbage between them finds none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return marshal.loads(body)
    finally:
        if collecting:
            gc.enable()
