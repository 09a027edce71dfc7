"""The nouns that the rooms pass to each other; no I/O.

Paths are bytes, rooted at the live root (`b"/etc/machine-id"`); times are integer nanoseconds
since the epoch; sizes are bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

# For classes with a field `bytes`, which hides the type.
OnePath = bytes


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARACTER = "character"
    BLOCK = "block"
    SUBVOLUME = "subvolume"


class Status(StrEnum):
    ADDED = "A"
    DELETED = "D"
    MODIFIED = "M"
    TYPE = "T"
    PROPERTIES = "P"
    RENAMED = "R"


class Verdict(StrEnum):
    PERSIST = "persist"
    REVIEW = "review"
    EPHEMERAL = "ephemeral"
    REGENERATED = "regenerated"
    KEPT = "kept"


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Engine(StrEnum):
    GENERATION = "generation"
    METADATA = "metadata"
    WALK = "walk"


class Lineage(StrEnum):
    LIVE_FROM_BLANK = "live-from-blank"
    BLANK_FROM_LIVE = "blank-from-live"
    COMMON_ANCESTOR = "common-ancestor"
    UNRELATED = "unrelated"
    NONE = "none"


class Change(NamedTuple):
    """One difference between the live root and the blank.

    For `D` the values are the blank's, else the live root's. `source` is the old path of an `R`,
    and `modified` says that its content changed as well. `target` is a symlink's target, or
    the subvolume that a snapshot was taken of.
    `replaced` says that a new file took the place of the blank's, as rename() does; only an engine
    that can tell sets it.
    """

    status: Status
    path: bytes
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    source: bytes | None = None
    modified: bool = False
    target: bytes | None = None
    replaced: bool = False


class Root(NamedTuple):
    """One side of the comparison, as reports name it.

    `path` is the directory or, for a subvolume that is mounted nowhere, its path from the top
    level; `subvolume` is that path, `""` for a plain directory.
    """

    path: bytes
    subvolume: bytes
    id: int
    generation: int


class Skipped(NamedTuple):
    """What could not be read, and why: listed in every output, exit code 4."""

    path: bytes
    reason: str
