"""`drift scan --prometheus`: the report as metrics, for node exporter's textfile collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift import __version__
from drift.model import Verdict
from drift.names import printable
from drift.persistence import Declared
from drift.render.diff import seconds
from drift.stakes import counted, groups_at_stake, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.report import Entry, Report

Sample = tuple[dict[str, str], int | str]


def render(report: Report, now: int) -> str:
    """One family of samples after the other; `now`, in nanoseconds, is when the scan ended.

    What an alert asks for is always there, with 0 where nothing is at stake: a missing series
    would raise none.
    """
    return "".join(line + "\n" for line in _families(report, now))


def _families(report: Report, now: int) -> Iterator[str]:
    yield from _family(
        "drift_scan_info",
        "Constant 1, labelled with the version of drift and with how the root was compared.",
        [({"version": __version__, "engine": report.engine, "lineage": report.lineage}, 1)],
    )
    yield from _family(
        "drift_scan_timestamp_seconds", "When the last scan ended.", [({}, seconds(now))]
    )
    yield from _family(
        "drift_scan_duration_seconds", "How long it took.", [({}, f"{report.seconds:.3f}")]
    )
    yield from _family(
        "drift_changed_entries",
        "Entries that differ from the blank, by verdict.",
        [({"verdict": verdict}, report.counts[verdict]) for verdict in Verdict],
    )
    yield from _family(
        "drift_at_stake",
        "Files and directories that the next reboot would take, as drift scan lists them.",
        [
            ({"verdict": verdict, "severity": severity}, count)
            for (verdict, severity), count in counted(report).items()
        ],
    )
    yield from _services(report)
    yield from _family(
        "drift_hidden_bytes",
        "Size of what the root holds below its mount points.",
        [({}, sum(hidden.bytes for hidden in report.hidden))],
    )
    unsaved = [kept for kept in report.kept if isinstance(kept, Declared) and not kept.saved]
    yield from _family(
        "drift_unsaved_declarations",
        "Paths declared to be persisted, not active yet, whose data is in no store as it is now.",
        [({}, len(unsaved))],
    )
    yield from _family(
        "drift_skipped_paths", "Paths that could not be read.", [({}, len(report.skipped))]
    )


def _services(report: Report) -> Iterator[str]:
    """What is at stake of each service: what the families above count, told apart."""
    stakes: dict[tuple[str, str, str], _Stake] = {}
    for group in groups_at_stake(report):
        for entry in listed(group):
            finding = entry.finding
            key = (printable(group.service), str(finding.verdict), str(finding.severity))
            stakes[key] = stakes.get(key, _Stake()).with_entry(entry)
    labelled = [
        ({"service": service, "verdict": verdict, "severity": severity}, stake)
        for (service, verdict, severity), stake in sorted(stakes.items())
    ]
    yield from _family(
        "drift_service_at_stake",
        "Files and directories of a service that the next reboot would take.",
        [(labels, stake.entries) for labels, stake in labelled],
    )
    yield from _family(
        "drift_service_at_stake_bytes",
        "Their size.",
        [(labels, stake.bytes) for labels, stake in labelled],
    )
    yield from _family(
        "drift_service_newest_timestamp_seconds",
        "When the newest of them was written.",
        [(labels, seconds(stake.newest)) for labels, stake in labelled if stake.newest > 0],
    )


class _Stake(NamedTuple):
    entries: int = 0
    bytes: int = 0
    newest: int = 0

    def with_entry(self, entry: Entry) -> _Stake:
        return _Stake(self.entries + 1, self.bytes + entry.bytes, max(self.newest, entry.newest))


def _family(name: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
        yield f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
