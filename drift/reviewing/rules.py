"""The rules that reviews left in the persistent storage, read beside all others."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from drift.system.mounts import join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.rulebook import Rule, RuleBook

# Below the store, in the directory where drift save keeps its manifest. Every scan comes by here,
# so what only a review needs is not imported.
PRIVATE = b".drift"
DIRECTORY = PRIVATE + b"/rules.d"
FILE = DIRECTORY + b"/reviewed.toml"


def with_reviewed(book: RuleBook, root: bytes, stores: Iterable[bytes]) -> RuleBook:
    """`book` with the rules that reviews left in the stores of the root mounted at `root`.

    Only from a directory that nobody else can have written to; as another user it can't be read.
    """
    for store in stores:
        host = os.path.realpath(join(root, store))
        directory = os.path.join(host, DIRECTORY)
        if _is_ours(os.path.join(host, PRIVATE)) and _is_ours(directory):
            from drift.rulebook import Layer, load

            more = load([(Layer.SYSTEM, os.fsdecode(directory))])
            book = book.with_rules(more.rules, more.expired)
    return book


def with_reviewed_of(book: RuleBook, root: bytes) -> RuleBook:
    """The same, with the stores that are found for the root mounted at `root`."""
    from drift.persistence import read_persistence
    from drift.system.mounts import read_mounts

    return with_reviewed(book, root, read_persistence(read_mounts(), root).stores)


def expired_notes(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(
        f"the rule {rule.origin} expired on {rule.expires} and no longer decides about"
        f" {rule.pattern}"
        for rule in rules
    )


def _is_ours(directory: bytes) -> bool:
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    )
