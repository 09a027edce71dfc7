"""locate, read, diff, judge, group: everything that `drift scan` knows, in one function."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drift.btrfs.items import kind_of
from drift.compare import differences
from drift.group import complete, group
from drift.judge import Facts, Judge
from drift.locate import locate
from drift.model import Skipped, Verdict
from drift.report import Report
from drift.system.mounts import join

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drift.locate import Located
    from drift.model import Kind, Status
    from drift.persistence import Persistence
    from drift.report import Entry
    from drift.rulebook import Rule
    from drift.system.accounts import Accounts
    from drift.system.declared import Declaration
    from drift.system.mounts import MountPoint


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for; defaults are the command line's.

    `persist` are stores by path, the one to suggest for first; `config` are .nix files and flakes.
    """

    live: bytes = b"/"
    blank: bytes | None = None
    engine: str = "auto"
    explicit_live: bool = False
    rules: tuple[str | os.PathLike[str], ...] = ()
    persist: tuple[bytes, ...] = ()
    config: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """A report, and what later steps need of the live root that made it.

    `store` is where new entries go. `pending` are the entries that a declaration keeps from the
    next boot on: their data is in no store unless it is copied. `notes` say what of the
    configuration could not be told, and which rules have `expired`.
    """

    report: Report
    accounts: Accounts
    live_directory: bytes
    mounts: tuple[MountPoint, ...]
    store: bytes
    declarations: tuple[Declaration, ...]
    pending: tuple[Entry, ...]
    notes: tuple[str, ...]
    expired: tuple[Rule, ...] = ()


def feed(
    judge: Judge,
    located: Located,
    skipped: list[Skipped],
    *,
    progress: Callable[[int], None] | None = None,
    but: Status | None = None,
) -> None:
    """Give `judge` every difference between the two roots, except those with the status `but`.

    What can't be read is added to `skipped`.
    """
    with differences(
        located,
        skipped,
        progress=progress,
        needs_content=judge.needs_content,
        ordered=False,
        whole=judge.whole,
    ) as stream:
        for item in stream:
            if item.status is not but:
                judge.feed(item)


def scan(
    request: Request,
    environ: Mapping[str, str],
    *,
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """What would be lost at the next reboot; DriftError where that can't be told."""
    from drift.configured import Configured, read_configured
    from drift.lockout import read_lockouts
    from drift.persistence import read_persistence, with_newer
    from drift.reviewing.rules import expired_notes, with_reviewed
    from drift.rulebook import load, rule_sources
    from drift.system.accounts import read_accounts
    from drift.system.nixos import read_regenerated
    from drift.unit_rules import unit_rules, with_unit_rules

    started = time.monotonic()
    book = load(rule_sources(request.rules, environ), environ)
    located = locate(
        request.live, request.blank, request.engine, explicit_live=request.explicit_live
    )
    try:
        root = located.live_directory
        accounts = read_accounts(root)
        regenerated = read_regenerated(root)
        units = unit_rules(root, accounts, environ)
        homes = accounts.home_directories
        configured = (
            read_configured(request.config, accounts.homes) if request.config else Configured()
        )
        persistence = read_persistence(
            located.mounts, root, given=request.persist, claims=configured.claims
        )
        book = with_reviewed(book, root, persistence.stores)
        facts = Facts(
            homes=homes,
            mounts=persistence.points,
            regenerated=regenerated,
            owners=accounts,
            planned=persistence.planned,
            stores=persistence.lasting_stores,
            declared=persistence.findings,
            told=read_lockouts(located, persistence.points),
        )
        judge = Judge(with_unit_rules(book, units.rules).walk(homes), facts)
        skipped = [*accounts.skipped, *regenerated.skipped, *units.skipped]
        feed(judge, located, skipped, progress=progress)
        entries = judge.entries()
        groups = group(
            (entry for entry in entries if entry.finding.verdict is not Verdict.KEPT), homes
        )
        complete((entry for one in groups for entry in one.entries), lambda path: lstat(root, path))
        declared = {entry.path: entry.newest for entry in entries if entry.path in facts.declared}
        persistence = with_newer(persistence, declared, root)
        report = Report(
            live=located.live,
            blank=located.blank,
            engine=located.engine,
            lineage=located.lineage,
            base_generation=located.base,
            counts=judge.counts,
            groups=groups,
            kept=persistence.kept,
            hidden=judge.hidden(),
            skipped=_without_repeats(skipped),
            seconds=time.monotonic() - started,
        )
    finally:
        located.close()
    return Scan(
        report=report,
        accounts=accounts,
        live_directory=root,
        mounts=persistence.points,
        store=persistence.stores[0],
        declarations=persistence.declarations,
        pending=_pending(entries, persistence),
        notes=(*configured.notes, *expired_notes(book.expired)),
        expired=book.expired,
    )


def lstat(root: bytes, path: bytes) -> tuple[Kind, int, int, int] | None:
    """Kind, uid, gid and mode of a path of the live root mounted at `root`."""
    try:
        found = os.lstat(join(root, path))
    except OSError:
        return None
    return kind_of(found.st_mode), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def _pending(entries: Sequence[Entry], persistence: Persistence) -> tuple[Entry, ...]:
    waiting = persistence.unsaved
    found = [entry for entry in entries if entry.path in waiting]
    return tuple(sorted(found, key=lambda entry: entry.path.split(b"/")))


def _without_repeats(skipped: Sequence[Skipped]) -> list[Skipped]:
    return sorted(set(skipped), key=lambda item: (item.path.split(b"/"), item.reason))
