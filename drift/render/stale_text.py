"""`drift stale` for people: what is stale in each store, and what is moved or not."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind
from drift.names import printable, shown
from drift.render.text import age, plural, size
from drift.storage.quarantine import PATH
from drift.system.declared import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drift.stale import Orphaned, Stale, StoreReport, Undeclared, Unfilled, Unused
    from drift.storage.batch import Batch
    from drift.storage.quarantine import Outcome
    from drift.storage.selection import Choice, Selection

WIDTH = 80
# A list that is longer than this shows its beginning.
LISTED = 20


_UNDECLARED = "nothing that drift sees declares anything in it; --config FILE tells what will"


class Style(NamedTuple):
    """`now` in nanoseconds, `unused` in days; `heading` paints the head of a section."""

    now: int
    unused: int
    verbose: bool = False
    heading: Callable[[str], str] = str


def render(stale: Stale, style: Style) -> str:
    return "\n".join("\n".join(_store(report, style)) + "\n" for report in stale.stores)


def next_steps(stale: Stale) -> str:
    """What can be done about it; empty where nothing is to be."""
    lines = []
    movable = (report for report in stale.stores if report.is_declared)
    if any(not one.held for report in movable for one in report.undeclared):
        lines += [
            "drift stale --quarantine moves what is declared nowhere to a dated",
            "directory in the same store; nothing is deleted. Look through the list before.",
        ]
    dates = [batch.date for report in stale.stores for batch in report.quarantined]
    if dates:
        lines.append(f"drift stale --restore {max(dates)} moves back what is in quarantine.")
    return f"\nNext: {lines[0]}\n" + "".join(f"{line}\n" for line in lines[1:]) if lines else ""


def _store(report: StoreReport, style: Style) -> Iterator[str]:
    name = shown(report.path)
    on = f" ({printable(report.describe)})" if report.describe else ""
    entries = plural(report.entries, "declared entry", "declared entries")
    yield f"{style.heading(name)}{on}: {entries}, {_amount(report.files, report.bytes)}"
    if report.problem:
        yield from _wrapped(report.problem, "  ")
    if not report.is_declared:
        yield from _wrapped(_UNDECLARED, "  ")
    elif report.is_clean:
        yield "Nothing is stale: all in it is declared, and what is declared is there and used."
    largest = sorted(report.undeclared, key=lambda one: (-one.bytes, -one.files, one.path))
    total = sum(one.bytes for one in largest)
    yield from _section(
        f"Declared nowhere: {plural(len(largest), 'path')}, {size(total)}",
        [_undeclared(one, style.now) for one in largest],
        style,
    )
    yield from _section(
        "Declared, with nothing in the store:",
        [_unfilled(one) for one in report.unfilled],
        style,
    )
    yield from _section(
        f"Declared, and neither written to nor read for {plural(style.unused, 'day')}:",
        [_unused(one, style.now) for one in report.unused],
        style,
        note="The store is mounted with noatime: only writing counts."
        if report.only_writes
        else "What a backup reads counts as used.",
    )
    yield from _section(
        "Owners that no account has:",
        [_owner(one) for one in report.orphaned],
        style,
    )
    yield from _section(
        "Not declared, but named by the configuration, and so left alone:",
        [
            [f"{shown(one.path)}  ({_amount(one.files, one.bytes)}): {printable(one.by)}"]
            for one in report.named
        ],
        style,
    )
    yield from _section(
        f"In quarantine, below {shown(report.path + PATH)}:",
        [[_batch(batch)] for batch in report.quarantined],
        style,
    )


def _section(
    head: str, items: Sequence[list[str]], style: Style, *, note: str = ""
) -> Iterator[str]:
    if not items:
        return
    yield ""
    yield style.heading(head)
    shown_items = items if style.verbose else items[:LISTED]
    for first, *more in shown_items:
        yield f"  {first}"
        for reason in more:
            yield from _wrapped(reason, "      ")
    if len(items) > len(shown_items):
        yield f"  and {len(items) - len(shown_items):,} more: --verbose lists them"
    if note:
        yield f"  {note}"


def _undeclared(one: Undeclared, now: int) -> list[str]:
    facts = f"{_amount(one.files, one.bytes)}, last write {_ago(one.newest, now)}"
    lines = [f"{_named(one.path, one.kind)}  ({facts})"]
    if one.held:
        lines.append(one.held)
    elif one.saved is not None:
        lines.append(f"drift save put it there {_ago(one.saved, now)}; nothing declares it yet")
    return lines


def _unfilled(one: Unfilled) -> list[str]:
    lines = [f"{shown(one.path)}  ({shown(one.source)} is {one.why})"]
    if not one.saved:
        lines.append(
            f"its data is on the live root alone: run drift save {shown(one.path)} before the reboot"
        )
    elif one.state is State.PENDING:
        lines.append(f"{State.PENDING}: the next boot makes it")
    return lines


def _unused(one: Unused, now: int) -> list[str]:
    facts = f"{_amount(one.files, one.bytes)}, last used {_ago(one.used, now)}"
    return [f"{shown(one.path)}  ({facts})"]


def _owner(one: Orphaned) -> list[str]:
    entries = plural(one.entries, "entry", "entries")
    some = "at" if one.entries == 1 else "such as"
    return [f"{one.kind} {one.number}: {entries}, {some} {shown(one.example)}"]


def _batch(batch: Batch) -> str:
    total = size(sum(one.bytes for one in batch.entries))
    return f"{batch.date}  ({plural(len(batch.entries), 'path')}, {total})"


def quarantine_plan(selection: Selection, date: str, now: int) -> str:
    """What would be moved into quarantine, and what stays and why."""
    view = selection.view
    place = shown(view.shown_path(PATH + b"/" + date.encode()))
    lines = _plan(selection, f"To move to {place}:", now)
    if selection.to_move:
        lines += ["", f"{_sum(selection)}. Nothing is deleted; to have it back:"]
        lines.append(f"  drift stale --restore {date}")
    return "\n".join(lines) + "\n"


def restore_plan(selection: Selection, now: int) -> str:
    assert selection.batch is not None
    lines = _plan(selection, f"To move back from the quarantine of {selection.batch.date}:", now)
    if selection.to_move:
        lines += ["", f"{_sum(selection)}."]
    return "\n".join(lines) + "\n"


def result(selection: Selection, outcomes: Sequence[Outcome], place: bytes) -> str:
    """How much was moved to `place`, and what was not and why."""
    moved = sum(not one.why for one in outcomes)
    lines = [f"{shown(selection.view.path)}: {plural(moved, 'path')} moved to {shown(place)}"]
    for one in outcomes:
        if one.why:
            lines.append(f"  {shown(selection.view.shown_path(one.path))}")
            lines += _wrapped(f"not moved: {one.why}", "      ")
    return "".join(line + "\n" for line in lines)


def _plan(selection: Selection, head: str, now: int) -> list[str]:
    view = selection.view
    moving = [choice for choice in selection.choices if not choice.why]
    staying = [choice for choice in selection.choices if choice.why]
    lines = [head, ""] if moving else []
    if selection.why:
        return [f"{shown(view.path)}: nothing to move.", *_wrapped(selection.why, "  ")]
    lines += [f"  {_choice(view.shown_path(one.entry.path), one, now)}" for one in moving]
    if staying:
        lines += ["", "Left where it is:"] if moving else ["Left where it is:"]
    for one in staying:
        lines.append(f"  {shown(view.shown_path(one.entry.path))}")
        lines += _wrapped(one.why, "      ")
    return lines or [f"{shown(view.path)}: nothing to move."]


def _choice(path: bytes, one: Choice, now: int) -> str:
    written = f", last write {_ago(one.newest, now)}" if one.newest else ""
    return f"{_named(path, one.entry.kind)}  ({_amount(one.entry.files, one.entry.bytes)}{written})"


def _sum(selection: Selection) -> str:
    moving = selection.to_move
    return f"{plural(len(moving), 'path')}, {size(sum(one.bytes for one in moving))}"


def _named(path: bytes, kind: Kind) -> str:
    return shown(path) + ("/" if kind in (Kind.DIRECTORY, Kind.SUBVOLUME) else "")


def _amount(files: int, count: int) -> str:
    return f"{plural(files, 'file')}, {size(count)}"


def _ago(when: int, now: int) -> str:
    said = age(when, now)
    if said == "future":
        return "in the future"
    return said if said in ("-", "now") else f"{said} ago"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
