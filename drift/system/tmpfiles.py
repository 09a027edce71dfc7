"""Read tmpfiles.d: what systemd makes at boot, and what it cleans (tmpfiles.d(5))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.system.rooted import Rooted


class Line(NamedTuple):
    """One line: `kind` is the type's letter, `modifiers` the signs behind it (`"+!"`).

    Fields that were `-` or left out are empty or None. `path` is normalised; it may be a glob
    where the type takes globs. `origin` names the file.
    """

    kind: str
    modifiers: str
    path: bytes
    mode: int | None
    user: str
    group: str
    age: str
    argument: bytes
    origin: str


def read_tmpfiles(rooted: Rooted, directories: Iterable[bytes]) -> tuple[list[Line], list[Skipped]]:
    """The lines of all `*.conf` files of the directories, in the order of their names."""
    lines: list[Line] = []
    skipped: list[Skipped] = []
    for directory in directories:
        try:
            names = rooted.names(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            skipped.append(Skipped(directory, error.strerror or "can't be read"))
            continue
        for name in names:
            if not name.endswith(b".conf"):
                continue
            path = directory + b"/" + name
            try:
                text = rooted.read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                skipped.append(Skipped(path, error.strerror or "can't be read"))
                continue
            lines += parse_tmpfiles(text, f"tmpfiles.d/{_text(name)}")
    return list(dict.fromkeys(lines)), skipped


def parse_tmpfiles(text: bytes, origin: str) -> Iterator[Line]:
    """The lines that can be understood; comments and broken ones are left out."""
    for row in text.split(b"\n"):
        line = _parse_line(row.strip(), origin)
        if line is not None:
            yield line


# What a system has everywhere; specifiers that tell machines or boots apart can't be known here.
_SPECIFIERS = {
    b"%": b"%",
    b"C": b"/var/cache",
    b"L": b"/var/log",
    b"S": b"/var/lib",
    b"T": b"/tmp",
    b"V": b"/var/tmp",
    b"g": b"root",
    b"G": b"0",
    b"h": b"/root",
    b"t": b"/run",
    b"u": b"root",
    b"U": b"0",
}
_FIELD = re.compile(rb'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)')
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"s": b" ",
    b"t": b"\t",
    b"v": b"\v",
}


def _parse_line(row: bytes, origin: str) -> Line | None:
    if not row or row.startswith(b"#"):
        return None
    fields: list[bytes] = []
    position = 0
    # The seventh field is the rest of the line, quotes and all.
    while len(fields) < 6 and (match := _FIELD.match(row, _skip_space(row, position))):
        fields.append(_field(match))
        position = match.end()
    if len(fields) < 2:
        return None
    argument = row[_skip_space(row, position) :] if len(fields) == 6 else b""
    kind, path = _text(fields[0]), expand(fields[1])
    if path is None or not path.startswith(b"/") or not kind[:1].isalpha():
        return None
    mode, user, group, age = ([*fields[2:], b"-", b"-", b"-", b"-"])[:4]
    return Line(
        kind=kind[0],
        modifiers=kind[1:],
        path=_normal(path),
        mode=_mode(mode),
        user=_owner(user),
        group=_owner(group),
        age="" if age == b"-" else _text(age),
        argument=b"" if argument == b"-" else argument,
        origin=origin,
    )


def expand(text: bytes) -> bytes | None:
    """`text` with its specifiers replaced; None if one differs between machines or boots."""
    parts: list[bytes] = []
    position = 0
    while (sign := text.find(b"%", position)) != -1:
        replacement = _SPECIFIERS.get(text[sign + 1 : sign + 2])
        if replacement is None:
            return None
        parts += [text[position:sign], replacement]
        position = sign + 2
    return b"".join([*parts, text[position:]])


def unescape(text: bytes) -> bytes:
    """C escapes decoded, as in the content that an `f` line writes."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if len(code) == 3:
        return bytes([int(code[1:], 16) if code[:1] == b"x" else int(code, 8) & 0xFF])
    return _ESCAPES.get(code, code)


def _field(match: re.Match[bytes]) -> bytes:
    quoted = match[1] if match[1] is not None else match[2]
    return unescape(match[3] if quoted is None else quoted)


def _skip_space(row: bytes, position: int) -> int:
    while position < len(row) and row[position : position + 1].isspace():
        position += 1
    return position


def _normal(path: bytes) -> bytes:
    return b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def _mode(field: bytes) -> int | None:
    # `~` masks the mode by the existing one, `:` sets it on creation only.
    digits = field.lstrip(b"~:")
    if not digits or digits.strip(b"01234567") or len(digits) > 6:
        return None
    return int(digits, 8)


def _owner(field: bytes) -> str:
    return "" if field == b"-" else _text(field.lstrip(b":"))


def _text(field: bytes) -> str:
    return field.decode(errors="surrogateescape")
