"""Group judged entries by service, the most severe first; no I/O."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from drift.model import Kind, Severity, Status, Verdict
from drift.names import shown
from drift.places import parent_of, shared
from drift.report import Entry, Finding, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# More unrecognised entries than this in a directory that was there before are one entry.
SINGLES = 20

VERDICTS = tuple(Verdict)
SEVERITIES = tuple(Severity)


def group(entries: Iterable[Entry], homes: Sequence[bytes]) -> list[Group]:
    """Partition `entries` into groups of one service and one verdict.

    A group is as severe as its most severe entry. Groups come by severity, verdict and service,
    entries by severity and path.
    """
    collected: dict[tuple[str, Verdict], list[Entry]] = defaultdict(list)
    for entry in _gather_singles(entries, homes):
        collected[entry.finding.service, entry.finding.verdict].append(_told(entry))
    groups = []
    for (service, verdict), members in collected.items():
        members.sort(key=lambda entry: (_rank(entry.finding.severity), entry.path.split(b"/")))
        first = members[0].finding
        groups.append(Group(service, first.title, verdict, first.severity, members))
    groups.sort(
        key=lambda one: (
            _rank(one.severity),
            VERDICTS.index(one.verdict),
            one.service.casefold(),
            one.service,
        )
    )
    return groups


def complete(
    entries: Iterable[Entry], lstat: Callable[[bytes], tuple[Kind, int, int, int] | None]
) -> None:
    """Give entries that stand for a directory which did not change itself its owner and mode.

    `lstat` tells kind, uid, gid and mode of a path of the live root, None where there is none.
    """
    for entry in entries:
        if not entry.seen:
            found = lstat(entry.path)
            if found is not None:
                entry.kind, entry.uid, entry.gid, entry.mode = found


def _gather_singles(entries: Iterable[Entry], homes: Sequence[bytes]) -> list[Entry]:
    kept: list[Entry] = []
    singles: dict[tuple[bytes, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        directory = parent_of(entry.path)
        is_single = entry.finding.verdict is Verdict.REVIEW and not shared(directory, homes)
        (singles[directory, entry.finding.service] if is_single else kept).append(entry)
    for (directory, _), members in singles.items():
        if len(members) <= SINGLES:
            kept += members
            continue
        finding = members[0].finding
        merged = Entry(
            directory,
            Kind.DIRECTORY,
            Status.MODIFIED,
            replace(finding, anchor=directory, why=f"{len(members)} entries, {finding.why}"),
        )
        for member in members:
            merged.files += member.files
            merged.bytes += member.bytes
            merged.changes += member.changes
            merged.newest = max(merged.newest, member.newest)
        kept.append(merged)
    return kept


def _told(entry: Entry) -> Entry:
    """Name the one file that an unrecognised directory holds."""
    finding: Finding = entry.finding
    if finding.verdict is not Verdict.REVIEW or entry.sole in (None, entry.path):
        return entry
    assert entry.sole is not None
    why = f"{finding.why}: holds only {shown(entry.sole)}"
    return replace(entry, finding=replace(finding, why=why))


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
