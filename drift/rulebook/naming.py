"""Paths as people write them on a command line or in a rule file's examples; no I/O."""

from __future__ import annotations

import os
import posixpath

from drift.model import Kind

_SOME_HOME = b"/home/~"
"""Stands for the home that `~/` leaves open: it is below /home, and no rule knows its name."""


def read_path(text: str) -> tuple[bytes, Kind | None]:
    """A path to decide about, and its kind as far as a slash at the end tells it.

    What starts with `~/` or without a slash is below a user's home.
    """
    given = os.fsencode(text)
    kind = Kind.DIRECTORY if given.endswith(b"/") else None
    if given == b"~" or given.startswith(b"~/"):
        given = _SOME_HOME + given[1:]
    elif not given.startswith(b"/"):
        given = _SOME_HOME + b"/" + given
    return b"/" + posixpath.normpath(given).lstrip(b"/"), kind
