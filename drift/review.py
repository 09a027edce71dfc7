"""What is new or has changed since the last review, and what becomes of it; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from drift.model import Kind, Severity, Status, Verdict
from drift.places import ancestors
from drift.report import Group
from drift.reviewing.fingerprint import differences
from drift.reviewing.state import Decision
from drift.stakes import groups_at_stake, listed
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from drift.report import Entry, Report
    from drift.reviewing.fingerprint import Fingerprint
    from drift.reviewing.state import Record, Reviewed, State


class Change(StrEnum):
    """The first column: since the last review."""

    NEW = "A"
    CHANGED = "M"
    SAME = " "


class Fate(StrEnum):
    """The second column: what the next reboot does to it."""

    LOST = "D"
    REVERTED = "M"
    KEPT = "K"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a path stands; `differs` says in words what has changed, `decision` what was decided."""

    change: Change
    differs: tuple[str, ...] = ()
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """`groups` hold what is to be shown; `standings` everything at stake, by path.

    `last` is None before the first review, and `anew` says that the root has been made anew since.
    """

    groups: tuple[Group, ...]
    standings: Mapping[bytes, Standing]
    last: Reviewed | None
    anew: bool

    @property
    def unreviewed(self) -> list[bytes]:
        """What is new or changed, in the order of the groups."""
        entries = (entry for group in self.groups for entry in group.entries)
        paths = (entry.path for entry in entries if self.standing(entry).change is not Change.SAME)
        return list(dict.fromkeys(paths))

    @property
    def to_persist(self) -> list[bytes]:
        """What was decided to be persisted, and is at stake all the same."""
        return sorted(
            path
            for path, standing in self.standings.items()
            if standing.decision is Decision.PERSIST
        )

    def standing(self, entry: Entry) -> Standing:
        return self.standings.get(entry.path, Standing(Change.SAME))

    def count(self, change: Change) -> int:
        return sum(standing.change is change for standing in self.standings.values())


def to_review(report: Report, store: bytes) -> list[Group]:
    """What is at stake, without empty directories that only lead to something kept.

    And without the store, where it is a part of a root that is a plain directory: a review writes
    into it.
    """
    leading = {above for kept in report.kept for above in ancestors(kept.path)}
    groups = []
    for group in groups_at_stake(report):
        entries = [
            entry
            for entry in listed(group)
            if not within(entry.path, store)
            and (
                entry.path not in leading
                or entry.files
                or entry.kind is not Kind.DIRECTORY
                or entry.status is Status.PROPERTIES
            )
        ]
        if entries:
            groups.append(replace(group, entries=entries))
    return groups


def review(
    at_stake: Sequence[Group],
    prints: Mapping[bytes, Fingerprint],
    state: State,
    uuid: bytes,
    *,
    expired: Collection[bytes] = (),
    pending: Sequence[Entry] = (),
    everything: bool = False,
) -> Review:
    """Hold what is at stake, with its fingerprints by path, against what was reviewed.

    `expired` are paths that are ignored no longer. `everything` shows what is the same as well, and
    the `pending` entries: what is declared while its data is on the root alone.
    """
    standings = {
        path: _standing(now, state.records.get(path), expired=path in expired)
        for path, now in prints.items()
    }
    groups = []
    for group in at_stake:
        shown = [
            entry
            for entry in group.entries
            if everything or standings[entry.path].change is not Change.SAME
        ]
        if shown:
            groups.append(replace(group, entries=shown))
    waiting = [entry for entry in pending if entry.path not in standings]
    if everything and waiting:
        title = "Declared, not saved yet"
        groups.append(Group("persisted", title, Verdict.KEPT, Severity.LOW, waiting))
    anew = state.last is not None and state.last.uuid != uuid
    return Review(tuple(groups), standings, state.last, anew)


def fate(entry: Entry) -> Fate:
    if entry.finding.verdict is Verdict.KEPT:
        return Fate.KEPT
    return Fate.LOST if entry.status in (Status.ADDED, Status.RENAMED) else Fate.REVERTED


def only(groups: Sequence[Group], chosen: Collection[bytes]) -> list[Group]:
    """The groups with nothing to suggest but `chosen`; what is not worth keeping stays around it.

    What lies beside an entry decides whether it can be persisted whole.
    """
    kept = []
    for group in groups:
        entries = []
        for entry in group.entries:
            if entry.path in chosen or group.verdict not in (Verdict.PERSIST, Verdict.REVIEW):
                entries.append(entry)
            elif group.verdict is Verdict.REVIEW:
                beside = replace(entry.finding, verdict=Verdict.EPHEMERAL)
                entries.append(replace(entry, finding=beside))
        kept.append(replace(group, entries=entries))
    return kept


def _standing(now: Fingerprint, record: Record | None, *, expired: bool) -> Standing:
    if record is None:
        return Standing(Change.NEW)
    if record.decision is Decision.PERSIST:
        # It stands, however the content goes on, until it is declared.
        return Standing(Change.SAME, (), record.decision)
    if record.decision is Decision.IGNORE and expired:
        return Standing(Change.CHANGED, ("its rule has expired",), record.decision)
    differs = differences(record.fingerprint, now)
    return Standing(Change.CHANGED if differs else Change.SAME, differs, record.decision)
