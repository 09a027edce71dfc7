"""Gather a Machine: the live root, its filesystem's subvolumes, the storage, what is declared."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from drift import pipeline
from drift.btrfs.items import kind_of
from drift.compare import open_top
from drift.configured import read_configured
from drift.doctor.entries import NECESSARY
from drift.doctor.layout import OLD_ROOT
from drift.doctor.machine import Blank, Found, Machine, Nested, Store
from drift.doctor.storage import SECRET, leading_directories
from drift.errors import DriftError
from drift.locate import locate
from drift.model import Kind, Lineage, Verdict
from drift.persistence import read_persistence, survives
from drift.places import PRIVATE
from drift.rulebook import load, rule_sources
from drift.system.accounts import read_accounts
from drift.system.etc_trees import find_etc_trees
from drift.system.fstab import read_fstab
from drift.system.mounts import join, mount_of, read_mounts, within
from drift.system.rooted import Rooted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drift.btrfs.subvolumes import Subvolume
    from drift.locate import Located
    from drift.model import Skipped
    from drift.persistence import Persistence
    from drift.pipeline import Request, Scan
    from drift.rulebook import RuleBook

# Counting goes on as long as nobody gets impatient.
_COUNTED = 50_000


class Gathered(NamedTuple):
    machine: Machine
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def read_machine(
    request: Request,
    environ: Mapping[str, str],
    *,
    progress: Callable[[int], None] | None = None,
) -> Gathered:
    """Look at the machine as `request` names it; DriftError where not even its root can be read.

    That no blank is found is no error but a fact about the machine.
    """
    if os.geteuid() != 0:
        raise DriftError("looking at a machine's layout needs root", "run drift with sudo")
    book = load(rule_sources(request.rules, environ), environ)
    root = os.path.realpath(request.live)
    scan, located, problem = _located(request, environ, progress)
    try:
        accounts = read_accounts(root)
        mounts = located.mounts if located is not None else read_mounts()
        claims, notes = read_configured(request.config, accounts.homes)
        persistence = read_persistence(mounts, root, given=request.persist, claims=claims)
        stores = tuple(_stores(persistence, root, mount_of(mounts, root).device))
        live = None if located is None else located.live_subvolume
        with ExitStack() as resources:
            top = None
            if located is not None and live is not None:
                top = b"/proc/self/fd/%d/" % open_top(located, resources)
            machine = Machine(
                live=root,
                subvolume=None if live is None else live.path,
                expected=_expected(root),
                problem=problem,
                old_roots=_old_roots(located),
                blank=_blank(located, top),
                lineage=Lineage.NONE if located is None else located.lineage,
                base=None if located is None else located.base,
                made=None if live is None else live.otime,
                booted=_boot_time() if root == b"/" else None,
                nested=tuple(_nested(located, top, book)),
                stores=stores,
                needed=_needed(scan),
                points=persistence.points,
                planned=persistence.planned,
                declarations=persistence.declarations,
                listed=tuple(claim.path for claim in claims),
                unsaved=persistence.unsaved | _pending(scan),
                found=_found(root, persistence, stores),
                rules={
                    one.path: decision.rule
                    for one in persistence.declarations
                    if (decision := book.decide(one.path, one.kind, accounts.home_directories))
                },
                hidden=() if scan is None else tuple(scan.report.hidden),
                lockout=_lockout(scan),
            )
    finally:
        if located is not None:
            located.close()
    return Gathered(machine, () if scan is None else tuple(scan.report.skipped), notes)


def _located(
    request: Request, environ: Mapping[str, str], progress: Callable[[int], None] | None
) -> tuple[Scan | None, Located | None, tuple[str, str] | None]:
    """The scan and both roots; else the live root alone, and what is the matter with the blank."""
    arguments = (request.live, request.blank, request.engine)
    try:
        located = locate(*arguments, explicit_live=request.explicit_live)
    except DriftError as error:
        problem = error.message, error.hint
    else:
        return pipeline.scan(request, environ, progress=progress), located, None
    try:
        located = locate(request.live, b"none", explicit_live=request.explicit_live)
    except DriftError:
        return None, None, problem
    if request.blank is None and _old_roots(located):
        # New and empty at each boot, as its neighbours tell: all that it holds is new.
        scan = pipeline.scan(replace(request, blank=b"none"), environ, progress=progress)
        return scan, located, None
    return None, located, problem


def _old_roots(located: Located | None) -> int:
    if located is None or located.filesystem is None:
        return 0
    live = located.live_subvolume
    return sum(
        one != live and OLD_ROOT.search(one.path.rpartition(b"/")[0]) is not None
        for one in located.filesystem.subvolumes.values()
    )


def _expected(root: bytes) -> bytes | None:
    rooted = Rooted(root)
    fstab = (find_etc_trees(rooted).upcoming or b"/etc") + b"/fstab"
    named = [entry.subvolume for entry in read_fstab(rooted, fstab) if entry.point == b"/"]
    return os.fsencode(named[-1]) if named and named[-1] else None


def _boot_time() -> float | None:
    try:
        with open("/proc/stat", "rb") as file:
            return next((float(line[6:]) for line in file if line.startswith(b"btime ")), None)
    except OSError:
        return None


class _Count(NamedTuple):
    sample: bytes
    more: bool
    files: int = 0
    size: int = 0


def _count(directory: bytes) -> _Count:
    """The regular files below a directory, without the subvolumes and mounts in it."""
    files = total = 0
    sample = b""
    try:
        device = os.lstat(directory).st_dev
    except OSError:
        return _Count(b"", more=False)
    for seen, (path, found) in enumerate(_walk(directory, device), 1):
        if stat.S_ISREG(found.st_mode):
            files += 1
            total += found.st_size
            sample = sample or path[len(directory) :]
        if seen >= _COUNTED:
            return _Count(sample, True, files, total)
    return _Count(sample, False, files, total)


def _walk(directory: bytes, device: int) -> Iterator[tuple[bytes, os.stat_result]]:
    waiting = [directory]
    while waiting:
        above = waiting.pop()
        try:
            names = sorted(os.listdir(above))
        except OSError:
            continue
        for name in names:
            path = above + b"/" + name
            try:
                found = os.lstat(path)
            except OSError:
                continue
            yield path, found
            if stat.S_ISDIR(found.st_mode) and found.st_dev == device:
                waiting.append(path)


def _inside(outer: Subvolume, located: Located) -> list[Subvolume]:
    assert located.filesystem is not None
    all_of_them = located.filesystem.subvolumes.values()
    inside = [one for one in all_of_them if outer.path and one.path.startswith(outer.path + b"/")]
    return sorted(inside, key=lambda one: one.path)


def _blank(located: Located | None, top: bytes | None) -> Blank | None:
    if located is None or top is None:
        return None
    blank = located.blank_subvolume
    if blank is None:
        return None
    count = _count(top + blank.path)
    inside = tuple(one.path for one in _inside(blank, located))
    return Blank(blank.path, blank.read_only, count.files, count.sample, inside)


def _nested(located: Located | None, top: bytes | None, book: RuleBook) -> Iterator[Nested]:
    if located is None or located.live_subvolume is None or top is None:
        return
    live = located.live_subvolume
    for one in _inside(live, located):
        path = one.path[len(live.path) :]
        count = _count(top + one.path)
        decision = book.decide(path, Kind.DIRECTORY)
        service = decision.rule.service if decision is not None else "not recognised"
        yield Nested(path, count.files, count.size, service, count.more)


def _stores(persistence: Persistence, root: bytes, device: str) -> Iterator[Store]:
    used = {one.store for one in persistence.declarations}
    points = {point.path: point for point in persistence.points}
    for place, path in enumerate(persistence.stores):
        # The usual place matters only where nothing else is known.
        if place and path not in used and path not in points:
            continue
        above = [point for point in persistence.points if within(path, point.path)]
        point = max(above, key=lambda point: len(point.path), default=None)
        try:
            space = os.statvfs(join(root, path))
        except OSError:
            yield Store(path, mounted=False, survives=False, describe="missing")
            continue
        yield Store(
            path,
            mounted=point is not None,
            survives=survives(persistence.points, path),
            describe="" if point is None else point.describe,
            free=space.f_bavail * space.f_frsize,
            reflinks=point is not None
            and point.mount.device == device
            and point.mount.fstype == "btrfs",
        )


def _pending(scan: Scan | None) -> frozenset[bytes]:
    return frozenset() if scan is None else frozenset(entry.path for entry in scan.pending)


def _needed(scan: Scan | None) -> int:
    groups = [] if scan is None else scan.report.groups
    return sum(group.bytes for group in groups if group.verdict is Verdict.PERSIST)


def _lockout(scan: Scan | None) -> str | None:
    entries = (
        [] if scan is None else [entry for group in scan.report.groups for entry in group.entries]
    )
    return next((e.finding.why for e in entries if e.finding.rule == "heuristic: lock-out"), None)


def _found(root: bytes, persistence: Persistence, stores: tuple[Store, ...]) -> dict[bytes, Found]:
    wanted = {path for path, _ in NECESSARY}
    wanted |= leading_directories(store.path for store in stores)
    wanted |= {top + path for top in (b"", *(one.path for one in stores)) for path in PRIVATE}
    for one in persistence.declarations:
        wanted |= {one.path, one.source, *_keys(root, one.source)}
    for store in stores:
        wanted |= set(_keys(root, store.path + b"/etc/ssh"))
    return {path: found for path in sorted(wanted) if (found := _look(join(root, path)))}


def _keys(root: bytes, directory: bytes) -> Iterable[bytes]:
    try:
        names = os.listdir(join(root, directory))
    except OSError:
        return ()
    return [directory + b"/" + name for name in names if SECRET.fullmatch(name)]


def _look(path: bytes) -> Found | None:
    try:
        found = os.lstat(path)
        kind = kind_of(found.st_mode)
        empty = found.st_size == 0
        if kind is Kind.DIRECTORY:
            empty = not os.listdir(path)
    except OSError:
        return None
    return Found(kind, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), empty)
