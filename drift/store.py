"""Find the persistent storage among the live root's mounts; no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drift.system.mounts import relative, within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.system.mounts import MountPoint

DEFAULT = b"/persist"

# /persist, /persistent, /nix/persist, /persist/system, /state
_NAME = re.compile(rb"(^|/)(persist(ent|ence)?|persist/system)$")


def find_store(mounts: Iterable[MountPoint], live: bytes, given: bytes | None = None) -> bytes:
    """The path of persistent storage as the live system sees it.

    `given` is what the user says: a path of the live system, or of the machine drift runs on where
    the live root is mounted elsewhere. Else the mount that most bind mounts come from, else one
    with a usual name, else /persist.
    """
    if given is not None:
        path = given.rstrip(b"/") or b"/"
        return relative(path, live) if live != b"/" and within(path, live) else path
    points = [point for point in mounts if point.survives]
    named = [point.path for point in points if _NAME.search(point.path) and point.origin is None]
    uses = {
        path: sum(point.origin is not None and within(point.origin, path) for point in points)
        for path in named
    }
    return min(named, key=lambda path: (-uses[path], path), default=DEFAULT)
