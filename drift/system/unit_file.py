"""Read the systemd units of a tree of /etc files, drop-ins included (systemd.syntax(7))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drift.system.rooted import Rooted


class Unit(NamedTuple):
    """One unit: `settings` hold each key's assignments in order, an empty one clears those before.

    `instance` is the text behind the @ of an instance, `*` for a template itself and None for
    any other unit.
    """

    name: str
    instance: str | None
    settings: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def prefix(self) -> str:
        """The name without its type and instance."""
        return self.name.rpartition(".")[0].partition("@")[0]

    @property
    def description(self) -> str:
        return self.last("Unit", "Description")

    def last(self, section: str, key: str) -> str:
        """What a key that has one value is set to; empty if it isn't."""
        values = self.settings.get((section, key), ())
        return expand(values[-1], self) or "" if values else ""

    def words(self, section: str, key: str) -> list[str]:
        """The words of a key that takes a list; those with specifiers of the boot are left out."""
        found = [word for value in self.settings.get((section, key), ()) for word in split(value)]
        return [known for word in found if (known := expand(word, self)) is not None]

    def flag(self, section: str, key: str) -> bool:
        return self.last(section, key).lower() in ("1", "yes", "y", "true", "t", "on")


def read_units(
    rooted: Rooted,
    directory: bytes,
    wanted: re.Pattern[bytes],
    holding: re.Pattern[bytes] | None = None,
) -> tuple[list[Unit], list[Skipped]]:
    """The units of a directory whose whole names match, sorted; aliases of others left out.

    With `holding`, units in whose text it is not found are passed over: most have nothing to say,
    and finding that out is quicker than parsing them.
    """
    units: list[Unit] = []
    skipped: list[Skipped] = []
    try:
        names = rooted.names(directory)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Skipped(directory, error.strerror or "can't be read")]
    present = set(names)
    for name in names:
        if not wanted.fullmatch(name) or _is_alias(rooted, directory, name, present):
            continue
        paths = [directory + b"/" + name]
        paths += _drop_ins(rooted, directory, name, present)
        texts = []
        for path in paths:
            try:
                texts.append(rooted.read(path))
            except FileNotFoundError:
                # A link to a unit that isn't installed, which systemd passes over as well.
                continue
            except OSError as error:
                skipped.append(Skipped(path, error.strerror or "can't be read"))
        if holding is not None and not any(holding.search(text) for text in texts):
            continue
        if texts:
            units.append(parse_unit(_text(name), *texts))
    return units, skipped


def parse_unit(name: str, *texts: bytes) -> Unit:
    """A unit of the file `name` and its drop-ins, in that order; what isn't `key=value` is left out."""
    settings: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in texts:
        section = ""
        for line in _lines(_text(text)):
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
                continue
            key, equals, value = line.partition("=")
            if not equals:
                continue
            place = section, key.strip()
            value = value.strip()
            settings[place] = (*settings.get(place, ()), value) if value else ()
    at = name.partition("@")
    instance = (at[2].rpartition(".")[0] or "*") if at[1] else None
    return Unit(name, instance, settings)


def split(value: str) -> list[str]:
    """The words of a value, quotes and C escapes decoded as systemd does."""
    return [_unquoted(match) for match in _WORD.finditer(value)]


def expand(text: str, unit: Unit) -> str | None:
    """`text` with its specifiers replaced; None if one is known only to the running machine.

    The instance of a template is `*`.
    """

    def replaced(match: re.Match[str]) -> str:
        known = {
            "%": "%",
            "i": unit.instance or "",
            "I": unescape(unit.instance or ""),
            "j": unit.prefix.rpartition("-")[2],
            "J": unescape(unit.prefix.rpartition("-")[2]),
            "n": unit.name,
            "N": unit.name.rpartition(".")[0],
            "p": unit.prefix,
            "P": unescape(unit.prefix),
            **_DIRECTORIES,
        }
        return known[match[1]]

    if _UNKNOWN.search(text):
        return None
    return _SPECIFIER.sub(replaced, text)


def unescape(name: str) -> str:
    r"""The path or text that a unit's name stands for: `-` is a slash, `\x2d` a byte."""
    text = name.replace("-", "/").encode(errors="surrogateescape")
    return _text(_HEX.sub(lambda match: bytes([int(match[1], 16)]), text))


_DIRECTORIES = {
    "C": "/var/cache",
    "E": "/etc",
    "L": "/var/log",
    "S": "/var/lib",
    "T": "/tmp",
    "V": "/var/tmp",
    "g": "root",
    "G": "0",
    "h": "/root",
    "t": "/run",
    "u": "root",
    "U": "0",
}
_SPECIFIER = re.compile(r"%([%iIjJnNpPCELSTVgGhtuU])")
_UNKNOWN = re.compile(r"(?<!%)(?:%%)*%(?![%iIjJnNpPCELSTVgGhtuU])")
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'])+""", re.DOTALL)
_PART = re.compile(
    r""""(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<plain>(?:\\.|[^\s"'])+)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "s": " "}
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")


def _unquoted(word: re.Match[str]) -> str:
    parts = (match[match.lastgroup or 0] for match in _PART.finditer(word[0]))
    return _ESCAPE.sub(_unescaped, "".join(parts))


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 3:
        number = int(code[1:], 16) if code[0] == "x" else int(code, 8) & 0xFF
        return bytes([number]).decode(errors="surrogateescape")
    return _ESCAPES.get(code, code)


def _lines(text: str) -> list[str]:
    """The lines without comments, those that end in a backslash joined with the next."""
    joined: list[str] = []
    pending = ""
    for line in text.split("\n"):
        if line.lstrip().startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        joined.append((pending + line).strip())
        pending = ""
    joined.append(pending.strip())
    return [line for line in joined if line]


def _is_alias(rooted: Rooted, directory: bytes, name: bytes, present: set[bytes]) -> bool:
    try:
        real = rooted.resolve(directory + b"/" + name).rpartition(b"/")[2]
    except OSError:
        # The reading says why.
        return False
    return real != name and real in present and b"@" not in name


def _drop_ins(rooted: Rooted, directory: bytes, name: bytes, present: set[bytes]) -> list[bytes]:
    prefix, at, rest = name.partition(b"@")
    owners = [name]
    if at and not rest.startswith(b"."):
        owners.insert(0, prefix + b"@." + rest.rpartition(b".")[2])
    found = []
    for owner in owners:
        if owner + b".d" not in present:
            continue
        try:
            names = rooted.names(directory + b"/" + owner + b".d")
        except OSError:
            continue
        found += [
            directory + b"/" + owner + b".d/" + file for file in names if file.endswith(b".conf")
        ]
    return found


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
