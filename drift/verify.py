"""Did everything that was saved come back? The manifest against the store and the live system."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from drift.live_root import is_dynamic
from drift.model import Kind, Skipped
from drift.places import in_private
from drift.saving.plan import reason
from drift.saving.reading import read_one
from drift.saving.records import difference
from drift.saving.source import ChangedError
from drift.system.mounts import within
from drift.system.rooted import Rooted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drift.saving.manifest import Manifest, Origin, Saved
    from drift.saving.records import Record
    from drift.saving.source import Tree
    from drift.system.declared import Declaration


class Standing(StrEnum):
    BACK = "back as it was saved"
    CHANGED = "back, changed since by what uses them"
    WAITING = "saved, waiting for the next boot"
    # Problems from here on.
    NOT_IN_PLACE = "in the store, but not in place on the live system"
    OTHER_OWNER = "back with another owner or mode"
    DAMAGED = "not what was saved"
    MISSING = "missing"
    EMPTY = "declared, but nothing was saved and nothing is there"

    @property
    def is_problem(self) -> bool:
        return self not in (Standing.BACK, Standing.CHANGED, Standing.WAITING)


class Detail(NamedTuple):
    """One path of an entry (absolute) and what is the matter with it."""

    path: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    """One saved or declared path. `elsewhere` says where a lost one still is."""

    path: bytes
    standing: Standing
    files: int = 0
    details: tuple[Detail, ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(slots=True)
class Verification:
    """`at_stake` says whether something did not come back."""

    checks: list[Check] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def at_stake(self) -> bool:
        return any(check.standing.is_problem for check in self.checks)


def verify(
    manifest: Manifest,
    store: Tree,
    store_path: bytes,
    live: bytes,
    origin: Origin,
    declarations: Iterable[Declaration],
    search: Callable[[bytes], Sequence[str]],
) -> Verification:
    """Check all that `manifest` names and all that is declared for this store.

    `live` is the directory of the live root, `origin` which root it is: the one that was saved from
    has not been rebooted yet. `search` says where else a lost path still is.
    """
    result = Verification()
    rooted = Rooted(live)
    for saved in manifest.saved:
        here = _in_place(rooted, saved.path, store_path)
        before = (saved.origin.uuid, saved.origin.boot) == (origin.uuid, origin.boot)
        check = _check(saved, store, result.skipped, in_place=here, before=before)
        if check.standing.is_problem:
            found = [*_asides(store, saved.path), *search(saved.path)]
            check = replace(check, elsewhere=tuple(found))
        result.checks.append(check)
    known = [saved.path for saved in manifest.saved]
    for one in declarations:
        if one.store != store_path or any(within(one.path, path) for path in known):
            continue
        if any(within(path, one.path) for path in known) or not _is_empty(rooted, one):
            continue
        elsewhere = tuple(search(one.path))
        # What never held anything is empty rightly; with a manifest, only a trace tells.
        if elsewhere or not known:
            result.checks.append(Check(one.path, Standing.EMPTY, elsewhere=elsewhere))
    result.checks.sort(key=lambda check: check.path.split(b"/"))
    return result


def _check(
    saved: Saved, store: Tree, skipped: list[Skipped], *, in_place: bool, before: bool
) -> Check:
    missing: list[Detail] = []
    damaged: list[Detail] = []
    owners: list[Detail] = []
    changed = False
    for record in saved.records:
        path = saved.path + (b"/" + record.path if record.path else b"")
        try:
            with store.place(path) as place:
                now = read_one(place, record.path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(Detail(path, "missing"))
            continue
        except ChangedError:
            changed = True
            continue
        except OSError as error:
            skipped.append(Skipped(path, reason(error)))
            continue
        why = _matter(record, now, path)
        if not why:
            continue
        if _other_content(record, now):
            # Whoever writes to a file changes its time; a disk that fails does not.
            if in_place and record.mtime != now.mtime:
                changed = True
            else:
                damaged.append(Detail(path, why))
        else:
            owners.append(Detail(path, why))
    files = sum(record.kind is not Kind.DIRECTORY for record in saved.records)
    standing = Standing.BACK
    if missing:
        standing = Standing.MISSING
    elif damaged:
        standing = Standing.DAMAGED
    elif not in_place:
        standing = Standing.WAITING if before else Standing.NOT_IN_PLACE
    elif owners:
        standing = Standing.OTHER_OWNER
    elif changed:
        standing = Standing.CHANGED
    return Check(saved.path, standing, files, (*missing, *damaged, *owners))


def _matter(saved: Record, now: Record, path: bytes) -> str:
    """In what an entry differs from what was saved; times are its service's."""
    if in_private(path) and is_dynamic(saved.uid) and is_dynamic(now.uid):
        # systemd gives the service a user of the moment at each start.
        now = now._replace(uid=saved.uid, gid=saved.gid)
    return difference(saved, now, times=False)


def _other_content(saved: Record, now: Record) -> bool:
    return (saved.kind, saved.size, saved.digest, saved.target, saved.device) != (
        now.kind,
        now.size,
        now.digest,
        now.target,
        now.device,
    )


def _in_place(rooted: Rooted, path: bytes, store: bytes) -> bool:
    """Whether the live system shows the store's entry at `path`: mounted, linked, or above it."""
    try:
        shown = os.lstat(rooted.host(rooted.resolve(path)))
        kept = os.lstat(rooted.host(rooted.resolve(store)) + path)
    except OSError:
        return _same_link(rooted, path, store)
    return (shown.st_dev, shown.st_ino) == (kept.st_dev, kept.st_ino) or _same_link(
        rooted, path, store
    )


def _same_link(rooted: Rooted, path: bytes, store: bytes) -> bool:
    """A saved symlink is in place where a directory above it is mounted."""
    try:
        shown = rooted.status(path)
        kept = os.lstat(rooted.host(rooted.resolve(store)) + path)
    except OSError:
        return False
    return (shown.st_dev, shown.st_ino) == (kept.st_dev, kept.st_ino)


def _is_empty(rooted: Rooted, one: Declaration) -> bool:
    try:
        real = rooted.resolve(one.source)
        status = rooted.status(real)
        if stat.S_ISDIR(status.st_mode):
            return not rooted.names(real)
        return status.st_size == 0
    except OSError:
        return True


def _asides(store: Tree, path: bytes) -> list[str]:
    from drift.names import shown
    from drift.saving.beneath import names_in

    directory, _, name = path.rpartition(b"/")
    try:
        with store.place(directory or b"/") as place:
            fd = place.open_directory()
            try:
                names = names_in(fd)
            finally:
                os.close(fd)
    except OSError:
        return []
    prefix = name[:200] + b".before-"
    return [
        f"{shown(directory + b'/' + other)} in the store"
        for other in names
        if other.startswith(prefix)
    ]
