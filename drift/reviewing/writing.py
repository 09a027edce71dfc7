"""Write a file whole or not at all, so that a cut leaves the old one or the new one."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_whole(
    directory: int,
    name: bytes,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
) -> None:
    """Put `data` in place of the file `name` of an open directory; OSError passes through."""
    fresh = b".drift-" + secrets.token_hex(6).encode()
    fd = os.open(fresh, _WRITE, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=directory)
        raise
    os.fsync(directory)
