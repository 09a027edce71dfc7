"""Write a result to a file that others read at any time: whole or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from drift.errors import DriftError
from drift.names import shown


def find_place(given: bytes) -> bytes:
    """Where the file `given` really is, or is to be; DriftError where no file can be.

    It need not exist, its directory must. What is there and no regular file is refused: to rename
    over a device would take it away.
    """
    path = os.path.realpath(given)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DriftError(f"{shown(given)} is no file", "name a file, or leave --output out")
    except FileNotFoundError:
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            raise DriftError(
                f"{shown(given)} can't be written: {shown(directory)} is no directory", "make it"
            ) from None
    except OSError as error:
        raise DriftError(f"{shown(given)} can't be written: {error.strerror}") from error
    return path


def write_whole(path: bytes, data: bytes) -> None:
    """Put `data` at `path`, by rename: a reader sees the old file or the new one.

    A new file has the mode that the umask leaves, one in place of another has the other's mode.
    """
    directory, name = os.path.split(path)
    # Without the ending: node exporter reads every *.prom it finds.
    temporary = os.path.join(directory, b".%s.%s" % (name, os.urandom(4).hex().encode()))
    try:
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            mode = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise DriftError(f"{shown(path)} can't be written: {error.strerror}") from error
        raise
