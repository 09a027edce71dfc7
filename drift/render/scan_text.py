"""`drift scan` for people: what was compared, the table by service, what was left out, what next."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Lineage, Status, Verdict
from drift.names import shown
from drift.render.text import age, cut, plural, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drift.model import Entry, Group, Report, Root

AT_STAKE = (Verdict.PERSIST, Verdict.REVIEW)

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
            parts.append(_table(rest, now, style))
    parts += [
        "\n".join(lines) for lines in (_kept(report), _hidden(report), _skipped(report)) if lines
    ]
    parts.append(_next_step(report))
    return "\n\n".join(part for part in parts if part) + "\n"


def brief(report: Report) -> str:
    """One line for a login message or a prompt."""
    number, critical = _stakes(report)
    if not number:
        return "Nothing would be lost at reboot.\n"
    line = f"{plural(number, 'thing')} would be lost at reboot"
    return f"{line}, {critical} critical.\n" if critical else f"{line}.\n"


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
    groups = [group for group in report.groups if group.verdict in AT_STAKE]
    if not groups:
        return ["Nothing would be lost at the next reboot."]
    number, critical = _stakes(report)
    head = f"At the next reboot, {plural(number, 'thing')} would be lost"
    if critical:
        head += f", {critical} of them critical"
    return [head + ".", _table(groups, now, style)]


def _stakes(report: Report) -> tuple[int, int]:
    groups = [group for group in report.groups if group.verdict in AT_STAKE]
    entries = [entry for group in groups for entry in _listed(group)]
    critical = sum(
        entry.finding.severity == "critical" and entry.finding.verdict is Verdict.PERSIST
        for entry in entries
    )
    return len(entries), critical


def _table(groups: Sequence[Group], now: int, style: Style) -> str:
    from tabulate import tabulate

    left = max((len(_service(group)) for group in groups), default=7)
    # The columns before the last are as wide as their longest cell; the rest is for the reason.
    room = max(24, style.width - max(left, 7) - 42)
    rows = [
        (
            style.paint(_service(group), group.severity),
            group.verdict.value,
            f"{group.files:,}",
            size(group.bytes),
            age(group.newest, now),
            "\n".join(_reasons(group, room)),
        )
        for group in groups
    ]
    text = tabulate(
        rows,
        headers=("SERVICE", "VERDICT", "FILES", "SIZE", "AGE", "WHAT AND WHY"),
        tablefmt="plain",
        colalign=("left", "left", "right", "right", "right", "left"),
        disable_numparse=True,
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def _service(group: Group) -> str:
    name = "".join(c if c.isprintable() else "?" for c in group.service)
    return cut(name, 20)


def _reasons(group: Group, room: int) -> Iterator[str]:
    """Every path, then its reason where the next path has another one."""
    entries = _listed(group)
    for index, entry in enumerate(entries):
        yield cut(_path(entry), room)
        following = entries[index + 1 : index + 2]
        if not following or following[0].finding.why != entry.finding.why:
            why = "".join(c if c.isprintable() else " " for c in entry.finding.why)
            yield from textwrap.wrap(
                why, room, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
            )


def _listed(group: Group) -> list[Entry]:
    """The entries without directories that hold nothing but other entries."""
    directories = {entry.path for entry in group.entries if not entry.files}
    above = {
        directory
        for directory in directories
        for entry in group.entries
        if entry.path.startswith(directory + b"/")
    }
    return [entry for entry in group.entries if entry.path not in above]


def _path(entry: Entry) -> str:
    path = shown(entry.path)
    if entry.kind in ("directory", "subvolume") and path != "/":
        path += "/"
    if entry.status is Status.RENAMED:
        return f"{path} (renamed)"
    return path


def _counted(report: Report) -> str:
    counts = report.counts
    lines = [f"{plural(counts['changed'], 'entry', 'entries')} changed in all:"]
    said = {
        Verdict.PERSIST: "worth keeping",
        Verdict.REVIEW: "for you to look at",
        Verdict.EPHEMERAL: "safe to lose: caches, logs, temporary files",
        Verdict.REGENERATED: "made again at boot or activation",
        Verdict.KEPT: "kept already, or hidden below a mount point",
    }
    width = max(len(f"{counts[verdict]:,}") for verdict in said)
    lines += [
        f"  {counts[verdict]:>{width},}  {verdict:<11}  {text}"
        for verdict, text in said.items()
        if counts[verdict]
    ]
    return "\n".join(lines) if counts["changed"] else ""


def _kept(report: Report) -> list[str]:
    if not report.kept:
        return []
    return [
        "Kept already:",
        *(f"  {shown(kept.path)}  {kept.by}" for kept in report.kept),
    ]


def _hidden(report: Report) -> list[str]:
    if not report.hidden:
        return []
    return [
        "Hidden below mount points (in the root itself, so the next reboot deletes it):",
        *(
            f"  {shown(hidden.path)}  {plural(hidden.files, 'file')}, {size(hidden.bytes)}"
            for hidden in report.hidden
        ),
    ]


def _skipped(report: Report) -> list[str]:
    if not report.skipped:
        return []
    return [
        "Could not be read, and so is missing above:",
        *(f"  {shown(skipped.path)}: {skipped.reason}" for skipped in report.skipped),
    ]


def _next_step(report: Report) -> str:
    verdicts = {group.verdict for group in report.groups}
    if Verdict.PERSIST in verdicts:
        return "Next: drift suggest --nix prints what to add to environment.persistence."
    if Verdict.REVIEW in verdicts:
        return "Next: drift explain PATH says why a path was not recognised."
    return ""
