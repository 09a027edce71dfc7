"""`drift scan --json`: the `drift.scan/1` object."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from drift.names import exact
from drift.persistence import Declared
from drift.render.diff import seconds

if TYPE_CHECKING:
    from drift.model import Root
    from drift.report import Entry, Group, Kept, Report


def render(report: Report) -> str:
    text = json.dumps(scan_object(report), indent=2)
    # A float would lose nanoseconds. Inside a string the quotes would be escaped.
    return _NEWEST.sub(lambda found: f'"newest": {seconds(int(found[1]))}', text) + "\n"


_NEWEST = re.compile(r'"newest": (-?\d+)')


def scan_object(report: Report) -> dict[str, object]:
    """The object, but for its times: `newest` in nanoseconds."""
    return {
        "schema": "drift.scan/1",
        "live": _root(report.live),
        "blank": None if report.blank is None else _root(report.blank),
        "engine": report.engine,
        "lineage": report.lineage,
        "base_generation": report.base_generation,
        "counts": report.counts,
        "groups": [_group(group) for group in report.groups],
        "kept": [_kept(kept) for kept in report.kept],
        "hidden": [
            {
                "path": exact(hidden.path),
                "under": exact(hidden.under),
                "files": hidden.files,
                "bytes": hidden.bytes,
                "newest": hidden.newest,
            }
            for hidden in report.hidden
        ],
        "skipped": [
            {"path": exact(skipped.path), "reason": skipped.reason} for skipped in report.skipped
        ],
        "seconds": round(report.seconds, 3),
    }


def _kept(kept: Kept) -> dict[str, object]:
    """`saved` is false where the data is declared to be kept and lies on the root alone."""
    saved = kept.saved if isinstance(kept, Declared) else True
    return {"path": exact(kept.path), "by": kept.by, "saved": saved}


def _root(root: Root) -> dict[str, object]:
    return {
        "path": exact(root.path),
        "subvolume": exact(root.subvolume),
        "id": root.id,
        "generation": root.generation,
    }


def _group(group: Group) -> dict[str, object]:
    return {
        "service": group.service,
        "title": group.title,
        "verdict": group.verdict,
        "severity": group.severity,
        "files": group.files,
        "bytes": group.bytes,
        "newest": group.newest,
        "entries": [_entry(entry) for entry in group.entries],
    }


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "path": exact(entry.path),
        "kind": entry.kind,
        "status": entry.status,
        "verdict": entry.finding.verdict,
        "why": entry.finding.why,
        "rule": entry.finding.rule,
        "files": entry.files,
        "bytes": entry.bytes,
        "newest": entry.newest,
        "uid": entry.uid,
        "gid": entry.gid,
        "mode": f"{entry.mode:04o}",
    }
