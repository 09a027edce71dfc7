"""`drift doctor` for people: one line a check, and a last one that counts them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from drift.doctor.check import Level
from drift.names import printable
from drift.render.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drift.doctor.check import Check


def render(checks: Iterable[Check], paint: Callable[[str, str], str] = lambda text, _: text) -> str:
    """The lines; `paint` colours a text by a level's word."""
    checks = list(checks)
    width = max((len(check.check) for check in checks), default=0)
    lines = [
        f"{paint(f'{check.level:<4}', check.level)}  {check.check:<{width}}  {_said(check)}"
        for check in checks
    ]
    return "\n".join([*lines, "", _summary(checks)]) + "\n"


def _said(check: Check) -> str:
    return printable(f"{check.reason}. Cure: {check.cure}" if check.cure else check.reason)


def _summary(checks: list[Check]) -> str:
    levels = Counter(check.level for check in checks)
    if not levels[Level.FAIL] and not levels[Level.WARN]:
        return "All is well."
    parts = [
        f"{plural(levels[level], word)}"
        for level, word in ((Level.FAIL, "failure"), (Level.WARN, "warning"))
        if levels[level]
    ]
    return f"{' and '.join(parts)}."
