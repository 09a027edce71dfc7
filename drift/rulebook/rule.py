"""What a rule says, whichever file or unit it comes from; no I/O."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from drift.model import Severity, Verdict


class Layer(IntEnum):
    """Where a rule comes from; of equally specific rules the later layer wins."""

    UNIT = 0
    SHIPPED = 1
    SYSTEM = 2
    USER = 3
    GIVEN = 4


class RuleKind(StrEnum):
    """`directory` matches directories, `file` all else, `path` either."""

    DIRECTORY = "directory"
    FILE = "file"
    PATH = "path"


class Rule(NamedTuple):
    """One pattern and what is to become of the paths that it decides.

    `origin` is `rules/openssh.toml:12` (the line of the rule's header) or `unit sshd.service`.
    `examples` are paths that the rule decides, `excludes` (the key `not`) paths that it doesn't;
    the rules made from one `paths` list share both. `reviewed` and `expires` are dates as in
    `2026-11-22`: when somebody decided so, and from when on the rule no longer decides.
    """

    service: str
    title: str
    nixos: str | None
    verdict: Verdict
    severity: Severity
    why: str
    pattern: str
    kind: RuleKind
    origin: str
    user: str | None = None
    group: str | None = None
    mode: int | None = None
    replaced: bool = False
    method: str | None = None
    advice: str | None = None
    layer: Layer = Layer.GIVEN
    examples: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    reviewed: str | None = None
    expires: str | None = None


Row = tuple[Any, ...]
"""The fields of a Rule in their order, enums by value: what a cache can hold."""

EXPIRES = 19
"""The place of `expires` in a row."""


def to_row(rule: Rule) -> Row:
    return (
        rule.service,
        rule.title,
        rule.nixos,
        rule.verdict.value,
        rule.severity.value,
        rule.why,
        rule.pattern,
        rule.kind.value,
        rule.origin,
        rule.user,
        rule.group,
        rule.mode,
        rule.replaced,
        rule.method,
        rule.advice,
        int(rule.layer),
        rule.examples,
        rule.excludes,
        rule.reviewed,
        rule.expires,
    )


def from_row(row: Row) -> Rule:
    rule: list[Any] = list(row)
    for place, kind in ((3, Verdict), (4, Severity), (7, RuleKind), (15, Layer)):
        rule[place] = kind(rule[place])
    return Rule(*rule)
