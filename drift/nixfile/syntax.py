"""Nix syntax trees, and the values in them that need no evaluation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import tree_sitter_nix
from tree_sitter import Language, Node, Parser

from drift.errors import DriftError
from drift.names import exact, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PARSER = Parser(Language(tree_sitter_nix.language()))

SETS = ("attrset_expression", "rec_attrset_expression")
# let, rec and default arguments make long chains only in files that nobody wrote.
_DEPTH = 20


class Scope(NamedTuple):
    """What names stand for: an expression and the scope that it is in."""

    names: Mapping[bytes, tuple[Node, Scope]]
    outer: Scope | None = None

    def find(self, name: bytes) -> tuple[Node, Scope] | None:
        scope: Scope | None = self
        while scope is not None:
            if (found := scope.names.get(name)) is not None:
                return found
            scope = scope.outer
        return None


def parse(text: bytes) -> Node:
    """The expression of a whole file; DriftError names the line where the file can't be read."""
    root = _PARSER.parse(text).root_node
    if root.has_error:
        raise DriftError(
            f"line {line_of(_first_error(root))} is no Nix that drift can read",
            "see what nix-instantiate --parse says about it",
        )
    expression = root.child_by_field_name("expression")
    if expression is None:
        raise DriftError("the file holds no expression", "give a NixOS module")
    return expression


def _first_error(node: Node) -> Node:
    for child in node.children:
        if child.is_error or child.is_missing:
            return child
        if child.has_error:
            return _first_error(child)
    return node


def line_of(node: Node) -> int:
    return node.start_point.row + 1


def source(node: Node) -> bytes:
    return node.text or b""


def excerpt(node: Node, width: int) -> str:
    """The beginning of an expression, for a message."""
    text = printable(" ".join(exact(source(node)).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def field(node: Node, name: str) -> Node:
    """A child that the grammar promises."""
    child = node.child_by_field_name(name)
    if child is None:
        raise DriftError(f"line {line_of(node)} is no Nix that drift can read")
    return child


def bindings(node: Node) -> Iterator[Node]:
    """The bindings and inherits of a set or a let."""
    for child in node.named_children:
        if child.type == "binding_set":
            yield from (one for one in child.named_children if one.type != "comment")


def inner_scope(node: Node, scope: Scope) -> Scope:
    """The scope inside a let or a recursive set: only names bound alone, not by longer paths."""
    names: dict[bytes, tuple[Node, Scope]] = {}
    inner = Scope(names, scope)
    for binding in bindings(node):
        if binding.type != "binding":
            continue
        keys = field(binding, "attrpath").named_children
        if len(keys) == 1 and (name := key_of(keys[0], scope)) is not None:
            names[name] = (field(binding, "expression"), inner)
    return inner


def key_of(node: Node, scope: Scope) -> bytes | None:
    """The name that a part of an attribute path stands for."""
    match node.type:
        case "identifier":
            return source(node)
        case "interpolation":
            return string_value(field(node, "expression"), scope)
        case _:
            return string_value(node, scope)


def string_value(node: Node, scope: Scope, depth: int = 0) -> bytes | None:
    """The bytes of an expression that is plainly a string; None where it takes evaluation."""
    if depth > _DEPTH:
        return None
    match node.type:
        case "string_expression" | "indented_string_expression":
            return _joined(node, scope, depth)
        case "parenthesized_expression":
            return string_value(field(node, "expression"), scope, depth + 1)
        case "variable_expression":
            found = scope.find(source(node))
            return None if found is None else string_value(*found, depth + 1)
        case "binary_expression" if source(field(node, "operator")) == b"+":
            left = string_value(field(node, "left"), scope, depth + 1)
            right = string_value(field(node, "right"), scope, depth + 1)
            return None if left is None or right is None else left + right
        case "apply_expression" if source(field(node, "function")) == b"builtins.fromJSON":
            said = string_value(field(node, "argument"), scope, depth + 1)
            return None if said is None else _json_string(said)
        case _:
            return None


_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def _joined(node: Node, scope: Scope, depth: int) -> bytes | None:
    indented = node.type == "indented_string_expression"
    if indented and b"\n" in source(node):
        # Its indentation would have to be taken off first.
        return None
    parts = []
    for child in node.children[1:-1]:
        text = source(child)
        if child.type == "interpolation":
            value = string_value(field(child, "expression"), scope, depth + 1)
            if value is None:
                return None
            parts.append(value)
        elif child.type == "dollar_escape":
            # The dollar itself comes next.
            continue
        elif child.type == "escape_sequence" and not indented:
            parts.append(_ESCAPED.get(text[1:], text[1:]))
        elif child.type == "escape_sequence" and text.startswith(b"''\\"):
            parts.append(_ESCAPED.get(text[3:], text[3:]))
        elif child.type == "escape_sequence":
            parts.append(b"''" if text == b"'''" else text[2:])
        else:
            # As Nix reads line ends.
            parts.append(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    return b"".join(parts)


def _json_string(text: bytes) -> bytes | None:
    try:
        value = json.loads(text)
        return value.encode() if isinstance(value, str) else None
    except ValueError:
        return None


class Call(NamedTuple):
    """A function by the last part of its name, and the arguments it is given."""

    name: bytes
    arguments: list[Node]


def call_of(node: Node) -> Call:
    """`lib.mkIf a b` as `mkIf` and its arguments; the name is empty for what has none."""
    arguments: list[Node] = []
    while node.type == "apply_expression":
        arguments.append(field(node, "argument"))
        node = field(node, "function")
    if node.type == "select_expression":
        return Call(source(field(node, "attrpath").named_children[-1]), arguments[::-1])
    name = source(node) if node.type == "variable_expression" else b""
    return Call(name, arguments[::-1])
