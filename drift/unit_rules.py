"""Rules from the machine's own units, kept as long as the system and its accounts are the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from drift.model import Kind, Verdict
from drift.places import SHARED
from drift.rulebook.cache import cache_directory, read_cache, write_cache
from drift.rulebook.rule import Layer, RuleKind, from_row, to_row
from drift.system.etc_trees import find_etc_trees
from drift.system.rooted import Rooted
from drift.system.units import UnitRules, read_unit_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drift.rulebook import Rule, RuleBook
    from drift.rulebook.cache import Directory
    from drift.system.accounts import Accounts

FILE = "units.cache"


def with_unit_rules(book: RuleBook, rules: Iterable[Rule]) -> RuleBook:
    """`book` with what units say below it.

    A shipped rule knows more of its subject than a unit does. One for a directory that everybody
    shares (`/var/lib/private`) has no subject: there a unit knows better whose state it is.
    """
    return book.with_rules(
        rule._replace(layer=Layer.SHIPPED) if _knows_more(rule, book) else rule for rule in rules
    )


def _knows_more(rule: Rule, book: RuleBook) -> bool:
    kind = Kind.FILE if rule.kind is RuleKind.FILE else Kind.DIRECTORY
    decision = book.decide(rule.pattern.encode(errors="surrogateescape"), kind)
    return (
        decision is not None
        and decision.rule.layer is Layer.SHIPPED
        and decision.anchor in SHARED
        # What is kept whole on purpose, like all logs, gets no holes.
        and rule.verdict in (Verdict.PERSIST, decision.rule.verdict)
    )


def unit_rules(root: bytes, accounts: Accounts, environ: Mapping[str, str]) -> UnitRules:
    """What units and tmpfiles.d of the root at the directory `root` say, parsed once a system."""
    return unit_rules_cached(root, accounts, cache_directory(environ, os.geteuid()))


def unit_rules_cached(root: bytes, accounts: Accounts, cache: Directory | None) -> UnitRules:
    """Like `unit_rules`, kept in the directory `cache`; None keeps nothing.

    What lies in the store never changes, so only systems that lie there are kept.
    """
    key = _key(Rooted(root)) if cache else None
    if cache and key:
        rows = read_cache(cache, key, FILE)
        if rows is not None:
            return UnitRules(tuple(from_row(row) for row in rows), ())
    found = read_unit_rules(root, accounts)
    if cache and key and not found.skipped:
        write_cache(cache, key, [to_row(rule) for rule in found.rules], FILE)
    return found


# The store, and the names of users and groups that rules speak of.
_OF_A_TREE = (b"", b"/systemd/system", b"/systemd/user", b"/tmpfiles.d")
_OF_THE_ROOT = (b"/etc/passwd", b"/etc/group")


def _key(rooted: Rooted) -> tuple[Any, ...] | None:
    """What changes whenever the rules may; None where that can't be told."""
    trees = find_etc_trees(rooted)
    paths = [tree + name for tree in trees.all for name in _OF_A_TREE]
    if not all(tree.startswith(b"/nix/store/") for tree in trees.all):
        return None
    return tuple(_identity(rooted, path) for path in (*paths, *_OF_THE_ROOT))


def _identity(rooted: Rooted, path: bytes) -> tuple[Any, ...]:
    try:
        real = rooted.resolve(path)
        found = os.lstat(rooted.host(real))
    except OSError:
        return (path,)
    return (
        path,
        real,
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
