"""`drift verify` for people: problems first, each with what to do about it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from drift.names import printable, shown
from drift.render.text import plural
from drift.verify import Standing

if TYPE_CHECKING:
    from drift.verify import Check, Verification

WIDTH = 80
# As many paths of one entry are named; the others are counted.
DETAILS = 5

_HINTS = {
    Standing.NOT_IN_PLACE: "declare it (drift suggest --nix) and boot into that configuration",
    Standing.OTHER_OWNER: "declare it with this owner and mode",
    Standing.DAMAGED: "look whether something wrote to the store; check the disk (btrfs scrub)",
    Standing.MISSING: "",
    Standing.EMPTY: "",
}


def render(result: Verification, store: bytes, *, verbose: bool = False) -> str:
    """Every problem with its details, then how many entries stand how."""
    lines: list[str] = []
    problems = [check for check in result.checks if check.standing.is_problem]
    for check in problems:
        lines += _problem(check)
    if verbose:
        lines += [
            f"{shown(check.path)}: {check.standing}"
            for check in result.checks
            if not check.standing.is_problem
        ]
    if lines:
        lines.append("")
    for standing in Standing:
        count = sum(check.standing is standing for check in result.checks)
        if count:
            lines.append(f"{plural(count, 'entry', 'entries')} {standing}")
    if not result.checks:
        lines.append(f"Nothing was saved into {shown(store)}, and nothing declared is empty.")
    return "\n".join(lines) + "\n"


def _problem(check: Check) -> list[str]:
    lines = [f"{shown(check.path)}: {check.standing}"]
    for detail in check.details[:DETAILS]:
        if detail.path != check.path or detail.why != "missing":
            lines += _wrapped(f"{shown(detail.path)}: {detail.why}")
    if len(check.details) > DETAILS:
        lines.append(f"    and {plural(len(check.details) - DETAILS, 'more path')}")
    for place in check.elsewhere:
        lines += _wrapped(f"still at {place}")
    hint = _HINTS[check.standing]
    if check.standing in (Standing.MISSING, Standing.EMPTY):
        hint = (
            "drift lost --restore brings it back from an old root"
            if any("old root" in place for place in check.elsewhere)
            else ""
            if check.elsewhere
            else "nothing of it was found; look into your backups"
        )
    if hint:
        lines += _wrapped(hint)
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
