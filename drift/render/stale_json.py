"""`drift stale --json`: the `drift.stale/1` object."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from drift.names import exact
from drift.render.diff import seconds

if TYPE_CHECKING:
    from drift.stale import Stale, StoreReport

SCHEMA = "drift.stale/1"


def render(stale: Stale, unused: int) -> str:
    made = {
        "schema": SCHEMA,
        "unused_days": unused,
        "stores": [_store(report) for report in stale.stores],
        "skipped": [{"path": exact(one.path), "reason": one.reason} for one in stale.skipped],
    }
    text = json.dumps(made, indent=2)
    # A float would lose nanoseconds. Inside a string the quotes would be escaped.
    return _TIME.sub(lambda found: f'"{found[1]}": {seconds(int(found[2]))}', text) + "\n"


_TIME = re.compile(r'"(newest|used|saved)": (-?\d+)')


def _store(report: StoreReport) -> dict[str, object]:
    return {
        "path": exact(report.path),
        "on": report.describe,
        "problem": report.problem or None,
        "only_writes": report.only_writes,
        "declared": {
            "entries": report.entries,
            "files": report.files,
            "bytes": report.bytes,
        },
        "undeclared": [
            {
                "path": exact(one.path),
                "kind": str(one.kind),
                "files": one.files,
                "bytes": one.bytes,
                "newest": one.newest,
                "held": one.held or None,
                "saved": one.saved,
            }
            for one in report.undeclared
        ],
        "unfilled": [
            {
                "path": exact(one.path),
                "source": exact(one.source),
                "by": one.by,
                "state": str(one.state),
                "why": one.why,
                "live_only": not one.saved,
            }
            for one in report.unfilled
        ],
        "unused": [
            {
                "path": exact(one.path),
                "source": exact(one.source),
                "files": one.files,
                "bytes": one.bytes,
                "used": one.used,
            }
            for one in report.unused
        ],
        "owners": [
            {
                "kind": one.kind,
                "id": one.number,
                "entries": one.entries,
                "example": exact(one.example),
            }
            for one in report.orphaned
        ],
        "named": [
            {"path": exact(one.path), "by": one.by, "files": one.files, "bytes": one.bytes}
            for one in report.named
        ],
        "quarantined": [
            {
                "date": batch.date,
                "entries": [
                    {
                        "path": exact(one.path),
                        "kind": str(one.kind),
                        "files": one.files,
                        "bytes": one.bytes,
                    }
                    for one in batch.entries
                ],
            }
            for batch in report.quarantined
        ],
    }
