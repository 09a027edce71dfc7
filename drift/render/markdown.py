"""`drift scan --markdown`: a report to paste into an issue or a note, in GitHub's Markdown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drift import __version__
from drift.model import Kind, Status, Verdict
from drift.names import printable, shown
from drift.persistence import Declared
from drift.render.scan_text import brief
from drift.render.text import size
from drift.stakes import AT_STAKE, groups_at_stake, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drift.model import Root
    from drift.report import Entry, Group, Report

# What Markdown or HTML reads as more than the letter that it is, within a line.
_ACTIVE = re.compile(r"[\\`*_\[\]<>&|~$]")
# Where these are read after the Markdown, an escape is too early: a comment parts them from
# what follows, so that a pasted report calls nobody and refers to no other issue.
_CALLS = re.compile(r"[@#](?=\w)")


def render(report: Report, now: int, *, verbose: bool = False) -> str:
    """The report, `now` in nanoseconds; with `verbose` also what is safe to lose and what stays."""
    title = brief(report).strip().rstrip(".")
    parts = [
        f"## drift: {title}",
        _compared(report, now),
        _groups(groups_at_stake(report)),
        _counts(report),
    ]
    if verbose:
        rest = [group for group in report.groups if group.verdict not in AT_STAKE]
        parts.append(_section("Not at stake", [_groups(rest)] if rest else []))
        kept = [(code(one.path), escaped(one.by)) for one in report.kept if _is_saved(one)]
        parts.append(_section("Kept already", _table(("Path", "By"), kept)))
    parts += [
        _section(
            "Declared, not active yet, and lost at the next boot unless it is copied before",
            _table(
                ("Path", "Not in, or older there"),
                [
                    (code(one.path), code(one.source))
                    for one in report.kept
                    if isinstance(one, Declared) and not one.saved
                ],
            ),
        ),
        _section(
            "Hidden below mount points, gone at the next reboot",
            _table(
                ("Path", "Files", "Size", "Last change"),
                [
                    (code(one.path), f"{one.files:,}", size(one.bytes), _date(one.newest))
                    for one in report.hidden
                ],
            ),
        ),
        _section(
            "Could not be read, and so may be missing above",
            _table(
                ("Path", "Reason"),
                [(code(one.path), escaped(one.reason)) for one in report.skipped],
            ),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def code(path: bytes, *, directory: bool = False) -> str:
    """A path as a code span, in a table too: nothing in it is Markdown, and it is as it is shown."""
    text = shown(path)
    if directory and text != "/":
        text += "/"
    return code_span(text)


def code_span(text: str) -> str:
    """Printable `text` as a code span, whatever backticks and bars it has."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    if text.startswith("`") or text.endswith("`") or (text[:1] == text[-1:] == " " != text):
        text = f" {text} "
    return f"{fence}{text}{fence}".replace("|", "\\|")


def escaped(text: str) -> str:
    """`text` as plain text, in a table too."""
    return _CALLS.sub(r"\g<0><!-- -->", _ACTIVE.sub(r"\\\g<0>", printable(text)))


def _compared(report: Report, now: int) -> str:
    live = f"{code(report.live.path)}{_subvolume(report.live)}"
    if report.blank is None:
        against = "nothing: everything in it counts as new"
    else:
        against = f"{code(report.blank.path)}{_subvolume(report.blank)}"
    when = datetime.fromtimestamp(now // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Compared {live} with {against}, on {when}, by drift {__version__}."


def _subvolume(root: Root) -> str:
    if root.subvolume and root.subvolume != root.path:
        return f" (subvolume {code(root.subvolume)})"
    return ""


def _groups(groups: Sequence[Group]) -> str:
    rows = [_row(group, entry) for group in groups for entry in _sorted(group)]
    head = ("Service", "Verdict", "Severity", "Path", "Files", "Size", "Last change", "Why")
    return "\n".join(_table(head, rows))


def _sorted(group: Group) -> list[Entry]:
    return sorted(listed(group), key=lambda entry: entry.path.split(b"/"))


def _row(group: Group, entry: Entry) -> tuple[str, ...]:
    path = code(entry.path, directory=entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME))
    return (
        escaped(group.service),
        entry.finding.verdict.value,
        entry.finding.severity.value,
        f"{path} (renamed)" if entry.status is Status.RENAMED else path,
        f"{entry.files:,}",
        size(entry.bytes),
        _date(entry.newest),
        escaped(entry.finding.why),
    )


def _counts(report: Report) -> str:
    rows = [
        (verdict.value, f"{report.counts[verdict]:,}")
        for verdict in Verdict
        if report.counts[verdict]
    ]
    return "\n".join(_table(("Verdict", "Changed entries"), rows))


def _is_saved(one: object) -> bool:
    return not isinstance(one, Declared) or one.saved


def _section(title: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"### {title}\n\n{text}" if text else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table, none without rows; cells are Markdown already."""
    if not rows:
        return
    yield _line(head)
    yield _line("--:" if name in _NUMBERS else "---" for name in head)
    yield from map(_line, rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


_NUMBERS = ("Files", "Size", "Changed entries")


def _date(newest: int) -> str:
    """The day, as a note is read long after it was written."""
    if newest <= 0:
        return "-"
    try:
        return datetime.fromtimestamp(newest // 1_000_000_000, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError):
        return "-"
