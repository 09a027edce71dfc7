"""Which paths of a store are somebody's, as a tree of names; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Role(StrEnum):
    """Why a path is in the store: with all below it, until another one begins there."""

    DECLARED = "declared"
    # A file of the configuration says this path, without persisting it: a password file, say.
    NAMED = "named"
    # Drift's records, other stores, what is mounted inside: it is not looked into.
    OWN = "own"


@dataclass(slots=True)
class Node:
    """A name of the tree; without a role it only leads to others."""

    role: Role | None = None
    children: dict[bytes, Node] = field(default_factory=dict)


class Fate(NamedTuple):
    """Whose a path is: `role` is that of `top`, None where it is nobody's.

    `top` is the topmost path that is wholly so; `leads` says that roles begin below `path`.
    """

    role: Role | None
    top: bytes
    leads: bool


class Expected:
    """Paths are absolute from the top of the store (`b"/etc/ssh"`), which has none itself."""

    def __init__(self) -> None:
        self.root = Node()

    def add(self, path: bytes, role: Role) -> None:
        """Later roles give way to earlier ones, and all that lies in what is OWN to that.

        What is named and only leads to something declared, or lies in it, stays as it is: a script
        that makes the parents of declared paths names them as well.
        """
        node = self.root
        for name in _names(path):
            if node.role is Role.OWN or (role is Role.NAMED and node.role is not None):
                return
            node = node.children.setdefault(name, Node())
        if node.role is not None or (role is Role.NAMED and _leads_to(node, Role.DECLARED)):
            return
        node.role = role
        if role is Role.OWN:
            node.children.clear()

    def fate(self, path: bytes) -> Fate:
        node = self.root
        role, top, reached = node.role, b"", b""
        for name in _names(path):
            reached += b"/" + name
            below = node.children.get(name)
            if below is None:
                return Fate(role, top or reached, leads=False)
            node = below
            if node.role is not None:
                role, top = node.role, reached
        return Fate(role, top or reached, leads=bool(node.children))

    def below(self, path: bytes, role: Role) -> Iterator[bytes]:
        """The paths of this role at or below `path`, sorted."""
        node = self.root
        for name in _names(path):
            if name not in node.children:
                return
            node = node.children[name]
        waiting = [(path if path != b"/" else b"", node)]
        found = []
        while waiting:
            place, node = waiting.pop()
            if node.role is role:
                found.append(place)
            waiting += [(place + b"/" + name, child) for name, child in node.children.items()]
        yield from sorted(found, key=lambda place: place.split(b"/"))


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]


def _leads_to(node: Node, role: Role) -> bool:
    waiting = list(node.children.values())
    while waiting:
        child = waiting.pop()
        if child.role is role:
            return True
        waiting += child.children.values()
    return False
