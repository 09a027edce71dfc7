"""`drift verify --json`: one object for each store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drift.names import exact

if TYPE_CHECKING:
    from drift.verify import Verification

SCHEMA = "drift.verify/1"


def render(result: Verification, store: bytes) -> str:
    made = {
        "schema": SCHEMA,
        "persist": exact(store),
        "checks": [
            {
                "path": exact(check.path),
                "standing": check.standing.name.lower().replace("_", "-"),
                "problem": check.standing.is_problem,
                "files": check.files,
                "details": [
                    {"path": exact(detail.path), "why": detail.why} for detail in check.details
                ],
                "elsewhere": list(check.elsewhere),
            }
            for check in result.checks
        ],
        "skipped": [{"path": exact(one.path), "reason": one.reason} for one in result.skipped],
    }
    return json.dumps(made) + "\n"
