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
from drift.model import Kept, Report, Skipped, Verdict
from drift.system.mounts import join, mounts_below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from drift.model import Kind
    from drift.system.accounts import Accounts
    from drift.system.mounts import MountPoint


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for; defaults are the command line's."""

    live: bytes = b"/"
    blank: bytes | None = None
    engine: str = "auto"
    explicit_live: bool = False
    rules: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """A report, and what later steps need of the live root that made it."""

    report: Report
    accounts: Accounts
    live_directory: bytes
    mounts: tuple[MountPoint, ...]


def scan(
    request: Request,
    environ: Mapping[str, str],
    *,
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """What would be lost at the next reboot; DriftError where that can't be told."""
    from drift.rulebook import load, rule_sources
    from drift.system.accounts import read_accounts
    from drift.system.nixos import read_regenerated

    started = time.monotonic()
    book = load(rule_sources(request.rules, environ), environ)
    located = locate(
        request.live, request.blank, request.engine, explicit_live=request.explicit_live
    )
    try:
        root = located.live_directory
        accounts = read_accounts(root)
        regenerated = read_regenerated(root)
        mounts = tuple(mounts_below(located.mounts, root))
        homes = accounts.home_directories
        judge = Judge(book.walk(homes), Facts(homes, mounts, regenerated, accounts))
        skipped = [*accounts.skipped, *regenerated.skipped]
        with differences(
            located,
            skipped,
            progress=progress,
            needs_content=judge.needs_content,
            ordered=False,
        ) as stream:
            for item in stream:
                judge.feed(item)
        entries = judge.entries()
        complete(entries, lambda path: lstat(root, path))
        report = Report(
            live=located.live,
            blank=located.blank,
            engine=located.engine,
            lineage=located.lineage,
            base_generation=located.base,
            counts=judge.counts,
            groups=group(
                (entry for entry in entries if entry.finding.verdict is not Verdict.KEPT), homes
            ),
            kept=_kept(mounts),
            hidden=judge.hidden(),
            skipped=_without_repeats(skipped),
            seconds=time.monotonic() - started,
        )
    finally:
        located.close()
    return Scan(report, accounts, root, mounts)


def lstat(root: bytes, path: bytes) -> tuple[Kind, int, int, int] | None:
    """Kind, uid, gid and mode of a path of the live root mounted at `root`."""
    try:
        found = os.lstat(join(root, path))
    except OSError:
        return None
    return kind_of(found.st_mode), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def _kept(mounts: Sequence[MountPoint]) -> list[Kept]:
    return [Kept(point.path, point.describe) for point in mounts if point.survives]


def _without_repeats(skipped: Sequence[Skipped]) -> list[Skipped]:
    return sorted(set(skipped), key=lambda item: (item.path.split(b"/"), item.reason))
