"""`drift review --json`: the `drift.review/1` object, whose groups are those of `drift.scan/1`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drift.names import exact
from drift.render.diff import seconds
from drift.render.scan_json import scan_object
from drift.review import Change, fate

if TYPE_CHECKING:
    from drift.report import Report
    from drift.review import Review


def render(review: Review, report: Report, store: bytes) -> str:
    scan: dict[str, Any] = scan_object(replace(report, groups=list(review.groups)))
    for group, made in zip(review.groups, scan["groups"], strict=True):
        for entry, said in zip(group.entries, made["entries"], strict=True):
            standing = review.standing(entry)
            said["change"] = standing.change
            said["fate"] = fate(entry)
            said["differs"] = standing.differs
            said["decision"] = standing.decision
    last = None
    if review.last is not None:
        last = {
            "generation": review.last.generation,
            "when": review.last.when,
            "same_root": not review.anew,
        }
    made = {
        "schema": "drift.review/1",
        "live": scan["live"],
        "store": exact(store),
        "last": last,
        "counts": {
            "new": review.count(Change.NEW),
            "changed": review.count(Change.CHANGED),
            "same": review.count(Change.SAME),
        },
        "groups": scan["groups"],
        "to_persist": [exact(path) for path in review.to_persist],
        "skipped": scan["skipped"],
    }
    text = json.dumps(made, indent=2)
    # A float would lose nanoseconds. Inside a string the quotes would be escaped.
    return _TIMES.sub(lambda found: f"{found[1]}{seconds(int(found[2]))}", text) + "\n"


_TIMES = re.compile(r'("(?:newest|when)": )(-?\d+)')
