"""`drift suggest` for people: the lists as a table, advice, and the next steps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from drift.names import printable, shown
from drift.render.next_steps import next_steps
from drift.suggestion import SuggestedDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.situation import Situation
    from drift.suggestion import Owner, SuggestedFile, Suggestion

WIDTH = 80


def render(suggestion: Suggestion) -> str:
    """Everything to add, in the order of the lists, with owner, mode and reason."""
    parts = list(_lists(suggestion))
    second = [] if suggestion.cache is None else list(_lists(suggestion.cache))
    if not parts:
        head = f"Nothing to add to environment.persistence.{_quoted(suggestion.persist)}."
    else:
        head = f"To add to environment.persistence.{_quoted(suggestion.persist)}:"
    parts.insert(0, head)
    if suggestion.cache is not None and second:
        parts += [
            f"To add to environment.persistence.{_quoted(suggestion.cache.persist)}:",
            *second,
        ]
    if suggestion.review:
        lines = ["For you to look at, not suggested (--all does):"]
        for entry in suggestion.review:
            lines.append(f"  {shown(entry.path)}")
            lines += _wrapped(entry.finding.why, "      ")
        parts.append("\n".join(lines))
    parts += _advice(suggestion)
    return "\n\n".join(parts) + "\n"


def notes(suggestion: Suggestion, *, with_advice: bool, situation: Situation | None = None) -> str:
    """What stderr says beside a suggestion: advice where the form has no room for it, next steps."""
    parts = _advice(suggestion) if with_advice else []
    if steps := next_steps(suggestion, situation):
        parts.append(steps)
    return "".join(f"\n{part}\n" for part in parts)


def _lists(suggestion: Suggestion) -> Iterator[str]:
    if suggestion.directories:
        yield _section("directories", suggestion.directories)
    if suggestion.files:
        yield _section("files", suggestion.files)
    for user in suggestion.users:
        name = printable(user.name)
        if user.directories:
            yield _section(f"users.{name}.directories", user.directories)
        if user.files:
            yield _section(f"users.{name}.files", user.files)


def _section(title: str, items: tuple[SuggestedDirectory, ...] | tuple[SuggestedFile, ...]) -> str:
    lines = [title]
    for item in items:
        # A file in the lists has no owner of its own, only one of its directory.
        owner = _owner(item.owner) if isinstance(item, SuggestedDirectory) else ""
        lines.append(f"  {shown(item.path)}{owner}")
        lines += _wrapped(f"{item.title}: {item.why}", "      ")
    return "\n".join(lines)


def _owner(owner: Owner) -> str:
    if (owner.user, owner.group, owner.mode) == ("root", "root", 0o755):
        return ""
    return f"  ({printable(owner.user)}:{printable(owner.group)} {owner.mode:04o})"


def _advice(suggestion: Suggestion) -> list[str]:
    if not suggestion.advice:
        return []
    lines = ["Mind:"]
    for advice in suggestion.advice:
        lines.append(f"  {shown(advice.path)}")
        lines += _wrapped(advice.say, "      ")
    return ["\n".join(lines)]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _quoted(path: bytes) -> str:
    return f'"{shown(path)}"'
