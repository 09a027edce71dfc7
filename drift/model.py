"""The nouns that the rooms pass to each other; no I/O.

Paths are bytes, rooted at the live root (`b"/etc/machine-id"`); times are integer nanoseconds
since the epoch; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

# The dataclasses below have a field `bytes`, which hides the type.
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


@dataclass(frozen=True, slots=True)
class Finding:
    """What was decided about one path, by whom, and why.

    `rule` is `rules/openssh.toml:12`, `unit sshd.service` or `heuristic: ...`; `anchor` is the
    directory that the decision speaks for (the path itself where it speaks for one file).
    """

    service: str
    title: str
    verdict: Verdict
    severity: Severity
    why: str
    rule: str
    anchor: bytes
    user: str | None = None
    group: str | None = None
    mode: int | None = None
    replaced: bool = False
    method: str | None = None
    advice: str | None = None


@dataclass(slots=True)
class Entry:
    """One line of a report: a path and, if it is a directory, all that changed below it.

    `files` counts the changed entries it stands for (non-directories), `changes` all of them,
    `newest` is the newest mtime. `mode`, `uid` and `gid` are those of the path itself; `seen` says
    that they came with a change of its own. `sole` is the one file it stands for, if there is one.
    `replaced` says that its program was seen to replace it by rename.
    """

    path: bytes
    kind: Kind
    status: Status
    finding: Finding
    files: int = 0
    bytes: int = 0
    newest: int = 0
    changes: int = 0
    uid: int = 0
    gid: int = 0
    mode: int = 0
    replaced: bool = False
    seen: bool = False
    sole: OnePath | None = None


@dataclass(slots=True)
class Group:
    """The entries of one service that share a verdict."""

    service: str
    title: str
    verdict: Verdict
    severity: Severity
    entries: list[Entry] = field(default_factory=list)

    @property
    def files(self) -> int:
        return sum(entry.files for entry in self.entries)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    @property
    def newest(self) -> int:
        return max((entry.newest for entry in self.entries), default=0)


@dataclass(frozen=True, slots=True)
class Kept:
    path: bytes
    by: str


class Hidden(NamedTuple):
    """The live root's own data below the mount point `under`."""

    path: bytes
    under: bytes
    files: int
    bytes: int
    newest: int


@dataclass(frozen=True, slots=True)
class Report:
    """What `drift scan` found; `counts` are changed entries by verdict and add up to `changed`."""

    live: Root
    blank: Root | None
    engine: Engine
    lineage: Lineage
    base_generation: int | None
    counts: dict[str, int]
    groups: list[Group]
    kept: list[Kept]
    hidden: list[Hidden]
    skipped: list[Skipped]
    seconds: float
