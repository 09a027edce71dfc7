"""Put text into a .nix file in the file's own layout; no Nix is understood here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.nixfile.syntax import SETS, bindings, source
from drift.render.nix_text import STEP, WIDTH, Item, comment, item_in_line, item_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Node


class Edit(NamedTuple):
    """Bytes `start` to `end` of the file become `new`."""

    start: int
    end: int
    new: bytes


class Layout:
    """How a file is indented, and how its lines end."""

    def __init__(self, text: bytes, root: Node) -> None:
        self.text = text
        self.newline = b"\r\n" if b"\r\n" in text else b"\n"
        self.step = _step(root, self) or b"  "

    def indent_at(self, offset: int) -> bytes:
        """What the line of `offset` begins with."""
        start = self.line_start(offset)
        end = start
        while end < len(self.text) and self.text[end : end + 1] in (b" ", b"\t"):
            end += 1
        return self.text[start:end]

    def line_start(self, offset: int) -> int:
        return self.text.rfind(b"\n", 0, offset) + 1

    def begins_line(self, node: Node) -> bool:
        return not self.text[self.line_start(node.start_byte) : node.start_byte].strip()

    def block(self, lines: Sequence[str], indent: bytes) -> list[bytes]:
        """Lines that are written in steps of two spaces, in this file's steps."""
        return [self._indented(line, indent) if line else b"" for line in lines]

    def _indented(self, line: str, indent: bytes) -> bytes:
        bare = line.lstrip(" ")
        steps = (len(line) - len(bare)) // len(STEP)
        return indent + self.step * steps + bare.encode(errors="surrogateescape")


def _step(root: Node, layout: Layout) -> bytes | None:
    """What one level of sets adds to the indentation, where most of the file agrees."""
    seen: dict[bytes, int] = {}
    nodes = [root]
    while nodes:
        node = nodes.pop()
        nodes += node.named_children
        if node.type not in SETS:
            continue
        outer = layout.indent_at(node.start_byte)
        for binding in bindings(node):
            inner = layout.indent_at(binding.start_byte)
            if layout.begins_line(binding) and inner.startswith(outer) and inner != outer:
                step = inner[len(outer) :]
                seen[step] = seen.get(step, 0) + 1
    return max(seen, key=lambda step: (seen[step], -len(step)), default=None)


def add_bindings(
    layout: Layout, node: Node, written: Sequence[str], after: Node | None = None
) -> Edit:
    """Bindings, as lines not indented yet, behind the binding `after` or at the end of a set."""
    old = [child for group in node.named_children for child in _parts(group)]
    outer = layout.indent_at(node.start_byte)
    own_lines = [child for child in old if layout.begins_line(child) and child.type == "binding"]
    inner = layout.indent_at(own_lines[-1].start_byte) if own_lines else outer + layout.step
    new = layout.block(written, inner)
    if after is not None and own_lines:
        end = layout.text.find(b"\n", after.end_byte)
        behind = layout.text[after.end_byte : end].strip()
        if end != -1 and (not behind or behind.startswith(b"#")):
            lines = b"".join(line + layout.newline for line in new)
            return Edit(end + 1, end + 1, lines)
    return _at_end(layout, node, old, new, inner, outer)


def spread(layout: Layout, node: Node) -> Edit:
    """A set that is on one line, over several."""
    outer = layout.indent_at(node.start_byte)
    old = [child for group in node.named_children for child in _parts(group)]
    return _at_end(layout, node, old, (), outer + layout.step, outer)


def _parts(node: Node) -> list[Node]:
    return node.named_children if node.type == "binding_set" else [node]


def add_elements(layout: Layout, node: Node, items: Sequence[Item]) -> Edit:
    """Elements at the end of a literal list, grouped under their reasons."""
    old = node.named_children
    elements = [child for child in old if child.type != "comment"]
    outer = layout.indent_at(node.start_byte)
    in_line = _in_line(layout, node, elements, old, items)
    if in_line is not None:
        return in_line
    own_lines = [child for child in old if layout.begins_line(child)]
    inner = layout.indent_at(own_lines[-1].start_byte) if own_lines else outer + layout.step
    return _at_end(
        layout, node, old, layout.block(element_lines(items, elements), inner), inner, outer
    )


def element_lines(items: Sequence[Item], like: Sequence[Node]) -> list[str]:
    """Items under comments with their reasons, sets on one line if those in `like` are."""
    sets = [node for node in like if node.type in SETS]
    flat = bool(sets) and all(node.start_point.row == node.end_point.row for node in sets)
    lines: list[str] = []
    said = ""
    for item in items:
        if item.comment != said:
            said = item.comment
            lines += comment(said, "")
        lines += [item_in_line(item.attributes)] if flat else item_lines(item, "")
    return lines


def _in_line(
    layout: Layout, node: Node, elements: Sequence[Node], old: Sequence[Node], items: Sequence[Item]
) -> Edit | None:
    """A list on one line stays on it while it fits."""
    if not elements or len(elements) != len(old) or node.start_point.row != node.end_point.row:
        return None
    added = b"".join(b" " + item_in_line(item.attributes).encode() for item in items)
    start = layout.line_start(node.start_byte)
    line = layout.text[start:].partition(b"\n")[0]
    if len(line) + len(added) > WIDTH or any(len(item.attributes) > 1 for item in items):
        return None
    return Edit(elements[-1].end_byte, elements[-1].end_byte, added)


def _at_end(
    layout: Layout,
    node: Node,
    old: Sequence[Node],
    new: Sequence[bytes],
    inner: bytes,
    outer: bytes,
) -> Edit:
    """`new` lines before the closing bracket of `node`, whose children are `old`."""
    closing = node.children[-1]
    lines = b"".join(line + layout.newline for line in new)
    if layout.begins_line(closing):
        at = layout.line_start(closing.start_byte)
        return Edit(at, at, lines)
    if node.start_point.row == node.end_point.row or not old:
        opening = next(child for child in node.children if child.type in ("{", "["))
        kept = b"".join(inner + source(child) + layout.newline for child in old)
        between = layout.newline + kept + lines + outer
        return Edit(opening.end_byte, closing.start_byte, between)
    return Edit(old[-1].end_byte, closing.start_byte, layout.newline + lines + outer)


def append_list(layout: Layout, node: Node, items: Sequence[Item]) -> Edit:
    """`++ [ ... ]` behind an expression that gives a list."""
    outer = layout.indent_at(node.start_byte)
    inner = layout.block(element_lines(items, ()), outer + layout.step)
    lines = [b" ++ [", *inner, outer + b"]"]
    return Edit(node.end_byte, node.end_byte, layout.newline.join(lines))


def apply(text: bytes, edit: Edit) -> bytes:
    return text[: edit.start] + edit.new + text[edit.end :]
