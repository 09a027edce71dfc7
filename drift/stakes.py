"""What a report puts at stake: one way to count it, for everything that tells it; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.model import Kind, Severity, Status, Verdict

if TYPE_CHECKING:
    from drift.report import Entry, Group, Report

AT_STAKE = (Verdict.PERSIST, Verdict.REVIEW)


def groups_at_stake(report: Report) -> list[Group]:
    return [group for group in report.groups if group.verdict in AT_STAKE]


def listed(group: Group) -> list[Entry]:
    """The entries of a group without directories that hold nothing but other entries of it."""
    empty = {entry.path for entry in group.entries if not entry.files and _is_directory(entry)}
    above = set()
    for entry in group.entries:
        directory = entry.path.rpartition(b"/")[0]
        while directory:
            if directory in empty:
                above.add(directory)
            directory = directory.rpartition(b"/")[0]
    return [
        entry
        for entry in group.entries
        if entry.path not in above or entry.status is Status.PROPERTIES
    ]


def counted(report: Report) -> dict[tuple[Verdict, Severity], int]:
    """How many listed entries are at stake, for each verdict and severity, also where none is."""
    counts = {(verdict, severity): 0 for verdict in AT_STAKE for severity in Severity}
    for group in groups_at_stake(report):
        for entry in listed(group):
            counts[entry.finding.verdict, entry.finding.severity] += 1
    return counts


def _is_directory(entry: Entry) -> bool:
    return entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME)
