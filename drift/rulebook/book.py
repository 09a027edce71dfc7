"""Match paths against the compiled rules: which rule decides, and where; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from drift.model import Kind
from drift.rulebook.position import Ground, Position
from drift.rulebook.rule import Rule, from_row, to_row
from drift.rulebook.trie import FROM_FILES, GLOBS, NAMES, Trie, grow, new_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drift.rulebook.rule import Row

DEFAULT_HOMES: Final = (b"/home/*", b"/root")
"""Every directory in /home, and root's home: for when the accounts are not known."""


class Decision(NamedTuple):
    """`anchor` is the path at which the rule matched: the path itself or a directory above."""

    rule: Rule
    anchor: bytes


class RuleBook:
    """All rules, and the one trie that finds the rule for a path.

    A rule from a file beats one from a unit. Then the more specific pattern wins: the one that
    matches deeper in the path, and of those the one that says more, component by component from
    the left (a literal, then the glob with more letters, then `**`). Then the later layer, then
    `file` or `directory` before `path`, then the later rule.
    """

    def __init__(self, rules: Iterable[Rule | Row] = (), trie: Trie | None = None) -> None:
        """`trie` is the one that `rules` were compiled to, or None to compile them now."""
        self._rules = list(rules)
        if trie is None:
            trie = grow([new_node(), new_node()], _rows(self._rules, 0))
        self._trie = trie
        self._ground = Ground(self._rule, trie[1])
        self._starts: dict[frozenset[bytes], Position] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._rule(place) for place in range(len(self._rules)))

    @property
    def trie(self) -> Trie:
        """What the rules were compiled to; not to be changed."""
        return self._trie

    def with_rules(self, extra: Iterable[Rule | Row]) -> RuleBook:
        """A book with `extra` after the rules of this one, which stays as it is."""
        rules = [*self._rules, *extra]
        return RuleBook(rules, grow(self._trie, _rows(rules, len(self._rules))))

    def walk(self, homes: Iterable[bytes] = DEFAULT_HOMES) -> Position:
        """Stand at `/`. Rules that start with `~/` hold in each of `homes`, as in `b"/home/alice"`."""
        known = frozenset(homes)
        start = self._starts.get(known)
        if start is None:
            start = self._starts[known] = self._begin(known)
        return start

    def decide(
        self, path: bytes, kind: Kind | None, homes: Iterable[bytes] = DEFAULT_HOMES
    ) -> Decision | None:
        """The rule for a single path; `kind` None where it isn't known, so that any kind counts."""
        names = [name for name in path.split(b"/") if name]
        position = self.walk(homes)
        if not names:
            return None
        for name in names[:-1]:
            position = position.enter(name)
        if kind is Kind.DIRECTORY or kind is Kind.SUBVOLUME:
            position = position.enter(names[-1])
            rule, depth = position.rule, position.depth
        else:
            rule, depth = position.entry(names[-1], kind or Kind.SYMLINK)
        return None if rule is None else Decision(rule, b"/" + b"/".join(names[:depth]))

    def _rule(self, place: int) -> Rule:
        # Made when first asked for: most rules never decide anything.
        rule = self._rules[place]
        if not isinstance(rule, Rule):
            rule = self._rules[place] = from_row(rule)
        return rule

    def _begin(self, homes: Iterable[bytes]) -> Position:
        absolute, home = self._trie
        roots = [absolute]
        for path in sorted(homes):
            node = home
            for name in [name for name in reversed(path.split(b"/")) if name]:
                above = new_node()
                # No glob but ours: a user's home may have any name.
                above[GLOBS if name == b"*" and path in DEFAULT_HOMES else NAMES][name] = node
                above[FROM_FILES] = home[FROM_FILES]
                node = above
            if node is not home:
                roots.append(node)
        return self._ground.start(roots)


def _rows(rules: Sequence[Rule | Row], first: int) -> Iterator[tuple[int, Row]]:
    for place in range(first, len(rules)):
        rule = rules[place]
        yield place, to_row(rule) if isinstance(rule, Rule) else rule
