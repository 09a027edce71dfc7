"""Run a command, see where it keeps its state, and draft the rules for it."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drift.draft import decide, draft, rules_of
from drift.errors import DriftError
from drift.locate import locate
from drift.moments import Recorder
from drift.persistence import read_persistence
from drift.render.rule_file import render_rule_file
from drift.rulebook import load, rule_sources
from drift.system.accounts import read_accounts
from drift.system.mounts import join
from drift.system.nixos import read_regenerated
from drift.unit_rules import unit_rules, with_unit_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from drift.draft import Draft, Known
    from drift.model import Change, Root, Skipped
    from drift.system.mounts import MountPoint


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written while a command ran.

    `returncode` is its exit code, or minus its signal. `written` has every path, with what decides
    about it already, `drafts` the rules for the others and `rule_file` those as a file, `""` for
    none. `keepers` say what keeps a path at a reboot, of those that something keeps; `unseen` are
    mounts that could not be looked at.
    """

    live: Root
    returncode: int
    seconds: float
    written: tuple[tuple[Change, Known | None], ...]
    drafts: tuple[Draft, ...]
    rule_file: str
    keepers: Mapping[bytes, str]
    unseen: tuple[MountPoint, ...]
    skipped: tuple[Skipped, ...]


def record(
    live: bytes,
    rules: Sequence[Path],
    environ: Mapping[str, str],
    service: str,
    run: Callable[[], int],
    *,
    progress: Callable[[int], None] | None = None,
    before: Callable[[], object] = lambda: None,
) -> Recording:
    """Call `run`, and tell what was written to the live root mounted at `live` meanwhile.

    `before` is called when everything is read for the first time. DriftError where it can't be told:
    without root, or where the live root is no Btrfs subvolume.
    """
    book = load(rule_sources(rules, environ), environ)
    try:
        located = locate(live, b"none", "metadata")
    except DriftError as error:
        raise DriftError(
            error.message, "drift record needs root, and a live root that is a Btrfs subvolume"
        ) from error
    try:
        root = located.live_directory
        recorder = Recorder(located, progress=progress)
        try:
            before()
            started = time.monotonic()
            returncode = run()
            seconds = time.monotonic() - started
            changes = recorder.written()
        finally:
            recorder.close()
    finally:
        located.close()
    accounts = read_accounts(root)
    regenerated = read_regenerated(root)
    units = unit_rules(root, accounts, environ)
    book = with_unit_rules(book, units.rules)
    persistence = read_persistence(located.mounts, root)
    homes, stores = accounts.home_directories, persistence.lasting_stores
    written = tuple(
        (change, decide(change, book, regenerated, homes, stores)) for change in changes
    )
    drafts = draft(service, written, accounts, persistence.stores, _owners(root), book)
    keepers = {change.path: recorder.keeper(change.path) for change in changes}
    keepers |= {one.anchor: recorder.keeper(one.anchor) for one in drafts}
    return Recording(
        live=located.live,
        returncode=returncode,
        seconds=seconds,
        written=written,
        drafts=tuple(drafts),
        rule_file=render_rule_file(rules_of(drafts)),
        keepers={path: keeper for path, keeper in keepers.items() if keeper is not None},
        unseen=recorder.unseen,
        skipped=(*accounts.skipped, *regenerated.skipped, *units.skipped),
    )


def _owners(root: bytes) -> Callable[[bytes], tuple[int, int, int] | None]:
    def owner_of(path: bytes) -> tuple[int, int, int] | None:
        try:
            found = os.lstat(join(root, path))
        except OSError:
            return None
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

    return owner_of
