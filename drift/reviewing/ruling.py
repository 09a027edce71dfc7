"""Write the rules that a review decides: into the persistent storage, or a file of the user's."""

from __future__ import annotations

import os
import re
from datetime import date, timedelta
from typing import NamedTuple

from drift.errors import DriftError, UsageError
from drift.model import Kind
from drift.names import printable, shown
from drift.reviewing.writing import write_whole
from drift.rulebook import Layer, Rule, RuleFilesError
from drift.rulebook.patterns import is_glob
from drift.rulebook.reading import read_rules
from drift.rulebook.rule import from_row

_HEAD = 'service = "reviewed"\ntitle   = "Decided in drift review"\n'


class Ignored(NamedTuple):
    """A path that may be lost, and why; dates are as in `2026-11-22`."""

    path: bytes
    kind: Kind
    why: str
    reviewed: str
    expires: str | None = None


def why_not_ruled(path: bytes) -> str | None:
    """Why no rule can name just this path; None where one can."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    if is_glob(path):
        return "its name has a * or ?, which stand for other names in a rule"
    return None if text.strip("/") else "the root can't be ruled"


def until(text: str, today: date) -> date | None:
    """The date that `30d`, `2w`, `6m`, `1y` or `2027-01-31` mean; None for nothing at all."""
    text = text.strip()
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,5})([dwmy])", text)
    try:
        if found:
            days = {"d": 1, "w": 7, "m": 30, "y": 365}[found[2]]
            day = today + timedelta(days=int(found[1]) * days)
        else:
            day = date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{printable(text)} is no date", "write it as in 30d, 2w, 6m, 1y or 2027-01-31"
        ) from None
    if day <= today:
        raise UsageError(f"{day} is not in the future", "leave it empty for a rule without end")
    return day


def write_rule(file: bytes, ignored: Ignored) -> None:
    """Add a rule to a rule file, or make the file; what was there of this very path gives way."""
    from drift.rewrite import read_original, replace_text

    if os.path.isdir(file):
        raise UsageError(f"{shown(file)} is a directory", "name a .toml file in it")
    if os.path.lexists(file):
        original = read_original(file)
        kept = replace_text(original, with_rule(original.text, os.fsdecode(file), ignored))
        # Only its own text has been added to, and the file would fill up with old ones beside it.
        os.unlink(kept)
        return
    parent, _, name = os.path.abspath(file).rpartition(b"/")
    try:
        directory = os.open(parent or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            above = os.fstat(directory)
            # With sudo, a file in a user's repository is to be the user's.
            write_whole(
                directory,
                name,
                with_rule(_HEAD.encode(), os.fsdecode(file), ignored),
                mode=0o644,
                owner=(above.st_uid, above.st_gid),
            )
        finally:
            os.close(directory)
    except OSError as error:
        raise DriftError(
            f"{shown(file)} can't be written: {error.strerror}",
            "say with --write-rules FILE where rules are to be kept",
        ) from error


def with_rule(text: bytes, file: str, ignored: Ignored) -> bytes:
    """The text of a rule file with one rule more; RuleFilesError where it would not be sound."""
    rules = [] if text == _HEAD.encode() else _sound_rules(text, file)
    key = "directory" if ignored.kind in (Kind.DIRECTORY, Kind.SUBVOLUME) else "file"
    path = ignored.path.decode()
    lines = [
        "[[rule]]",
        f"{key:<9} = {_string(path)}",
        'verdict   = "ephemeral"',
        'severity  = "low"',
        f"why       = {_string(printable(ignored.why))}",
        f'reviewed  = "{ignored.reviewed}"',
    ]
    if ignored.expires is not None:
        lines.append(f'expires   = "{ignored.expires}"')
    before = _without(text.decode(), rules, key, path).rstrip("\n")
    changed = "\n".join([before, "", *lines, ""]).encode()
    _sound_rules(changed, file)
    return changed


def _sound_rules(text: bytes, file: str) -> list[Rule]:
    rows, faults = read_rules(text, file, Layer.GIVEN)
    if faults:
        raise RuleFilesError(faults)
    return [from_row(row) for row in rows]


def _without(text: str, rules: list[Rule], key: str, path: str) -> str:
    """The text without the rule whose `key` is `path`; comments before the next one stay."""
    lines = text.split("\n")
    starts = {rule: int(rule.origin.rpartition(":")[2]) - 1 for rule in rules}
    for rule, start in starts.items():
        if (rule.kind, rule.pattern) == (key, path):
            end = min((other for other in starts.values() if other > start), default=len(lines))
            while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#"):
                end -= 1
            # A file has at most one rule for a path.
            del lines[start:end]
            break
    return "\n".join(lines)


def _string(text: str) -> str:
    """A basic string of TOML, which has JSON's escapes, and forbids DEL besides."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
