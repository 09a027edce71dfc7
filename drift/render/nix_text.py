"""Write Nix as nixfmt (RFC 166) lays it out: literals, sets, lists, comments."""

from __future__ import annotations

import json
import re
import textwrap
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    # A value is Nix already; a nested mapping is a set.
    Attributes = Mapping[str, str | Mapping[str, str]]

WIDTH = 100
STEP = "  "


class Item(NamedTuple):
    """One element of a list: its first attribute is the path, alone it is a plain string."""

    service: str
    comment: str
    attributes: Attributes


def string(value: bytes) -> str:
    """A string literal that evaluates to exactly these bytes (NUL, which Nix lacks, is refused).

    Characters that a terminal obeys or an editor hides are written as JSON escapes, as Nix has
    none of its own; bytes that are not UTF-8 stay themselves, as surrogates of surrogateescape.
    """
    if b"\0" in value:
        raise ValueError("Nix strings can't hold NUL")
    parts = []
    text = value.decode(errors="surrogateescape")
    for hidden, run in groupby(text, _is_hidden):
        characters = "".join(run)
        if hidden:
            parts.append("${builtins.fromJSON ''" + json.dumps(characters) + "''}")
        else:
            parts.append(characters.translate(_ESCAPES).replace("${", "\\${"))
    # A lone `$` at the end of a run would join the `${` of the next one as an escape.
    joined = "".join(
        part[:-1] + "\\$" if part.endswith("$") and following.startswith("${") else part
        for part, following in pairwise([*parts, ""])
    )
    return f'"{joined}"'


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _is_hidden(character: str) -> bool:
    if character in "\n\r\t" or "\udc80" <= character <= "\udcff":
        return False
    return not character.isprintable()


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_KEYWORDS = frozenset(("assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"))


def attribute_name(name: str) -> str:
    """`name` as an attribute, quoted where Nix needs it."""
    if _IDENTIFIER.fullmatch(name) and name not in _KEYWORDS:
        return name
    return string(name.encode(errors="surrogateescape"))


def comment(text: str, indent: str) -> list[str]:
    """`text` as comment lines that nothing in it can end early."""
    width = WIDTH - len(indent) - len("# ")
    lines = textwrap.wrap(plain(text), width, break_long_words=False, break_on_hyphens=False)
    return [f"{indent}# {line}" for line in lines]


def plain(text: str) -> str:
    """`text` on one line, with whatever is not printable escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )


def item_lines(item: Item, indent: str) -> list[str]:
    """The element over as many lines as nixfmt gives it: sets with several attributes expand."""
    path = next(iter(item.attributes.values()))
    if len(item.attributes) == 1:
        return [f"{indent}{path}"]
    return [f"{indent}{{", *_attribute_lines(item.attributes, indent + STEP), f"{indent}}}"]


def item_in_line(attributes: Attributes) -> str:
    """The element on a single line."""
    path = next(iter(attributes.values()))
    if len(attributes) == 1 and isinstance(path, str):
        return path
    return _set_in_line(attributes)


def _set_in_line(attributes: Attributes) -> str:
    fields = (
        f"{name} = {value if isinstance(value, str) else _set_in_line(value)};"
        for name, value in attributes.items()
    )
    return "{ " + " ".join(fields) + " }"


def list_lines(name: str, items: Sequence[Item], remarks: Sequence[str], indent: str) -> list[str]:
    """`name = [ ... ];`: items under their comments, services apart, `remarks` last.

    `remarks` are comment lines already, indented as the elements are. Nothing for an empty list.
    """
    if not items and not remarks:
        return []
    inner = indent + STEP
    blocks: list[list[str]] = []
    for _, same_service in groupby(items, lambda item: item.service):
        block: list[str] = []
        for said, same_reason in groupby(same_service, lambda item: item.comment):
            block += comment(said, inner)
            for item in same_reason:
                block += item_lines(item, inner)
        blocks.append(block)
    if remarks:
        blocks.append(list(remarks))
    return [f"{indent}{name} = [", *_apart(blocks), f"{indent}];"]


def _apart(blocks: Iterable[list[str]]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        if lines:
            lines.append("")
        lines += block
    return lines


def _attribute_lines(attributes: Attributes, indent: str) -> list[str]:
    lines = []
    for name, value in attributes.items():
        if isinstance(value, str):
            lines.append(f"{indent}{name} = {value};")
        else:
            lines += [
                f"{indent}{name} = {{",
                *_attribute_lines(value, indent + STEP),
                f"{indent}}};",
            ]
    return lines
