"""What the checks look at, gathered once; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind, Lineage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drift.report import Hidden
    from drift.rulebook import Rule
    from drift.system.declared import Declaration
    from drift.system.mounts import MountPoint


class Found(NamedTuple):
    """One path of the live root as lstat(2) shows it; `empty` a directory or file with nothing in it."""

    kind: Kind
    uid: int
    gid: int
    mode: int
    empty: bool = False


class Blank(NamedTuple):
    """`files` are the regular files in it, `sample` one of them; `inside` are subvolumes in it."""

    path: bytes
    read_only: bool
    files: int = 0
    sample: bytes = b""
    inside: tuple[bytes, ...] = ()


class Nested(NamedTuple):
    """A subvolume inside the live root at `path`; `more` says that it was not counted to the end."""

    path: bytes
    files: int
    bytes: int
    service: str
    more: bool = False


class Store(NamedTuple):
    """Persistent storage; `reflinks` says that copies from the root take no space there."""

    path: bytes
    mounted: bool
    survives: bool
    describe: str
    free: int = 0
    reflinks: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's layout; paths are rooted at the live root.

    `subvolume` is the live root's, `expected` the one that /etc/fstab mounts at `/`, and `problem`
    why no blank could be found, with what to do. `old_roots` are roots that were moved away. `made`
    is when the live root was, `booted` when the machine was, in seconds. `found` has each path that
    a check asks for and that exists, `rules` the rule for each declared path. `listed` are the
    paths of a configuration as often as they stand there. `needed` are bytes that drift suggests to
    persist, `lockout` the reason of that finding.
    """

    live: bytes = b"/"
    subvolume: bytes | None = None
    expected: bytes | None = None
    problem: tuple[str, str] | None = None
    old_roots: int = 0
    blank: Blank | None = None
    lineage: Lineage = Lineage.NONE
    base: int | None = None
    made: float | None = None
    booted: float | None = None
    nested: tuple[Nested, ...] = ()
    stores: tuple[Store, ...] = ()
    needed: int = 0
    points: tuple[MountPoint, ...] = ()
    planned: frozenset[bytes] = frozenset()
    declarations: tuple[Declaration, ...] = ()
    listed: tuple[bytes, ...] = ()
    unsaved: frozenset[bytes] = frozenset()
    found: Mapping[bytes, Found] = field(default_factory=dict)
    rules: Mapping[bytes, Rule] = field(default_factory=dict)
    hidden: tuple[Hidden, ...] = ()
    lockout: str | None = None
