"""`drift record` for people: what was written, by what decides about it; no I/O."""

from __future__ import annotations

import signal
from collections import defaultdict
from typing import TYPE_CHECKING

from drift.model import Kind
from drift.names import printable, shown
from drift.render.text import plural, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drift.draft import Draft, Known
    from drift.model import Change
    from drift.record import Recording
    from drift.system.mounts import MountPoint


def render(recording: Recording, command: str, user: str | None) -> str:
    """The report; `user` is whom the command ran as, where that is to be said."""
    known = [(change, one) for change, one in recording.written if one is not None]
    parts = [
        _ended(recording, command, user),
        _undecided(recording.drafts, recording.keepers)
        or "Nothing was written that would need a rule.",
        _decided(known),
        _unseen(recording.unseen),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def next_step(output: bytes | None) -> str:
    """What to do with the rule file, which is in `output` or was printed."""
    name = "the file" if output is None else shown(output)
    head = "" if output is None else f"The rules are in {name}.\n"
    return (
        f"\n{head}Next: look at each verdict, write each why, try it with drift rules check FILE,"
        " and put it\ninto /etc/drift/rules.d/ or ~/.config/drift/rules.d/.\n"
    )


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ended(recording: Recording, command: str, user: str | None) -> str:
    code = recording.returncode
    how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal_name(-code)}"
    seconds = round(recording.seconds)
    when = f"after {plural(seconds, 'second')}" if seconds else "at once"
    who = "" if user is None else f", as {printable(user)}"
    return f"{printable(command)} {how} {when}{who}."


def _undecided(drafts: Sequence[Draft], keepers: Mapping[bytes, str]) -> str:
    lines = []
    for one in drafts:
        keeper = keepers.get(one.anchor)
        fate = "lost at the next reboot" if keeper is None else f"kept: {printable(keeper)}"
        is_directory = one.rule.kind == "directory"
        lines += [
            f"  {shown(one.anchor)}{'/' * is_directory}",
            f"      {_sum(one.changes)}; {fate}",
        ]
    return "\n".join(["Written, and no rule decides about it:", *lines]) if lines else ""


def _decided(known: Iterable[tuple[Change, Known]]) -> str:
    """A line for each place that a rule speaks for: other programs write meanwhile as well."""
    by_place: defaultdict[tuple[bytes, str, str], list[Change]] = defaultdict(list)
    for change, one in known:
        said = f"{one.verdict}, {one.service}: {one.rule.removeprefix('heuristic: ')}"
        by_place[one.anchor, printable(said), one.rule].append(change)
    lines = []
    for (anchor, said, _), changes in sorted(
        by_place.items(), key=lambda item: (item[0][0].split(b"/"), item[0][1])
    ):
        itself = len(changes) == 1 and changes[0].path == anchor
        is_directory = not itself or changes[0].kind in (Kind.DIRECTORY, Kind.SUBVOLUME)
        lines += [f"  {shown(anchor)}{'/' * is_directory}", f"      {_sum(changes)}; {said}"]
    head = "Written, by it or by another program, and decided already:"
    return "\n".join([head, *lines]) if lines else ""


def _sum(changes: Sequence[Change]) -> str:
    files = [change for change in changes if change.kind not in (Kind.DIRECTORY, Kind.SUBVOLUME)]
    if not files:
        return plural(len(changes), "directory", "directories")
    total = sum(change.size for change in files if change.kind is Kind.FILE)
    return f"{plural(len(files), 'file')}, {size(total)}"


def _unseen(unseen: Sequence[MountPoint]) -> str:
    if not unseen:
        return ""
    lines = [f"  {shown(point.path)}  {printable(point.describe)}" for point in unseen]
    return "\n".join(["Not looked at, being no Btrfs:", *lines])
