"""What a list expression holds, as far as it is plain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.nixfile.syntax import (
    SETS,
    Scope,
    bindings,
    call_of,
    field,
    inner_scope,
    source,
    string_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node


class Element(NamedTuple):
    """An element of a list, or what stands for several; `path` is None where it can't be told."""

    node: Node
    path: bytes | None


# Functions of nixpkgs that hand on one of their arguments, by its position.
HANDED_ON = {
    b"mkDefault": 0,
    b"mkForce": 0,
    b"mkBefore": 0,
    b"mkAfter": 0,
    b"mkOverride": 1,
    b"mkOrder": 1,
    b"mkIf": 1,
    b"optionalAttrs": 1,
    b"optionals": 1,
}


def elements_of(node: Node, scope: Scope, absolute: bool, depth: int) -> Iterator[Element]:
    """What a list expression holds, branches and all, as far as it is plain."""

    def again(child: Node, within: Scope = scope) -> Iterator[Element]:
        return elements_of(child, within, absolute, depth + 1)

    match node.type:
        case _ if depth > 20:
            yield Element(node, None)
        case "list_expression":
            for child in node.named_children:
                if child.type != "comment":
                    yield Element(child, _element_path(child, scope, absolute, depth))
        case "parenthesized_expression":
            yield from again(field(node, "expression"))
        case "with_expression" | "assert_expression":
            yield from again(field(node, "body"))
        case "let_expression":
            yield from again(field(node, "body"), inner_scope(node, scope))
        case "if_expression":
            yield from again(field(node, "consequence"))
            yield from again(field(node, "alternative"))
        case "binary_expression" if source(field(node, "operator")) == b"++":
            yield from again(field(node, "left"))
            yield from again(field(node, "right"))
        case "variable_expression" if (found := scope.find(source(node))) is not None:
            yield from again(*found)
        case "apply_expression":
            name, arguments = call_of(node)
            position = HANDED_ON.get(name)
            if position is not None and len(arguments) == position + 1:
                yield from again(arguments[position])
            elif name == b"mkMerge" and len(arguments) == 1:
                for child in operands(arguments[0]):
                    yield from again(child)
            elif name == b"optional" and len(arguments) == 2:
                path = _element_path(arguments[1], scope, absolute, depth)
                yield Element(arguments[1], path)
            else:
                yield Element(node, None)
        case _:
            yield Element(node, None)


def _element_path(node: Node, scope: Scope, absolute: bool, depth: int) -> bytes | None:
    """The path of an element: a string, or a set with `directory` or `file`."""
    if depth > 20:
        return None
    if node.type == "parenthesized_expression":
        return _element_path(field(node, "expression"), scope, absolute, depth + 1)
    if node.type == "variable_expression":
        found = scope.find(source(node))
        return None if found is None else _element_path(*found, absolute, depth + 1)
    if node.type == "apply_expression":
        name, arguments = call_of(node)
        position = HANDED_ON.get(name)
        if position is not None and len(arguments) == position + 1:
            return _element_path(arguments[position], scope, absolute, depth + 1)
    if node.type in SETS:
        for binding in bindings(node):
            if binding.type == "binding" and source(field(binding, "attrpath")) in (
                b"directory",
                b"file",
            ):
                return _clean(string_value(field(binding, "expression"), scope), absolute)
        return None
    return _clean(string_value(node, scope), absolute)


def _clean(path: bytes | None, absolute: bool) -> bytes | None:
    """As the modules join paths: without empty components."""
    if path is None:
        return None
    joined = b"/".join(part for part in path.split(b"/") if part)
    return b"/" + joined if absolute else joined


def operands(node: Node) -> Iterator[Node]:
    """The elements of literal lists that are joined, and each other operand itself."""
    match node.type:
        case "parenthesized_expression":
            yield from operands(field(node, "expression"))
        case "list_expression":
            yield from (child for child in node.named_children if child.type != "comment")
        case "binary_expression" if source(field(node, "operator")) == b"++":
            yield from operands(field(node, "left"))
            yield from operands(field(node, "right"))
        case _:
            yield node
