"""What a check says: one line, with the reason and the cure; no I/O."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(NamedTuple):
    """`check` names what was looked at, `cure` what to do; it is empty where all is well."""

    check: str
    level: Level
    reason: str
    cure: str = ""


def ok(check: str, reason: str) -> Check:
    return Check(check, Level.OK, reason)


def warn(check: str, reason: str, cure: str) -> Check:
    return Check(check, Level.WARN, reason, cure)


def fail(check: str, reason: str, cure: str) -> Check:
    return Check(check, Level.FAIL, reason, cure)
