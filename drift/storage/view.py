"""One store as the live system has it: where it is, what is expected in it, what must stay put."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drift.doctor import Level, Machine
from drift.doctor.machine import Store as CheckedStore
from drift.doctor.storage import store_mounted
from drift.errors import DriftError, UsageError
from drift.model import Skipped
from drift.names import shown
from drift.persistence import survives
from drift.saving.beneath import DIRECTORY
from drift.saving.manifest import DIRECTORY_NAME, Manifest, open_private, read_manifest
from drift.storage.expected import Expected, Role
from drift.storage.inside import Place, mounted_from, trail_of
from drift.storage.mentions import held_until_boot, read_home_mentions, read_mentions
from drift.store import find_store
from drift.system.declared import State
from drift.system.mounts import join, mount_of, mounts_below, relative, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drift.persistence import Persistence
    from drift.system.declared import Declaration
    from drift.system.mounts import Mount
    from drift.system.rooted import Rooted

# What filesystems and snapshot programs put at the top of what they look after.
_OTHERS = (b"/lost+found", b"/.snapshots")
# A store at /nix is also where Nix keeps its own.
_NIX = (b"/nix/store", b"/nix/var")


@dataclass(frozen=True, slots=True)
class View:
    """A store that the live system calls `path`, at `host` for this process.

    All other paths are from its top. `declared` are the declarations by where their data is, `named`
    what names a path, `held` what is the matter with one that can't be moved now, `saved` when drift saved it, and `inside`
    what is mounted in the store. `problem` says why the store is no safe place.
    """

    path: bytes
    host: bytes
    describe: str
    problem: str
    only_writes: bool
    expected: Expected
    declared: Mapping[bytes, Declaration]
    named: Mapping[bytes, str]
    held: Mapping[bytes, str]
    saved: Mapping[bytes, int]
    inside: Sequence[bytes]
    skipped: tuple[Skipped, ...] = ()

    def shown_path(self, path: bytes) -> bytes:
        """A path of the store as the live system sees it."""
        return join(self.path, path)

    def why_held(self, path: bytes) -> str:
        """Why `path` must stay where it is; empty where it may be moved."""
        for place, why in self.held.items():
            if within(path, place):
                return f"it {why}"
            if within(place, path):
                return f"{shown(self.shown_path(place))} in it {why}"
        for point in self.inside:
            if within(point, path):
                return f"something is mounted at {shown(self.shown_path(point))}"
            if within(path, point):
                return f"it is on what is mounted at {shown(self.shown_path(point))}"
        return ""

    def when_saved(self, path: bytes) -> int | None:
        """When drift last saved something at, in or above `path` here."""
        times = [
            when for place, when in self.saved.items() if within(place, path) or within(path, place)
        ]
        return max(times, default=None)

    def open_top(self) -> int:
        return os.open(self.host, DIRECTORY)


def read_views(
    rooted: Rooted,
    mounts: Sequence[Mount],
    persistence: Persistence,
    *,
    given: Sequence[bytes] = (),
    configs: Sequence[bytes] = (),
) -> list[View]:
    """Every store that the root has, or just those that the user names as `given`.

    DriftError where there is none, or not where the user says.
    """
    named = {find_store((), rooted.root, path) for path in given}
    places = list(_places(rooted, persistence, named))
    return [
        _view(place, places, rooted, mounts, persistence, configs)
        for place in places
        if not named or place.path in named
    ]


def _places(rooted: Rooted, persistence: Persistence, named: set[bytes]) -> Iterator[Place]:
    used = {one.store for one in persistence.declarations}
    points = {point.path for point in persistence.points}
    seen: set[bytes] = set()
    for number, path in enumerate(persistence.stores):
        wanted = path in named or number == 0
        # The usual place matters only where nothing else is known.
        if not wanted and path not in used and path not in points:
            continue
        try:
            real = rooted.resolve(path)
            host = rooted.host(real)
            os.close(os.open(host, DIRECTORY))
        except (FileNotFoundError, NotADirectoryError) as error:
            # Another one that is declared may be on a disk that isn't there now.
            if not wanted:
                continue
            raise DriftError(
                f"there is no persistent storage at {shown(path)}",
                "mount it, or say where it is with --persist PATH",
            ) from error
        except PermissionError as error:
            raise DriftError(
                f"{shown(path)} can't be read: permission denied", "run drift with sudo"
            ) from error
        if real == b"/":
            raise UsageError(
                "the live root can't be its own persistent storage",
                "give --persist the directory where the storage is mounted",
            )
        if real not in seen:
            seen.add(real)
            yield Place(path, real, host)


def _view(
    place: Place,
    places: Sequence[Place],
    rooted: Rooted,
    mounts: Sequence[Mount],
    persistence: Persistence,
    configs: Sequence[bytes],
) -> View:
    inside = [point.path for point in mounts_below(mounts, place.host)]
    skipped: list[Skipped] = []
    manifest = _manifest(place, skipped)
    expected = Expected()
    for path in (b"/" + DIRECTORY_NAME, *_OTHERS, *(b"/" + name for name in manifest.pending)):
        expected.add(path, Role.OWN)
    others = [
        relative(path, place.real)
        for path in (*_NIX, *(other.real for other in places))
        if within(path, place.real) and path != place.real
    ]
    for path in others:
        expected.add(path, Role.OWN)
    declared: dict[bytes, Declaration] = {}
    held: dict[bytes, str] = {}
    for one in persistence.declarations:
        trail = trail_of(rooted, place, one.source)
        if any(within(path, other) for path in trail[-1:] for other in others):
            continue
        if one.state is State.UNDECLARED:
            why = f"is in use at {shown(one.path)}, and nothing declares it for the next boot"
            held.update((path, why) for path in trail)
            continue
        for path in trail:
            expected.add(path, Role.DECLARED)
        if trail:
            declared[trail[-1]] = one
    for path in inside:
        if not any(within(source, path) for source in declared):
            expected.add(path, Role.OWN)
    named: dict[bytes, str] = {}
    for name in dict.fromkeys((place.path, place.real)):
        upcoming, running = read_mentions(rooted, name, configs)
        named |= upcoming
        held = held_until_boot(running) | held
    named = read_home_mentions(rooted, place.real) | named
    # Those above first: they stand for what lies in them.
    for path in sorted(named):
        expected.add(path, Role.NAMED)
    held = mounted_from(place, mounts, rooted.root) | held
    return View(
        path=place.path,
        host=place.host,
        describe=_describe(place, persistence),
        problem=_problem(place, persistence),
        only_writes="noatime" in mount_of(mounts, place.host).options.split(","),
        expected=expected,
        declared=declared,
        named=named,
        held=held,
        saved={one.path: one.when for one in manifest.saved},
        inside=inside,
        skipped=tuple(skipped),
    )


def _manifest(place: Place, skipped: list[Skipped]) -> Manifest:
    """What drift saved here; nothing where it can't be told, with the reason among `skipped`."""
    private = join(place.path, b"/" + DIRECTORY_NAME)
    top = os.open(place.host, DIRECTORY)
    try:
        opened = open_private(top, make=False)
    except FileNotFoundError:
        return Manifest()
    except DriftError as error:
        skipped.append(Skipped(private, error.message))
        return Manifest()
    finally:
        os.close(top)
    try:
        return read_manifest(opened)
    except DriftError as error:
        skipped.append(Skipped(private, error.message))
        return Manifest()
    finally:
        os.close(opened)


def _describe(place: Place, persistence: Persistence) -> str:
    above = [point for point in persistence.points if within(place.real, point.path)]
    return max(above, key=lambda point: len(point.path)).describe if above else ""


def _problem(place: Place, persistence: Persistence) -> str:
    """What `drift doctor` says of the store, where it isn't well."""
    describe = _describe(place, persistence)
    store = CheckedStore(
        place.path,
        mounted=describe != "",
        survives=survives(persistence.points, place.real),
        describe=describe,
    )
    [check] = store_mounted(Machine(stores=(store,)))
    return "" if check.level is Level.OK else f"{check.reason}. Cure: {check.cure}"
