"""Find the line of every table and key of a TOML file; no I/O.

The standard library's TOML parser knows no lines once it has read a file, and tree-sitter knows
no values: a key's path (`("rule", 3, "verdict")`) leads from the one to the other. A sound file
is not parsed for its lines at all.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node, Parser

KeyPath = tuple[str | int, ...]

_HEADER = re.compile(rb"^[ \t]*\[\[[ \t]*rule[ \t]*\]\][ \t]*(?:#.*)?\r?$", re.MULTILINE)


class Lines:
    """The lines of one file, counted from 1; what has no line of its own has its table's."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._found: dict[KeyPath, int] | None = None

    def headers(self, count: int) -> list[int]:
        """The lines of the `[[rule]]` headers in their order; `count` are expected."""
        found = self._plain_headers()
        return found if len(found) == count else self._parsed_headers()

    def _plain_headers(self) -> list[int]:
        """The lines that can be nothing but headers, though others may be headers as well."""
        if b'"""' in self._text or b"'''" in self._text:
            return []
        lines: list[int] = []
        line, last = 1, 0
        for header in _HEADER.finditer(self._text):
            line += self._text.count(b"\n", last, header.start())
            last = header.start()
            lines.append(line)
        return lines

    def _parsed_headers(self) -> list[int]:
        return [
            _line(node)
            for node in _parse(self._text).named_children
            if node.type == "table_array_element" and _key(node.named_children[:1]) == ("rule",)
        ]

    def line(self, path: KeyPath) -> int:
        if self._found is None:
            self._found = dict(reversed(list(_walk(_parse(self._text)))))
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)


def _parse(text: bytes) -> Node:
    if not _parsers:
        import tree_sitter_toml
        from tree_sitter import Language, Parser

        _parsers.append(Parser(Language(tree_sitter_toml.language())))
    return _parsers[0].parse(text).root_node


_parsers: list[Parser] = []


def _walk(document: Node) -> Iterator[tuple[KeyPath, int]]:
    """Yield every key's path and line; the first of a path is where it was opened."""
    lengths: dict[KeyPath, int] = {}
    for node in document.named_children:
        if node.type == "pair":
            yield from _pair(node, ())
        elif node.type in ("table", "table_array_element"):
            name = _key(node.named_children[:1])
            if not name:
                continue
            path: KeyPath = ()
            for part in name[:-1]:
                path = (*path, part)
                if path in lengths:
                    path = (*path, lengths[path] - 1)
            path = (*path, name[-1])
            if node.type == "table_array_element":
                yield path, _line(node)
                lengths[path] = lengths.get(path, 0) + 1
                path = (*path, lengths[path] - 1)
            yield path, _line(node)
            for pair in node.named_children[1:]:
                if pair.type == "pair":
                    yield from _pair(pair, path)


def _pair(pair: Node, table: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    waiting: list[tuple[Node, KeyPath]] = [(pair, table)]
    while waiting:
        node, path = waiting.pop()
        if node.type == "pair":
            name = _key(node.named_children[:1])
            if not name:
                continue
            for part in name:
                path = (*path, part)
                yield path, _line(node)
            waiting += [(child, path) for child in node.named_children[1:]]
        elif node.type == "inline_table":
            waiting += [(child, path) for child in node.named_children]
        elif node.type == "array":
            values = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(values):
                yield (*path, index), _line(child)
                waiting.append((child, (*path, index)))


def _key(nodes: list[Node]) -> tuple[str, ...]:
    """The parts of a bare, quoted or dotted key; empty where the parser gave up."""
    text = (nodes[0].text if nodes else None) or b""
    try:
        table = tomllib.loads(text.decode() + " = 0")
    except ValueError:
        return ()
    parts: list[str] = []
    value: object = table
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        parts.append(name)
    return tuple(parts)


def _line(node: Node) -> int:
    return int(node.start_point[0]) + 1
