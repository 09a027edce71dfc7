"""What outlives the live root: mounts, declared persistence in its three states, links into it."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from drift.judge import kept as kept_finding
from drift.names import shown
from drift.report import Finding, Kept
from drift.store import find_store
from drift.system.declared import State, read_declared_active, with_claims
from drift.system.etc_trees import find_etc_trees
from drift.system.fstab import planned_mounts, read_fstab
from drift.system.mounts import mounts_below, within
from drift.system.rooted import Rooted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drift.system.declared import Claim, Declaration
    from drift.system.mounts import Mount, MountPoint


@dataclass(frozen=True, slots=True)
class Declared(Kept):
    """A kept path that something declares.

    `saved` is False where its data is on the root alone, or newer there than in the store, so that
    the next boot loses it unless it is copied to `source` before.
    """

    state: State
    source: bytes
    saved: bool


class Persistence(NamedTuple):
    """What is kept, for reports (`kept`, sorted by path) and for the judge.

    `stores` are where persistent storage is mounted, the one for new entries first. `findings` say
    what is kept by a declaration rather than by a mount; `planned` are the mount points of a root
    that isn't running now.
    """

    points: tuple[MountPoint, ...]
    declarations: tuple[Declaration, ...]
    stores: tuple[bytes, ...]
    kept: list[Kept]
    findings: dict[bytes, Finding]
    planned: frozenset[bytes]

    @property
    def lasting_stores(self) -> tuple[bytes, ...]:
        """The stores that outlive the root: one that isn't mounted is a directory of the root."""
        return tuple(
            store
            for store in self.stores
            if survives(self.points, store) or any(within(store, path) for path in self.planned)
        )

    @property
    def unsaved(self) -> frozenset[bytes]:
        """Declared paths whose data lies on the root alone."""
        return frozenset(
            kept.path for kept in self.kept if isinstance(kept, Declared) and not kept.saved
        )


def read_persistence(
    mounts: Sequence[Mount],
    root: bytes,
    *,
    given: Sequence[bytes] = (),
    claims: Iterable[Claim] = (),
) -> Persistence:
    """What the root mounted at `root` keeps; `given` are the stores that the user names."""
    rooted = Rooted(root)
    points = tuple(mounts_below(mounts, root))
    declarations = tuple(with_claims(read_declared_active(mounts, root), claims))
    mounted = {point.path: point for point in points}
    found: dict[bytes, Kept] = {
        point.path: Kept(point.path, point.describe) for point in points if point.survives
    }
    # A root that isn't running has nothing mounted in it, or little: what its fstab names will be.
    planned = [] if root == b"/" else planned_mounts(read_fstab(rooted, _fstab(rooted)))
    missing = {kept.path: kept for kept in planned if kept.path not in mounted}
    found |= missing
    findings = {}
    for one in declarations:
        if one.path in missing:
            continue
        kept = _declared(rooted, one, mounted.get(one.path), running=root == b"/")
        found[one.path] = kept
        if one.path not in mounted:
            why = kept.by if one.state is State.ACTIVE else f"{kept.by}, by {one.by}"
            findings[one.path] = kept_finding(one.path, why, f"declared: {one.by}")
    return Persistence(
        points=points,
        declarations=declarations,
        stores=_stores(points, root, given, declarations),
        kept=sorted(found.values(), key=lambda kept: kept.path.split(b"/")),
        findings=findings,
        planned=frozenset(missing),
    )


def with_newer(persistence: Persistence, newest: Mapping[bytes, int], root: bytes) -> Persistence:
    """`persistence`, where what changed after it was copied to the store is not saved either.

    `newest` is the newest mtime below each declared path of the live root, in nanoseconds.
    """
    rooted = Rooted(root)
    return persistence._replace(
        kept=[
            replace(kept, saved=False)
            if isinstance(kept, Declared)
            and kept.saved
            and kept.state is State.PENDING
            and _newest(rooted, kept.source) < newest.get(kept.path, 0)
            else kept
            for kept in persistence.kept
        ]
    )


# A store with more than this is not looked through for what is newer.
_LOOKED_AT = 50_000


def _newest(rooted: Rooted, path: bytes) -> int:
    """The newest mtime of what is no directory at or below `path`; endless where it is too much."""
    try:
        real = rooted.resolve(path)
        top = rooted.status(real)
    except OSError:
        return 0
    if not stat.S_ISDIR(top.st_mode):
        return top.st_mtime_ns
    newest = 0
    for looked_at, (_, found) in enumerate(rooted.walk(real)):
        if looked_at > _LOOKED_AT:
            return sys.maxsize
        if not stat.S_ISDIR(found.st_mode):
            newest = max(newest, found.st_mtime_ns)
    return newest


def _declared(
    rooted: Rooted, one: Declaration, point: MountPoint | None, *, running: bool
) -> Declared:
    saved = True
    match one.state:
        case State.ACTIVE:
            by = point.describe if point is not None else f"link to {shown(one.source)}"
        case State.UNDECLARED:
            place = point.describe if point is not None else f"link to {shown(one.source)}"
            by = f"{State.UNDECLARED}: {place}"
        case State.PENDING:
            by = State.PENDING.value
            saved = _holds_something(rooted, one.source)
            if saved and not running:
                by = f"bind mount from {shown(one.source)}, at boot"
            saved = saved or not _holds_something(rooted, one.path)
    return Declared(one.path, by, one.state, one.source, saved)


def _holds_something(rooted: Rooted, path: bytes) -> bool:
    """Whether there is a file, or a directory that isn't empty."""
    try:
        real = rooted.resolve(path)
        status = rooted.status(real)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size > 0
        with os.scandir(rooted.host(real)) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _stores(
    points: Sequence[MountPoint],
    root: bytes,
    given: Sequence[bytes],
    declarations: Sequence[Declaration],
) -> tuple[bytes, ...]:
    """The store for new entries: the user's, else the one most declared, else the usual."""
    named = [find_store((), root, path) for path in given]
    uses: dict[bytes, int] = {}
    for one in declarations:
        if one.store and one.state is not State.UNDECLARED:
            uses[one.store] = uses.get(one.store, 0) + 1
    declared = sorted(uses, key=lambda path: (-uses[path], path))
    usual = find_store(points, root)
    return tuple(dict.fromkeys([*named, *declared, usual]))


def survives(points: Iterable[MountPoint], path: bytes) -> bool:
    """Whether `path` lies on a mount that outlives the root."""
    above = [point for point in points if within(path, point.path)]
    return bool(above) and max(above, key=lambda point: len(point.path)).survives


def _fstab(rooted: Rooted) -> bytes:
    trees = find_etc_trees(rooted)
    return (trees.upcoming or b"/etc") + b"/fstab"
