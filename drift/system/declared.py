"""Know what is persisted already, from what impermanence, preservation and others left behind."""

from __future__ import annotations

import re
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind
from drift.system.etc_trees import STATIC, find_etc_trees
from drift.system.fstab import read_fstab
from drift.system.mounts import Survival, join, mount_of, mounts_below, path_inside, within
from drift.system.rooted import Rooted
from drift.system.tmpfiles import expand, read_tmpfiles
from drift.system.unit_file import read_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drift.system.mounts import Mount, MountPoint
    from drift.system.unit_file import Unit


class State(StrEnum):
    ACTIVE = "active"
    PENDING = "declared, not active yet"
    # In place now, and gone after the next boot.
    UNDECLARED = "mounted, no longer declared"


class Claim(NamedTuple):
    """Something says that `path` is to be kept at `source`: a bind mount of it, or a link to it."""

    path: bytes
    source: bytes
    kind: Kind | None
    by: str

    @property
    def store(self) -> bytes:
        """The persistent storage that `source` mirrors the root in; empty if it doesn't."""
        return self.source[: -len(self.path)] if self.source.endswith(self.path) else b""


class Declaration(NamedTuple):
    """One persisted path and how far it is.

    `store` is where the persistent storage is mounted (`b"/persist"`), empty where `source` is
    named otherwise; `kind` is directory or file; `by` is `impermanence`, `preservation`,
    `/etc/fstab`, `environment.etc`, a unit, a tmpfiles.d file or the flake that says so.
    """

    path: bytes
    store: bytes
    kind: Kind
    state: State
    by: str
    source: bytes


def read_declared_active(mounts: Sequence[Mount], root: bytes) -> list[Declaration]:
    """What the running and the next system of the root mounted at `root` keep, sorted by path.

    What the next boot declares is active or pending; what only the running system declares, or
    nothing does, is listed where it is still in place.
    """
    rooted = Rooted(root)
    trees = find_etc_trees(rooted)
    upcoming_tree = trees.upcoming or trees.all[0]
    upcoming = {claim.path: claim for claim in read_claims(rooted, upcoming_tree)}
    running = {claim.path: claim for claim in read_claims(rooted, trees.running or upcoming_tree)}
    points = {point.path: point for point in mounts_below(mounts, root)}
    place = _Place(rooted, mounts, points)
    found = {claim.path: place.declaration(claim) for claim in upcoming.values()}
    for claim in [*running.values(), *_bind_mounts(points.values())]:
        if claim.path not in found and place.holds(claim):
            found[claim.path] = place.declaration(claim, State.UNDECLARED)
    stores = {claim.store for claim in upcoming.values() if claim.by == PRESERVATION}
    for path, declaration in found.items():
        # What preservation mounts in the initrd leaves no unit in the system itself.
        if declaration.by == _NOBODY and declaration.store in stores:
            found[path] = declaration._replace(state=State.ACTIVE, by=PRESERVATION)
    return _sorted(
        declaration
        for declaration in found.values()
        if declaration.store or place.outlives(declaration.source)
    )


def with_claims(active: Iterable[Declaration], claims: Iterable[Claim]) -> list[Declaration]:
    """What a configuration says on top of what the system shows, sorted by path.

    What is in place stays so; what isn't is declared, not active yet.
    """
    found = {declaration.path: declaration for declaration in active}
    for claim in claims:
        shown = found.get(claim.path)
        if shown is None:
            kind = claim.kind or Kind.DIRECTORY
            found[claim.path] = Declaration(
                claim.path, claim.store, kind, State.PENDING, claim.by, claim.source
            )
        elif shown.state is State.UNDECLARED and shown.source == claim.source:
            found[claim.path] = shown._replace(state=State.ACTIVE, by=claim.by)
    return _sorted(found.values())


IMPERMANENCE = "impermanence"
PRESERVATION = "preservation"


def read_claims(rooted: Rooted, tree: bytes) -> Iterator[Claim]:
    """What the units, tmpfiles.d, fstab and links of a tree of /etc files claim; tolerant."""
    units, _ = read_units(rooted, tree + b"/systemd/system", _UNITS)
    for unit in units:
        claim = _of_mount(unit) if unit.name.endswith(".mount") else _of_service(unit)
        if claim is not None and claim.source != claim.path:
            yield claim
    for line in read_tmpfiles(rooted, [tree + b"/tmpfiles.d"])[0]:
        target = expand(line.argument) if line.kind == "L" else None
        if target is not None and _mirrors(target, line.path):
            by = PRESERVATION if line.origin == "tmpfiles.d/preservation.conf" else line.origin
            yield Claim(line.path, target, None, by)
    for entry in read_fstab(rooted, tree + b"/fstab"):
        if entry.bind and entry.source.startswith(b"/") and entry.source != entry.point:
            yield Claim(entry.point, entry.source, None, "/etc/fstab")
    if tree == b"/etc":
        # Not a configuration's tree but the live one, with everybody's links.
        return
    for path, status in rooted.walk(tree):
        if not stat.S_ISLNK(status.st_mode):
            continue
        target, place = _target(rooted, path), b"/etc" + path[len(tree) :]
        if _mirrors(target, place) and not within(target, STATIC):
            yield Claim(place, target, None, "environment.etc")


