"""Hold rules against their own examples and against each other; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.model import Kind
from drift.names import printable
from drift.rulebook.faults import Fault
from drift.rulebook.naming import read_path
from drift.rulebook.rule import RuleKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.rulebook.book import RuleBook
    from drift.rulebook.rule import Rule


def example_faults(rules: Iterable[Rule], book: RuleBook) -> list[Fault]:
    """Examples that another rule of `book` decides, and paths in `not` that their rule decides.

    Rules of one origin count as one: they are one table with a list of paths.
    """
    seen: dict[str, Rule] = {rule.origin: rule for rule in rules}
    faults = []
    for origin, rule in seen.items():
        for example in rule.examples:
            decider = _decider(book, example, rule)
            if decider is None:
                faults.append(_fault(origin, "examples", f"no rule decides {printable(example)}"))
            elif decider.origin != origin:
                by = printable(decider.origin)
                faults.append(_fault(origin, "examples", f"{by} decides {printable(example)}"))
        for path in rule.excludes:
            decider = _decider(book, path, rule)
            if decider is not None and decider.origin == origin:
                faults.append(_fault(origin, "not", f"this rule decides {printable(path)}"))
    return faults


def repeated_patterns(rules: Iterable[Rule]) -> list[Fault]:
    """Patterns that two files rule: which of them holds would depend on their names."""
    first: dict[str, Rule] = {}
    faults = []
    for rule in rules:
        other = first.setdefault(rule.pattern, rule)
        if place(other)[0] != place(rule)[0]:
            what = f"{printable(rule.pattern)} is ruled by {printable(other.origin)} too"
            faults.append(_fault(rule.origin, rule.kind.value, what))
    return faults


def place(rule: Rule) -> tuple[str, int]:
    """The file and the line that a rule comes from."""
    file, _, line = rule.origin.rpartition(":")
    return file, int(line)


def _decider(book: RuleBook, text: str, rule: Rule) -> Rule | None:
    path, kind = read_path(text)
    if kind is None and rule.kind is RuleKind.FILE:
        kind = Kind.FILE
    decision = book.decide(path, kind)
    return decision.rule if decision else None


def _fault(origin: str, key: str, what: str) -> Fault:
    file, _, line = origin.rpartition(":")
    return Fault(file, int(line), key, what)
