"""Match paths against the compiled rules: which rule decides, and where; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from drift.model import Kind
from drift.rulebook.position import Ground, Position
from drift.rulebook.rows import Rows
from drift.rulebook.trie import FROM_FILES, GLOBS, NAMES, Trie, grow, new_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.rulebook.rule import Row, Rule

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

    def __init__(
        self,
        rules: Rows | Iterable[Rule | Row] = (),
        trie: Trie | None = None,
        expired: Iterable[Rule] = (),
    ) -> None:
        """`trie` is what `rules` were compiled to, or None to compile them now.

        `expired` are rules that no longer decide, for reports.
        """
        self._rows = rules if isinstance(rules, Rows) else Rows(rules)
        if trie is None:
            trie = grow([new_node(), new_node()], self._rows.rows(0))
        self._trie = trie
        self.expired = tuple(expired)
        self._ground = Ground(self._rows.rule, trie[1])
        self._starts: dict[frozenset[bytes], Position] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._rows)

    @property
    def trie(self) -> Trie:
        """What the rules were compiled to; not to be changed."""
        return self._trie

    def with_rules(self, extra: Iterable[Rule | Row], expired: Iterable[Rule] = ()) -> RuleBook:
        """A book with `extra` after the rules of this one, which stays as it is."""
        rows = self._rows.plus(extra)
        trie = grow(self._trie, rows.rows(len(self._rows)))
        return RuleBook(rows, trie, (*self.expired, *expired))

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

    def _begin(self, homes: Iterable[bytes]) -> Position:
        absolute, home = self._trie
        roots = [absolute]
        for path in sorted(homes):
            node = home
            for name in [name for name in reversed(path.split(b"/")) if name]:
                above = new_node()
                # No glob but ours: a user's home may have any name.
                ours = name == b"*" and path in DEFAULT_HOMES
                above[GLOBS if ours else NAMES] = {name: node}
                above[FROM_FILES] = home[FROM_FILES]
                node = above
            if node is not home:
                roots.append(node)
        return self._ground.start(roots)
