"""Compile patterns to one trie over path components, of lists and dicts that a cache can hold.

A trie is `[absolute, home]`, the roots of the absolute patterns and of those below every home.
Thousands of nodes lie in a cache and a walk stands on few, so what is below a node may be packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drift.rulebook.packing import pack, plain, unpack
from drift.rulebook.patterns import is_glob, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.rulebook.rule import Row

Node = list[Any]
Trie = list[Node]

# The fields of a node. A node is a plain list because marshal knows no classes.
NAMES = 0
"""dict of literal component -> node, packed until `open_names`; or None, which loads quickly"""
GLOBS = 1
"""dict of component with `*` or `?` -> node, or None"""
DEEP = 2
"""the node that `**` leads to, which also stays where it is; or None"""
AS_DIRECTORY, AS_ENTRY, AS_ANY = 3, 4, 5
"""rank of the rule that decides a directory, a non-directory or a symlink here; or NO_RULE"""
FROM_FILES = 6
"""does any rule of a file, not of a unit, end here or below?"""

NO_RULE = -1
_WORTH_PACKING = 2048
_INDEX_BITS = 24
FROM_FILE = 2 << _INDEX_BITS
"""The rank from which on a rule comes from a file, not from a unit."""


def rank(layer: int, kind: str, index: int) -> int:
    """Order rules of one pattern: the layer, then `file` and `directory` before `path`, then place."""
    return (layer * 2 + (kind != "path")) << _INDEX_BITS | index


def index(rank: int) -> int:
    """The rule's place among all rules."""
    return rank & ((1 << _INDEX_BITS) - 1)


def new_node() -> Node:
    return [None, None, None, NO_RULE, NO_RULE, NO_RULE, False]


def open_names(node: Node) -> Node:
    """Unpack the node's own names, which changes nothing that it says; give the node."""
    if type(node[NAMES]) is bytes:
        node[NAMES] = unpack(node[NAMES])
    return node


def packed(node: Node) -> Node:
    """The node with all names packed below which there is much; RecursionError where that is too deep."""
    names, globs, deep, *rest = node
    if isinstance(names, dict):
        names = {name: packed(child) for name, child in names.items()}
        if len(plain(names)) >= _WORTH_PACKING:
            names = pack(names)
    if globs is not None:
        globs = {name: packed(child) for name, child in globs.items()}
    return [names, globs, None if deep is None else packed(deep), *rest]


def grow(trie: Trie, rows: Iterable[tuple[int, Row]]) -> Trie:
    """Give a trie with the rules `rows` added, each with its place; `trie` itself stays as it is."""
    # Nodes on the way to a new rule are copied once, all others are shared.
    own: set[int] = set()
    grown = [_copy(root, own) for root in trie]
    for place, row in rows:
        pattern, kind, layer = row[6], row[7], row[15]
        _add(grown, own, pattern, kind, rank(layer, kind, place))
    return grown


def components(pattern: str, kind: str) -> tuple[bool, list[bytes]]:
    """Is it below a home, and its components, without those that match nothing new."""
    home, given = split(pattern)
    kept: list[bytes] = []
    for component in given:
        if component != b"**" or kept[-1:] != [b"**"]:
            kept.append(component)
    # A directory's rule speaks for all below, so a `**` at the end only blurs where it starts.
    if kept[-1] == b"**" and kind != "file":
        kept.pop()
    return home, kept


def _add(trie: Trie, own: set[int], pattern: str, kind: str, rank: int) -> None:
    home, names = components(pattern, kind)
    node = trie[home]
    node[FROM_FILES] |= rank >= FROM_FILE
    for name in names:
        if name == b"**":
            child = node[DEEP] = _copy(node[DEEP], own)
        else:
            which = GLOBS if is_glob(name) else NAMES
            if node[which] is None:
                node[which] = {}
            children = node[which]
            child = children[name] = _copy(children.get(name), own)
        node = child
        node[FROM_FILES] |= rank >= FROM_FILE
    if kind != "file":
        node[AS_DIRECTORY] = max(node[AS_DIRECTORY], rank)
    if kind != "directory":
        node[AS_ENTRY] = max(node[AS_ENTRY], rank)
    node[AS_ANY] = max(node[AS_ANY], rank)


def _copy(node: Node | None, own: set[int]) -> Node:
    if node is None:
        node = new_node()
    elif id(node) not in own:
        names, globs, *rest = open_names(node)
        node = [names and names.copy(), globs and globs.copy(), *rest]
    own.add(id(node))
    return node
