"""`drift doctor --json`: the `drift.doctor/1` object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drift.doctor.check import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drift.doctor.check import Check
    from drift.model import Skipped


def render(checks: Sequence[Check], skipped: Sequence[Skipped]) -> str:
    from drift.names import exact

    answer = {
        "schema": "drift.doctor/1",
        "counts": {level.value: sum(check.level is level for check in checks) for level in Level},
        "checks": [
            {
                "check": check.check,
                "level": check.level.value,
                "reason": check.reason,
                "cure": check.cure or None,
            }
            for check in checks
        ],
        "skipped": [{"path": exact(one.path), "reason": one.reason} for one in skipped],
    }
    return json.dumps(answer, indent=2) + "\n"
