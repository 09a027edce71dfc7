"""`drift scan` for people: what was compared, the table by service, what was left out, what next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind, Lineage, Severity, Status, Verdict
from drift.names import printable, shown
from drift.persistence import Declared
from drift.render.text import age, cut, plural, size
from drift.stakes import AT_STAKE, counted, groups_at_stake, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drift.model import Root
    from drift.report import Entry, Group, Kept, Report

# Bind mounts of one store are many and alike: up to this many are listed without -v.
BIND_MOUNTS = 6

_LINEAGE = {
    Lineage.LIVE_FROM_BLANK: "the live root was made from it",
    Lineage.BLANK_FROM_LIVE: "it was taken from the live root",
    Lineage.COMMON_ANCESTOR: "both come from one ancestor",
    Lineage.UNRELATED: "not related by snapshots, so every entry was compared",
    Lineage.NONE: "",
}


class Style(NamedTuple):
    """How wide lines may be, and how severities are coloured; `paint` takes text and a word."""

    width: int
    paint: Callable[[str, str], str] = lambda text, _: text
    verbose: int = 0


def render(report: Report, now: int, style: Style) -> str:
    """The whole report; `now` is in nanoseconds."""
    parts = [_compared(report), *_at_stake(report, now, style), _counted(report)]
    if style.verbose:
        rest = [group for group in report.groups if group.verdict not in AT_STAKE]
        if rest:
            parts += ["Not at stake:", _table(rest, now, style)]
    parts += [
        _unsaved(report),
        _kept(report, style),
        _hidden(report, now),
        _skipped(report),
        _next_step(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def brief(report: Report) -> str:
    """One line for a login message or a prompt."""
    number, critical = _stakes(report)
    if number:
        line = f"{_things(number)} would be lost at reboot"
        line += f", {critical} critical" if critical else ""
    else:
        line = "Nothing would be lost at reboot"
    if report.skipped:
        line += f"; {plural(len(report.skipped), 'path')} could not be read"
    return f"{line}.\n"


def _compared(report: Report) -> str:
    live = f"Compared {shown(report.live.path)}{_named(report.live)}"
    if report.blank is None:
        return f"{live}\n    with nothing: everything in it counts as new"
    blank = f"    with {shown(report.blank.path)}{_named(report.blank)}"
    how = _LINEAGE[report.lineage]
    if not report.blank.subvolume:
        return f"{live}\n{blank}, entry by entry"
    return f"{live}\n{blank}: {how}" if how else f"{live}\n{blank}"


def _named(root: Root) -> str:
    if root.subvolume and root.subvolume != root.path:
        return f" (subvolume {shown(root.subvolume)})"
    return ""


def _at_stake(report: Report, now: int, style: Style) -> list[str]:
    groups = groups_at_stake(report)
    if not groups:
        return ["Nothing would be lost at the next reboot."]
    number, critical = _stakes(report)
    head = f"At the next reboot, {_things(number)} would be lost"
    if critical:
        head += f", {critical} of them critical and listed first"
    return [head + ".", _table(groups, now, style)]


def _stakes(report: Report) -> tuple[int, int]:
    counts = counted(report)
    return sum(counts.values()), counts[Verdict.PERSIST, Severity.CRITICAL]


def _things(number: int) -> str:
    return plural(number, "file or directory", "files and directories")


def _table(groups: Sequence[Group], now: int, style: Style) -> str:
    """A row for each service, and below it, as wide as the line, its paths and their reasons.

    A column for them would leave a narrow terminal no room.
    """
    from tabulate import tabulate

    rows = [
        (
            cut(printable(group.service), 24),
            group.verdict.value,
            f"{group.files:,}",
            size(group.bytes),
            age(group.newest, now),
        )
        for group in groups
    ]
    text = tabulate(
        rows,
        headers=("SERVICE", "VERDICT", "FILES", "SIZE", "AGE"),
        tablefmt="plain",
        colalign=("left", "left", "right", "right", "right"),
        disable_numparse=True,
    )
    head, *lines = text.splitlines()
    parts = [head]
    for line, group, row in zip(lines, groups, rows, strict=True):
        name = len(row[0])
        parts.append(style.paint(line[:name], group.severity) + line[name:])
        parts += _reasons(group, style.width)
    return "\n".join(parts)


def _reasons(group: Group, width: int) -> Iterator[str]:
    """Every path, sorted, and after those that share a reason the reason."""
    import textwrap

    by_reason: dict[str, list[Entry]] = {}
    for entry in sorted(listed(group), key=lambda entry: entry.path.split(b"/")):
        by_reason.setdefault(entry.finding.why, []).append(entry)
    for why, entries in by_reason.items():
        for entry in entries:
            yield f"  {cut(_path(entry), width - 2)}"
        yield from textwrap.wrap(
            printable(why),
            width,
            initial_indent="      ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        )


def _is_directory(entry: Entry) -> bool:
    return entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME)


def _path(entry: Entry) -> str:
    path = shown(entry.path)
    if _is_directory(entry) and path != "/":
        path += "/"
    if entry.status is Status.RENAMED:
        return f"{path} (renamed)"
    return path


def _counted(report: Report) -> str:
    counts = report.counts
    if not counts["changed"]:
        return ""
    said = {
        Verdict.PERSIST: "worth keeping",
        Verdict.REVIEW: "for you to look at",
        Verdict.EPHEMERAL: "safe to lose: caches, logs, temporary files",
        Verdict.REGENERATED: "made again at boot or activation",
        Verdict.KEPT: "kept already, or hidden below a mount point",
    }
    width = max(len(f"{counts[verdict]:,}") for verdict in said)
    lines = [
        f"  {counts[verdict]:>{width},}  {verdict:<11}  {text}"
        for verdict, text in said.items()
        if counts[verdict]
    ]
    return "\n".join([f"{plural(counts['changed'], 'entry', 'entries')} changed in all:", *lines])


def _unsaved(report: Report) -> str:
    """What is declared and not mounted yet: the next boot mounts an empty directory over it."""
    lines = [
        f"  {shown(kept.path)}  is not in {shown(kept.source)}, or older there"
        for kept in report.kept
        if isinstance(kept, Declared) and not kept.saved
    ]
    if not lines:
        return ""
    head = "Declared, not active yet, and lost at the next boot unless it is copied before:"
    return "\n".join([head, *lines])


def _kept(report: Report, style: Style) -> str:
    # What is declared but saved nowhere is told apart.
    saved = [kept for kept in report.kept if not isinstance(kept, Declared) or kept.saved]
    if not saved:
        return ""
    binds = [kept for kept in saved if kept.by.startswith("bind mount from /")]
    if style.verbose or len(binds) <= BIND_MOUNTS:
        rows = [(shown(kept.path), printable(kept.by)) for kept in saved]
    else:
        rows = [(shown(kept.path), printable(kept.by)) for kept in saved if kept not in binds]
        rows.append((f"{len(binds)} more", f"bind mounts from {_store(binds)} (-v lists them)"))
    # A long path must not push the others' reasons away.
    width = max((len(path) for path, _ in rows if len(path) <= 30), default=0)
    return "\n".join(["Kept already:", *(f"  {path:<{width}}  {by}" for path, by in rows)])


def _store(binds: Sequence[Kept]) -> str:
    return printable(
        os.path.commonpath([kept.by.removeprefix("bind mount from ") for kept in binds])
    )


def _hidden(report: Report, now: int) -> str:
    if not report.hidden:
        return ""
    lines = [
        f"  {shown(hidden.path)}  {plural(hidden.files, 'file')}, {size(hidden.bytes)},"
        f" age: {age(hidden.newest, now)}"
        for hidden in report.hidden
    ]
    head = "Hidden below mount points, gone at the next reboot (drift save --hidden):"
    return "\n".join([head, *lines])


def _skipped(report: Report) -> str:
    if not report.skipped:
        return ""
    lines = [f"  {shown(skipped.path)}: {printable(skipped.reason)}" for skipped in report.skipped]
    return "\n".join(["Could not be read, and so may be missing above:", *lines])


def _next_step(report: Report) -> str:
    verdicts = {group.verdict for group in report.groups}
    if Verdict.PERSIST in verdicts:
        return "Next: drift suggest --nix prints what to add to environment.persistence."
    if Verdict.REVIEW in verdicts:
        return "Next: drift explain PATH says why a path was not recognised."
    return ""
