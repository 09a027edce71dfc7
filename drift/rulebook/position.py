"""A place in the tree while it is walked, and the rule that decides there; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.model import Kind
from drift.rulebook.patterns import DEEP as DEEP_WEIGHT
from drift.rulebook.patterns import END, LITERAL, compile_glob, weight
from drift.rulebook.trie import (
    AS_ANY,
    AS_DIRECTORY,
    AS_ENTRY,
    DEEP,
    FROM_FILE,
    FROM_FILES,
    GLOBS,
    NAMES,
    NO_RULE,
    Node,
    index,
    open_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from drift.rulebook.rule import Rule

# A pattern's specificity is one byte a component (`weight`), so that bytes compare as wanted:
# from the left. These are the components that end it or have no name in the pattern.
_LITERAL = bytes([LITERAL])
_ANY_NAME = bytes([weight(b"*")])
_DEEP = bytes([DEEP_WEIGHT])
_END = bytes([END])

Active = tuple[Node, bytes, bool]
"""A node that the walk stands on, how specific the way to it was, and does `**` keep it here?"""


class Ground:
    """What all positions of one book share: `rule` gives the rule at a place of the book.

    `home` is the root of the patterns below a home.
    """

    def __init__(self, rule: Callable[[int], Rule], home: Node) -> None:
        self.rule = rule
        self.home = home
        self._finals: dict[tuple[int, int], Position] = {}

    def start(self, roots: Iterable[Node]) -> Position:
        """Stand at `/`, at the roots of all tries that begin there."""
        active: list[Active] = []
        for root in roots:
            _activate(active, root, b"")
        return self.position(active, NO_RULE, 0, 0)

    def position(self, active: list[Active], rank: int, depth: int, level: int) -> Position:
        least = FROM_FILE if rank >= FROM_FILE else 0
        left = tuple(
            way
            for way in {(id(node), how): (node, how, stays) for node, how, stays in active}.values()
            if (way[0][FROM_FILES] or not least)
            and (way[0][NAMES] or way[0][GLOBS] or (way[2] and way[0][AS_ENTRY] != NO_RULE))
        )
        if left:
            return Position(self, left, rank, depth, level)
        final = self._finals.get((rank, depth))
        if final is None:
            final = self._finals[rank, depth] = Position(self, (), rank, depth, level)
        return final


class Position:
    """A directory of the tree during a walk, with all that is decided about it and below.

    `rule` decides the directory and all below it unless something more specific does; `depth` is
    how many components its anchor has. `final`: nothing below is decided by another rule.
    `decides_entries` is False where no non-directory right here is decided by its name.
    """

    __slots__ = (
        "_active",
        "_any_name",
        "_else",
        "_ends",
        "_ground",
        "_inherited",
        "_known",
        "_level",
        "_names",
        "_rank",
        "_starts",
        "decides_entries",
        "depth",
        "final",
        "rule",
    )

    def __init__(
        self, ground: Ground, active: tuple[Active, ...], rank: int, depth: int, level: int
    ) -> None:
        self.rule = None if rank == NO_RULE else ground.rule(index(rank))
        self.depth = depth
        self.final = not active
        for node, _, _ in active:
            open_names(node)
        self._ground = ground
        self._active = active
        self._rank = rank
        self._level = level
        self._inherited = (self.rule, depth)
        self._known: dict[bytes, Position] = {}
        self._else: Position | None = None
        self.decides_entries = self._decides_entries()
        # Most names are none that a pattern has: these dismiss them, without saying which do match.
        self._names: Container[bytes] = (active[0][0][NAMES] if active else None) or ()
        if len(active) > 1:
            self._names = {name for node, _, _ in active for name in node[NAMES] or ()}
        globs = [compile_glob(glob) for node, _, _ in active for glob in node[GLOBS] or ()]
        self._starts = tuple({glob.head for glob in globs if glob.head})
        self._ends = tuple({glob.tail for glob in globs if glob.tail and not glob.head})
        self._any_name = any(
            stays and node[AS_ENTRY] != NO_RULE for node, _, stays in active
        ) or any(not glob.head and not glob.tail for glob in globs)

    def enter(self, name: bytes) -> Position:
        """The position in the subdirectory `name`."""
        if self.final:
            return self
        known = self._known.get(name)
        if known is not None:
            return known
        if self._else is not None and not (
            name in self._names
            or name.startswith(self._starts)
            or name.endswith(self._ends)
            or self._any_name
        ):
            return self._else
        named = list(self._named(name))
        if self._else is not None and not named:
            return self._else
        active = [way for way in self._active if way[2]]
        best = (self._rank >= FROM_FILE, b"", self._rank)
        for node, how in named:
            _activate(active, node, how)
            found = node[AS_DIRECTORY]
            if found != NO_RULE:
                best = max(best, (found >= FROM_FILE, how + _END, found))
        level = self._level + 1
        depth = level if best[1] else self.depth
        position = self._ground.position(active, best[2], depth, level)
        if named:
            self._known[name] = position
        else:
            self._else = position
        return position

    def entry(self, name: bytes, kind: Kind) -> tuple[Rule | None, int]:
        """The rule for the non-directory `name` here, and how many components its anchor has."""
        if not self.decides_entries or not (
            name in self._names
            or name.startswith(self._starts)
            or name.endswith(self._ends)
            or self._any_name
        ):
            return self._inherited
        # What is at a directory rule's own path may be a link to where the directory really is.
        decides = AS_ANY if kind is Kind.SYMLINK else AS_ENTRY
        start = best = (self._rank >= FROM_FILE, b"", self._rank)
        for node, how in self._named(name):
            found = node[decides]
            if found != NO_RULE:
                best = max(best, (found >= FROM_FILE, how + _END, found))
            # Here `**` matches no component at all.
            deep = node[DEEP]
            if deep is not None and deep[decides] != NO_RULE:
                found = deep[decides]
                best = max(best, (found >= FROM_FILE, how + _DEEP + _END, found))
        for node, how, stays in self._active:
            if stays and node[decides] != NO_RULE:
                found = node[decides]
                best = max(best, (found >= FROM_FILE, how + _END, found))
        if best is start:
            return self._inherited
        return self._ground.rule(index(best[2])), self._level + 1

    def _named(self, name: bytes) -> Iterator[tuple[Node, bytes]]:
        """Yield the nodes that `name` leads to, each with how specific the way there is."""
        home = self._ground.home
        for node, how, _ in self._active:
            names = node[NAMES]
            child = names.get(name) if names else None
            if child is not None:
                # `~` stands for any home, so it says less than a home's name in a pattern.
                yield child, how + (_ANY_NAME if child is home else _LITERAL)
            for glob, child in (node[GLOBS] or {}).items():
                if compile_glob(glob).matches(name):
                    yield child, how + bytes([weight(glob)])

    def _decides_entries(self) -> bool:
        least = FROM_FILE if self._rank >= FROM_FILE else 0
        for node, _, stays in self._active:
            if stays and node[AS_ANY] >= least:
                return True
            for child in (*(node[NAMES] or {}).values(), *(node[GLOBS] or {}).values()):
                deep = child[DEEP]
                if child[AS_ANY] >= least or (deep is not None and deep[AS_ANY] >= least):
                    return True
        return False


def _activate(active: list[Active], node: Node, how: bytes) -> None:
    active.append((node, how, False))
    if node[DEEP] is not None:
        active.append((node[DEEP], how + _DEEP, True))
