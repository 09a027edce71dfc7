"""Rules as the TOML of a rule file, laid out as the shipped ones are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.rulebook import Rule


def render_rule_file(rules: Sequence[Rule]) -> str:
    """One file with all of `rules`, which share their service and title; `""` for none."""
    if not rules:
        return ""
    first = rules[0]
    tables = [[("service", _string(first.service)), ("title", _string(first.title))]]
    tables += [list(_keys(rule)) for rule in rules]
    return "\n\n[[rule]]\n".join(_aligned(table) for table in tables) + "\n"


def _keys(rule: Rule) -> Iterator[tuple[str, str]]:
    yield rule.kind.value, _string(rule.pattern)
    yield "verdict", _string(rule.verdict)
    yield "severity", _string(rule.severity)
    if rule.user is not None:
        yield "user", _string(rule.user)
    if rule.group is not None:
        yield "group", _string(rule.group)
    if rule.mode is not None:
        yield "mode", _string(f"{rule.mode:04o}")
    if rule.replaced:
        yield "replaced", "true"
    yield "why", _string(rule.why)
    if rule.examples:
        yield "examples", _list(rule.examples)


def _aligned(table: Sequence[tuple[str, str]]) -> str:
    width = max(len(key) for key, _ in table)
    return "\n".join(f"{key:<{width}} = {value}" for key, value in table)


def _list(texts: Sequence[str]) -> str:
    if len(texts) == 1:
        return f"[{_string(texts[0])}]"
    return "\n".join(["[", *(f"  {_string(text)}," for text in texts), "]"])


def _string(text: str) -> str:
    """A TOML string on one line, safe to show on a terminal."""
    return '"' + "".join(map(_letter, text)) + '"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
