"""The nouns of a report: what a scan found and was decided of it; no I/O.

As in `model`, paths are bytes, times nanoseconds since the epoch, and sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from drift.model import Engine, Kind, Lineage, OnePath, Root, Severity, Skipped, Status, Verdict


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
