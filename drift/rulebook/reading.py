"""Read one rule file: its bytes in, its rules or all of its faults out; no I/O."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from drift.model import Severity, Verdict
from drift.names import printable
from drift.rulebook.faults import Fault
from drift.rulebook.lines import KeyPath, Lines
from drift.rulebook.patterns import path_faults, pattern_faults
from drift.rulebook.rule import RuleKind
from drift.rulebook.sources import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.rulebook.rule import Layer, Row

VERDICTS = (Verdict.PERSIST, Verdict.EPHEMERAL, Verdict.REGENERATED, Verdict.REVIEW)

_FILE_KEYS = ("service", "title", "nixos", "rule")
_PATTERN_KEYS = ("directory", "file", "path", "paths")
_RULE_KEYS = (
    *_PATTERN_KEYS,
    "verdict",
    "severity",
    "why",
    "user",
    "group",
    "mode",
    "replaced",
    "method",
    "advice",
    "examples",
    "not",
    "reviewed",
    "expires",
)
_MODE = re.compile(r"[0-7]{3,4}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_MOST_BROKEN_LINES = 10
_AT_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_TYPES = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def read_rules(data: bytes, file: str, layer: Layer) -> tuple[list[Row], list[Fault]]:
    """Give the file's rules in their order, and its faults by line; no bytes raise anything.

    With any fault the rules are to be thrown away. `file` is the name for origins and faults.
    """
    reader = _Reader(data, file)
    rows = reader.rows(layer)
    # Sorting is stable: what stands on one line stays in the order in which it was found.
    return rows, sorted(set(reader.faults), key=lambda fault: (fault.line, fault.key, fault.what))


class _Reader:
    def __init__(self, data: bytes, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.lines = Lines(b"")
        self.complete = True
        self.values: dict[str, Any] = {}
        if len(data) > LARGEST:
            self.faults.append(Fault(file, 0, "", f"larger than {LARGEST} bytes", "split it"))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.faults.append(Fault(file, line, "TOML", "not UTF-8", "save the file as UTF-8"))
            return
        self.values = self._parse(text)

    def _parse(self, text: str) -> dict[str, Any]:
        """Parse around broken lines, so that one of them hides no other fault."""
        rest = text
        while True:
            try:
                values = tomllib.loads(rest)
            except (ValueError, OverflowError, RecursionError) as error:
                self.complete = False
                what, line = _syntax_fault(error, rest)
                lines = rest.split("\n")
                if not _broken_alone(what, lines[line - 1]):
                    deep = isinstance(error, RecursionError)
                    hint = "" if deep else "a bracket or quote above may be open"
                    self.faults.append(Fault(self.file, line, "TOML", what, hint))
                    return {}
                self.faults.append(Fault(self.file, line, "TOML", what))
                if len(self.faults) >= _MOST_BROKEN_LINES:
                    return {}
                lines[line - 1] = ""
                rest = "\n".join(lines)
            else:
                self.lines = Lines(rest.encode())
                return values

    def fault(self, path: KeyPath, what: str, hint: str = "") -> None:
        names = [part for part in path if isinstance(part, str)]
        key = names[-1] if names else ""
        if not names or (len(names) == 1 and len(path) == 2):
            key = "rule"
        self.faults.append(Fault(self.file, self.lines.line(path), key, what, hint))

    def missing(self, path: KeyPath, key: str, hint: str) -> None:
        """Report a key that should stand in the table at `path`."""
        # A broken line may be the very one that held the key.
        if self.complete:
            self.faults.append(Fault(self.file, self.lines.line(path), key, "is missing", hint))

    def rows(self, layer: Layer) -> list[Row]:
        if not self.values and self.faults:
            return []
        self._unknown_keys(self.values, (), _FILE_KEYS)
        service = self._text(self.values, (), "service")
        if "service" not in self.values:
            self.missing((), "service", 'say whose state this is: service = "..."')
        title = self._text(self.values, (), "title") or service
        nixos = self._text(self.values, (), "nixos")
        tables = self.values.get("rule")
        if tables is None:
            self.missing((), "rule", "start each rule with [[rule]]")
            return []
        if not isinstance(tables, list):
            hint = "write [[rule]], not [rule]" if isinstance(tables, dict) else "write [[rule]]"
            self.fault(("rule",), f"must be a list of tables, not {_type_name(tables)}", hint)
            return []
        headers = self.lines.headers(len(tables))
        rows: list[Row] = []
        taken: dict[tuple[str, str], int] = {}
        for index, table in enumerate(tables):
            at: KeyPath = ("rule", index)
            line = headers[index] if len(headers) == len(tables) else self.lines.line(at)
            if not isinstance(table, dict):
                self.fault(at, f"must be a table, not {_type_name(table)}", "write [[rule]]")
                continue
            for row in self._rule(table, at, (service, title, nixos), f"{self.file}:{line}", layer):
                rows.append(row)
                pattern, kind = row[6:8]
                if (pattern, kind) in taken:
                    self.fault(
                        (*at, next(key for key in _PATTERN_KEYS if key in table)),
                        f"{printable(pattern)} is ruled twice",
                        f"the first time in the rule on line {taken[pattern, kind]}",
                    )
                taken.setdefault((pattern, kind), line)
        return rows

    def _rule(
        self,
        table: dict[str, Any],
        at: KeyPath,
        subject: tuple[str | None, str | None, str | None],
        origin: str,
        layer: Layer,
    ) -> Iterator[Row]:
        self._unknown_keys(table, at, _RULE_KEYS)
        kind, patterns = self._patterns(table, at)
        verdict = self._choice(table, at, "verdict", VERDICTS)
        if "verdict" not in table:
            self.missing(at, "verdict", f"one of {', '.join(VERDICTS)}")
        severity = self._choice(table, at, "severity", tuple(Severity)) or Severity.NORMAL.value
        why = self._text(table, at, "why")
        if "why" not in table:
            self.missing(at, "why", "say in a few words what would be lost")
        details = (
            self._account(table, at, "user"),
            self._account(table, at, "group"),
            self._mode(table, at),
            self._typed(table, at, "replaced", bool) or False,
            self._choice(table, at, "method", ("symlink",)),
            self._text(table, at, "advice"),
            int(layer),
            self._paths(table, at, "examples"),
            self._paths(table, at, "not"),
            self._date(table, at, "reviewed"),
            self._date(table, at, "expires"),
        )
        for pattern in patterns:
            yield (*subject, verdict, severity, why, pattern, kind, origin, *details)

    def _unknown_keys(self, table: dict[str, Any], at: KeyPath, known: tuple[str, ...]) -> None:
        for key in table:
            if key in known:
                continue
            near = _near(key, known)
            if key in _RULE_KEYS:
                hint = "it belongs inside a [[rule]]"
            elif key in _FILE_KEYS:
                hint = "it belongs above the first [[rule]]"
            elif near:
                hint = f"did you mean {near}?"
            else:
                hint = f"known here: {', '.join(known)}"
            path = (*at, key)
            self.faults.append(Fault(self.file, self.lines.line(path), key, "unknown key", hint))

    def _patterns(self, table: dict[str, Any], at: KeyPath) -> tuple[str, list[str]]:
        given = [key for key in _PATTERN_KEYS if key in table]
        if not given:
            self.missing(at, "directory", "a rule has one of directory, file, path or paths")
        for key in given[1:]:
            self.fault(
                (*at, key),
                f"stands beside {given[0]}",
                "a rule has only one of directory, file, path and paths; write two rules",
            )
        patterns: list[str] = []
        for key in given:
            for place, pattern in self._list_or_text(table, at, key):
                faults = pattern_faults(pattern)
                for what, hint in faults:
                    self.fault(place, what, hint)
                if not faults and key == given[0]:
                    patterns.append(pattern)
        kind = RuleKind.PATH if not given or given[0] == "paths" else RuleKind(given[0])
        return kind.value, patterns

    def _list_or_text(
        self, table: dict[str, Any], at: KeyPath, key: str
    ) -> Iterator[tuple[KeyPath, str]]:
        if key == "paths":
            yield from self._strings(table, at, key)
            if table[key] == []:
                self.fault((*at, key), "is empty", "name at least one path")
        else:
            text = self._typed(table, at, key, str)
            if text is not None:
                yield (*at, key), text

    def _paths(self, table: dict[str, Any], at: KeyPath, key: str) -> tuple[str, ...]:
        paths = []
        for place, path in self._strings(table, at, key):
            for what, hint in path_faults(path):
                self.fault(place, what, hint)
            paths.append(path)
        return tuple(paths)

    def _strings(
        self, table: dict[str, Any], at: KeyPath, key: str
    ) -> Iterator[tuple[KeyPath, str]]:
        for index, value in enumerate(self._typed(table, at, key, list) or ()):
            place = (*at, key, index)
            if isinstance(value, str):
                yield place, value
            else:
                self.fault(place, f"must hold strings only, not {_type_name(value)}")

    def _typed(self, table: dict[str, Any], at: KeyPath, key: str, wanted: type) -> Any:
        value = table.get(key)
        if value is None or type(value) is wanted:
            return value
        hint = ""
        if key == "mode" and type(value) is int:
            hint = 'write it in quotes, with a leading zero: "0700"'
        elif wanted is list and isinstance(value, str):
            hint = f'write {key} = ["..."]'
        elif key == "path" and isinstance(value, list):
            hint = "a list belongs to the key paths"
        what = f"must be {_TYPES[wanted]}, not {_type_name(value)}"
        self.fault((*at, key), what, hint)
        return None

    def _text(self, table: dict[str, Any], at: KeyPath, key: str) -> str | None:
        text: str | None = self._typed(table, at, key, str)
        if text is not None and not text.strip():
            self.fault((*at, key), "is empty")
        elif text is not None and not text.isprintable():
            self.fault((*at, key), "must be one line without control characters")
        return text

    def _choice(
        self, table: dict[str, Any], at: KeyPath, key: str, choices: tuple[str, ...]
    ) -> str | None:
        text = self._typed(table, at, key, str)
        if text is None:
            return None
        if text in choices:
            return str(text)
        near = _near(text, choices)
        known = (
            f"one of {', '.join(choices)}" if len(choices) > 1 else f"only {choices[0]} is known"
        )
        self.fault(
            (*at, key),
            f"{printable(text)!r} is no {key}",
            f"did you mean {near}?" if near else known,
        )
        return None

    def _account(self, table: dict[str, Any], at: KeyPath, key: str) -> str | None:
        name: str | None = self._typed(table, at, key, str)
        if name is not None and not _ACCOUNT.fullmatch(name):
            self.fault((*at, key), f"{printable(name)!r} is no {key} name")
        return name

    def _mode(self, table: dict[str, Any], at: KeyPath) -> int | None:
        text = self._typed(table, at, "mode", str)
        if text is None:
            return None
        if not _MODE.fullmatch(text):
            what = f"{printable(text)!r} is no mode"
            self.fault((*at, "mode"), what, 'three or four octal digits, as in "0700"')
            return None
        return int(text, 8)

    def _date(self, table: dict[str, Any], at: KeyPath, key: str) -> str | None:
        """A date of TOML, or one in quotes."""
        value = table.get(key)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        text = self._typed(table, at, key, str)
        if text is None:
            return None
        try:
            # Only the one form, whose order as text is that of time.
            if date.fromisoformat(text).isoformat() == text:
                return str(text)
        except ValueError:
            pass
        self.fault((*at, key), f"{printable(text)!r} is no date", 'write it as in "2027-01-31"')
        return None


def _near(text: str, known: tuple[str, ...]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(text, known, n=1)), None)


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), "a date or time")


def _syntax_fault(error: Exception, text: str) -> tuple[str, int]:
    """The parser's own words and the line; the last line where it names none."""
    if isinstance(error, RecursionError):
        return "nested too deeply", 1
    found = _AT_LINE.fullmatch(str(error))
    if found:
        return printable(found[1]), int(found[2])
    last = text.rstrip("\n").count("\n") + 1
    return printable(str(error).removesuffix(" (at end of document)")), last


def _broken_alone(what: str, line: str) -> bool:
    """Is the fault this line's own, so that the rest can be read without it?

    A bracket or quote left open above shows at a line that is sound by itself.
    """
    if not line.strip():
        return False
    try:
        tomllib.loads(line)
    except ValueError:
        return True
    except (OverflowError, RecursionError):
        return False
    return what.startswith("Cannot")