_UNITS = re.compile(rb".*\.mount|persist-.*\.service", re.DOTALL)
_NOBODY = "a mount that nothing declares"
_LINKS_OR_BINDS = re.compile(r"Bind mount or link (/.*) to '?(/.*?)'?")


def _of_mount(unit: Unit) -> Claim | None:
    options = unit.last("Mount", "Options").split(",")
    what = _path(unit.last("Mount", "What"))
    where = _path(unit.last("Mount", "Where"))
    if not what or not where or not {"bind", "rbind"} & set(options):
        return None
    # Preservation waits for a file to exist, and for no directory.
    kind = Kind.FILE if unit.last("Unit", "ConditionPathExists") else Kind.DIRECTORY
    if "preservation.target" in unit.words("Unit", "Before"):
        return Claim(where, what, kind, PRESERVATION)
    early = unit.last("Unit", "DefaultDependencies").lower() in ("false", "no", "0")
    by = IMPERMANENCE if early and what.endswith(where) else f"unit {unit.name}"
    return Claim(where, what, None if by != IMPERMANENCE else Kind.DIRECTORY, by)


def _of_service(unit: Unit) -> Claim | None:
    """A file of impermanence: a script is started with the path, the source and the method."""
    words = unit.words("Service", "ExecStart")
    if len(words) >= 3 and words[1].startswith("/") and words[2].startswith("/"):
        return Claim(_path(words[1]), _path(words[2]), Kind.FILE, IMPERMANENCE)
    said = _LINKS_OR_BINDS.fullmatch(unit.description)
    if said is None:
        return None
    return Claim(_path(said[2]), _path(said[1]), Kind.FILE, IMPERMANENCE)


def _bind_mounts(points: Iterable[MountPoint]) -> Iterator[Claim]:
    for point in points:
        origin = point.origin
        if point.survival is Survival.KEPT and origin and _mirrors(origin, point.path):
            yield Claim(point.path, origin, None, _NOBODY)


def _mirrors(source: bytes, path: bytes) -> bool:
    return (
        source.startswith(b"/")
        and source.endswith(path)
        and source != path
        and not source.startswith(b"/nix/store/")
    )


def _target(rooted: Rooted, path: bytes) -> bytes:
    try:
        return rooted.target(path)
    except OSError:
        return b""


class _Place(NamedTuple):
    """What is in place now."""

    rooted: Rooted
    mounts: Sequence[Mount]
    points: dict[bytes, MountPoint]

    def declaration(self, claim: Claim, state: State | None = None) -> Declaration:
        if state is None:
            state = State.ACTIVE if self.holds(claim) else State.PENDING
        kind = claim.kind or self.kind(claim)
        return Declaration(claim.path, claim.store, kind, state, claim.by, claim.source)

    def holds(self, claim: Claim) -> bool:
        if claim.path in self.points:
            path, source = self.rooted.host(claim.path), self.rooted.host(claim.source)
            mount, origin = mount_of(self.mounts, path), mount_of(self.mounts, source)
            return (mount.device, path_inside(mount, path)) == (
                origin.device,
                path_inside(origin, source),
            )
        try:
            if self.rooted.target(claim.path) == claim.source:
                return True
            return self.rooted.resolve(claim.path) == self.rooted.resolve(claim.source)
        except OSError:
            return False

    def kind(self, claim: Claim) -> Kind:
        for path in (claim.source, claim.path):
            try:
                mode = self.rooted.status(self.rooted.resolve(path)).st_mode
            except OSError:
                continue
            return Kind.DIRECTORY if stat.S_ISDIR(mode) else Kind.FILE
        return Kind.DIRECTORY

    def outlives(self, path: bytes) -> bool:
        """Whether `path` lies on something that isn't the root's."""
        above = [point for point in self.points.values() if within(path, point.path)]
        return bool(above) and max(above, key=lambda point: len(point.path)).survives


def _path(text: str) -> bytes:
    if not text.startswith("/"):
        return b""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return join(b"/", b"/" + "/".join(parts).encode(errors="surrogateescape"))


def _sorted(declarations: Iterable[Declaration]) -> list[Declaration]:
    return sorted(declarations, key=lambda declaration: declaration.path.split(b"/"))
