"""`drift record --json`: the `drift.record/1` object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drift.names import exact
from drift.render.record_text import signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drift.draft import Known
    from drift.model import Change
    from drift.record import Recording


def render(recording: Recording, argv: Sequence[str], user: str | None) -> str:
    """`user` is whom the command ran as, where that is another than drift itself ran as."""
    code = recording.returncode
    answer = {
        "schema": "drift.record/1",
        "command": list(argv),
        "user": user,
        "exit_code": code if code >= 0 else None,
        "signal": signal_name(-code) if code < 0 else None,
        "seconds": round(recording.seconds, 3),
        "live": {
            "path": exact(recording.live.path),
            "subvolume": exact(recording.live.subvolume),
            "id": recording.live.id,
        },
        "written": [
            _written(change, known, recording.keepers.get(change.path))
            for change, known in recording.written
        ],
        "rule_file": recording.rule_file or None,
        "unseen": [{"path": exact(point.path), "by": point.describe} for point in recording.unseen],
        "skipped": [
            {"path": exact(skipped.path), "reason": skipped.reason} for skipped in recording.skipped
        ],
    }
    return json.dumps(answer, indent=2) + "\n"


def _written(change: Change, known: Known | None, keeper: str | None) -> dict[str, object]:
    entry: dict[str, object] = {
        "status": change.status,
        "path": exact(change.path),
        "type": change.kind,
        "size": change.size,
        "mode": f"{change.mode:04o}",
        "uid": change.uid,
        "gid": change.gid,
        "replaced": change.replaced,
        "kept": keeper,
        "service": known and known.service,
        "verdict": known and known.verdict,
        "why": known and known.why,
        "rule": known and known.rule,
    }
    if change.source is not None:
        entry["from"] = exact(change.source)
    return entry
