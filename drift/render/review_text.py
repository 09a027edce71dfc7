"""`drift review` for people: what is new or changed, in two columns, by service."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from drift.model import Kind, Status
from drift.names import printable, shown
from drift.render.text import age, cut, plural, size
from drift.review import Change, Fate, fate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.render.scan_text import Style
    from drift.report import Entry, Group
    from drift.review import Review, Standing
    from drift.system.accounts import Accounts

_CHANGES = {Change.NEW: "new", Change.CHANGED: "changed"}
_FATES = {
    Fate.LOST: "lost",
    Fate.REVERTED: "put back to what the blank has",
    Fate.KEPT: "declared, and kept once drift save has copied it",
}
_INDENT = 4
_BELOW = " " * 8


def render(review: Review, now: int, style: Style) -> str:
    """The whole list; `now` is in nanoseconds."""
    parts = [head(review, now)]
    if review.groups:
        parts += [_table(review, now, style), legend(review)]
    if review.to_persist:
        lines = [f"  {shown(path)}" for path in review.to_persist]
        said = "Decided to be persisted, but declared nowhere yet, and so lost at the next reboot:"
        parts.append("\n".join([said, *lines]))
    return "\n\n".join(parts) + "\n"


def head(review: Review, now: int) -> str:
    """When was the last review, and what has come since."""
    new, changed = review.count(Change.NEW), review.count(Change.CHANGED)
    at_stake = _things(sum(review.count(change) for change in Change))
    if review.last is None:
        return f"Never reviewed before: {at_stake} at stake."
    since = age(review.last.when, now)
    when = "just now" if since == "now" else f"{since} ago"
    where = f"generation {review.last.generation}"
    if review.anew:
        where += " of an earlier root"
    said = f"Last review {when}, at {where}"
    if not new and not changed:
        return f"{said}: nothing at stake is new or changed."
    return f"{said}: since then {new:,} new and {changed:,} changed."


def legend(review: Review) -> str:
    """What the letters mean that are shown."""
    entries = [entry for group in review.groups for entry in group.entries]
    changes = {review.standing(entry).change for entry in entries}
    fates = {fate(entry) for entry in entries}
    first = ", ".join(f"{letter} {said}" for letter, said in _CHANGES.items() if letter in changes)
    second = ", ".join(f"{letter} {said}" for letter, said in _FATES.items() if letter in fates)
    lines = [f"1st column, since the last review: {first}"] if first else []
    return "\n".join([*lines, f"2nd column, at the next reboot: {second}"])


def subject(entry: Entry, standing: Standing, width: int) -> str:
    """One entry on a line, with its two columns."""
    return f"{standing.change}{fate(entry)}  {cut(_path(entry), width - _INDENT)}"


def reason(entry: Entry, standing: Standing, now: int, width: int) -> str:
    """Below an entry: whose it is, how much, why, and what has changed."""
    finding = entry.finding
    title = "" if finding.title == finding.service else f", {finding.title}"
    return "\n".join(
        [
            *_wrapped(f"{finding.service}{title}: {finding.verdict} ({finding.severity})", width),
            *_wrapped(_amount(entry, now), width),
            *_wrapped(finding.why, width),
            *_changed(standing, width),
        ]
    )


def details(
    entry: Entry,
    accounts: Accounts,
    below: Sequence[tuple[bytes, int, int]],
    now: int,
    width: int,
    *,
    more: bool,
) -> str:
    """What more there is to know; `below` are paths in it with size and mtime, `more` if not all."""
    from tabulate import tabulate

    finding = entry.finding
    owner = f"{accounts.user_name(entry.uid)}:{accounts.group_name(entry.gid)}"
    there = "" if fate(entry) is Fate.LOST else ", the blank has one too"
    lines = _wrapped(f"{entry.kind}, {owner} {entry.mode & 0o7777:04o}{there}", width)
    lines += _wrapped(f"decided by {finding.rule}, for {shown(finding.anchor)}", width)
    if finding.advice:
        lines += _wrapped(f"advice: {finding.advice}", width)
    if below:
        rows = [
            (size(count), age(newest, now), cut(shown(path), max(20, width - 30)))
            for path, count, newest in below
        ]
        table = tabulate(
            rows, tablefmt="plain", colalign=("right", "right", "left"), disable_numparse=True
        )
        lines += [_BELOW + line for line in table.splitlines()]
    if more:
        lines.append(_BELOW + "and more")
    return "\n".join(lines)


def _things(number: int) -> str:
    return plural(number, "file or directory", "files and directories")


def _table(review: Review, now: int, style: Style) -> str:
    from tabulate import tabulate

    rows = [
        (
            cut(printable(group.service), 24),
            group.verdict.value,
            f"{group.files:,}",
            size(group.bytes),
            age(group.newest, now),
        )
        for group in review.groups
    ]
    text = tabulate(
        rows,
        headers=("SERVICE", "VERDICT", "FILES", "SIZE", "AGE"),
        tablefmt="plain",
        colalign=("left", "left", "right", "right", "right"),
        disable_numparse=True,
    )
    indent = " " * _INDENT
    first, *lines = text.splitlines()
    parts = [indent + first]
    for line, group, row in zip(lines, review.groups, rows, strict=True):
        name = len(row[0])
        parts.append(indent + style.paint(line[:name], group.severity) + line[name:])
        parts += _entries(group, review, style.width)
    return "\n".join(parts)


def _entries(group: Group, review: Review, width: int) -> Iterator[str]:
    for entry in group.entries:
        standing = review.standing(entry)
        yield subject(entry, standing, width)
        yield from _wrapped(entry.finding.why, width)
        yield from _changed(standing, width)


def _changed(standing: Standing, width: int) -> list[str]:
    return _wrapped(f"changed: {', '.join(standing.differs)}", width) if standing.differs else []


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=_BELOW,
        subsequent_indent=_BELOW,
        break_on_hyphens=False,
    )


def _amount(entry: Entry, now: int) -> str:
    return f"{plural(entry.files, 'file')}, {size(entry.bytes)}, age: {age(entry.newest, now)}"


def _path(entry: Entry) -> str:
    path = shown(entry.path)
    if entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME) and path != "/":
        path += "/"
    return f"{path} (renamed)" if entry.status is Status.RENAMED else path
