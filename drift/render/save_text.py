"""`drift save` for people: the plan before, what became of it after."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from drift.names import printable, shown
from drift.render.text import age, plural, size
from drift.saving.plan import Action

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.saving.plan import Item, Plan

WIDTH = 80

_HEADS = {
    Action.COPY: "To copy:",
    Action.REPLACE: "To copy, after what is there is moved aside:",
    Action.SAME: "There already, the same:",
    Action.DIFFERENT: "Left alone, since something else is there (--replace moves it aside):",
    Action.FAILED: "Can't be saved:",
}
_DONE = {
    Action.COPY: "copied and verified",
    Action.REPLACE: "copied and verified, what was there moved aside",
    Action.SAME: "there already, the same",
    Action.DIFFERENT: "left alone: something else is there",
    Action.FAILED: "not saved",
}


def plan_text(plan: Plan, store: bytes, source: str, now: int) -> str:
    """What would be done, with sizes and free space."""
    lines = [f"Into {shown(store)}, from {source}:"]
    for action, head in _HEADS.items():
        items = [item for item in plan.items if item.action is action]
        if not items:
            continue
        lines += ["", head]
        for item in items:
            lines += _item(item, now)
    if not plan.items:
        lines += ["", "Nothing to save."]
    if plan.to_copy:
        total = sum(item.contents.size for item in plan.to_copy)
        lines += ["", f"{plural(len(plan.to_copy), 'entry', 'entries')}, {size(total)}."]
        if plan.shared:
            lines.append(f"The copies share the live root's data; {size(plan.free)} are free.")
        else:
            lines.append(f"They take {size(plan.space)}; {size(plan.free)} are free.")
    return "\n".join(lines) + "\n"


def result_text(items: Sequence[Item], store: bytes) -> str:
    """How many entries there are of each kind, and why some were not saved."""
    lines = []
    for action, words in _DONE.items():
        count = sum(item.action is action for item in items)
        if count:
            lines.append(f"{shown(store)}: {plural(count, 'entry', 'entries')} {words}")
    for item in items:
        if item.action in (Action.DIFFERENT, Action.FAILED):
            lines.append(f"  {shown(item.path)}")
            lines += _wrapped(item.why)
    return "".join(line + "\n" for line in lines)


def next_steps() -> str:
    return (
        "\nNext: declare what was saved (drift suggest --nix), run nixos-rebuild boot,"
        " reboot,\nand let drift verify say that everything came back.\n"
    )


def _item(item: Item, now: int) -> Iterator[str]:
    contents = item.contents
    if item.action is Action.FAILED:
        yield f"  {shown(item.path)}"
        yield from _wrapped(item.why)
        return
    facts = f"{plural(contents.files, 'file')}, {size(contents.size)}"
    yield f"  {shown(item.path)}  ({facts})"
    if item.action is Action.COPY and item.why:
        yield from _wrapped(item.why)
    if item.action in (Action.DIFFERENT, Action.REPLACE):
        yield from _wrapped(
            f"{item.why}; newest in the store: {_ago(item.stored, now)},"
            f" in the live root: {_ago(contents.newest, now)}"
        )


def _ago(when: int, now: int) -> str:
    said = age(when, now)
    return said if said in ("-", "now", "future") else f"{said} ago"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent="      ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
