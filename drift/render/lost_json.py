"""`drift lost --json`: the object of `drift scan`, with the earlier root as `live`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drift.render.scan_json import scan_object

if TYPE_CHECKING:
    from drift.report import Report

SCHEMA = "drift.lost/1"


def render(report: Report) -> str:
    """`newest` is in nanoseconds since the epoch."""
    made = scan_object(report)
    earlier, live = made.pop("live"), made.pop("blank")
    return json.dumps({**made, "schema": SCHEMA, "earlier": earlier, "live": live}) + "\n"
