"""`drift lost` for people: what an earlier root has that the live one lacks."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from drift.model import Status, Verdict
from drift.names import printable, shown
from drift.render.text import age, plural, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.report import Entry, Report

WIDTH = 80
_WORTH = (Verdict.PERSIST, Verdict.REVIEW)
_HEADS = {
    Verdict.PERSIST: "State worth having back:",
    Verdict.REVIEW: "Not recognised, for you to look at:",
}


def render(report: Report, others: int, now: int) -> str:
    """What was lost by verdict, what is hidden now, and the counts of what is no loss."""
    lines = [f"What the earlier root {shown(report.live.subvolume)} has and the live root lacks:"]
    if others:
        lines.append(f"({plural(others, 'other earlier root')} kept; --old NAME looks into one)")
    found = False
    for verdict, head in _HEADS.items():
        groups = [group for group in report.groups if group.verdict is verdict]
        if groups:
            found = True
            lines += ["", head]
        for group in groups:
            for entry in group.entries:
                lines += _entry(entry, now)
    if report.hidden:
        lines += ["", "Below what is mounted now (in the earlier root itself):"]
        lines += [
            f"  {shown(one.path)}  ({plural(one.files, 'file')}, {size(one.bytes)})"
            for one in report.hidden
        ]
    if not found:
        lines += ["", "Nothing that is worth having back."]
    rest = {
        verdict: sum(group.files for group in report.groups if group.verdict is verdict)
        for verdict in Verdict
        if verdict not in _WORTH
    }
    counted = [f"{count:,} {verdict}" for verdict, count in rest.items() if count]
    if counted:
        lines += ["", f"No loss: {', '.join(counted)}."]
    return "\n".join(lines) + "\n"


def next_steps(report: Report) -> str:
    if not any(group.verdict in _WORTH for group in report.groups) and not report.hidden:
        return ""
    return (
        "\nNext: drift lost --restore PATH copies what is worth it from the earlier root into"
        "\npersistent storage; earlier roots are deleted when their time is over.\n"
    )


def _entry(entry: Entry, now: int) -> Iterator[str]:
    facts = f"{plural(entry.files, 'file')}, {size(entry.bytes)}, {age(entry.newest, now)}"
    other = "; another one is there now" if entry.status is Status.MODIFIED else ""
    yield f"  {shown(entry.path)}  ({facts}{other})"
    yield from textwrap.wrap(
        printable(f"{entry.finding.title}: {entry.finding.why}"),
        WIDTH,
        initial_indent="      ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
