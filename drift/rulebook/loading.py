"""From rule files to a RuleBook: all of them or, with all their faults, none.

Thousands of rule files are compiled once: the shipped ones while drift is built, the rest when
first met. What is used again fits the files as they are.
"""

from __future__ import annotations

import os
import time
import zlib
from array import array
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from drift.rulebook.book import RuleBook
from drift.rulebook.cache import cache_directory, decode, drop_oldest, read_kept, write_cache
from drift.rulebook.rows import Rows
from drift.rulebook.rule import EXPIRES, from_row
from drift.rulebook.sources import INSTALLED, RULEBOOK, code_files, rule_paths, shipped_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drift.rulebook.cache import Directory
    from drift.rulebook.rows import Packed
    from drift.rulebook.rule import Row
    from drift.rulebook.sources import Source
    from drift.rulebook.trie import Trie

SHIPPED = os.path.join(RULEBOOK, "shipped.bin")
"""What the build makes of the shipped rules: see `compiling.write_shipped`."""

KEPT = "rules-"
"""How the files begin that keep compiled rules, one for each list of sources."""
_MOST_KEPT = 6

_STORE = "/nix/store/"
_IDENTITY = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
_SETTLED = 100_000_000
"""Nanoseconds after which a further change of a file shows in its times."""

Compiled = tuple[bytes, "Packed", "Trie", "list[Row]"]
"""What each file came to (see `compiling`), all rules, their trie, and those that expire."""


def load(sources: Sequence[Source], environ: Mapping[str, str] = os.environ) -> RuleBook:
    """Read all rules; RuleFilesError with every fault of every file if there is one.

    What was compiled before comes from the runtime directory, if it fits the files as they are.
    """
    return load_cached(sources, cache_directory(environ, os.geteuid()))


def load_cached(sources: Sequence[Source], cache: Directory | None) -> RuleBook:
    """Like `load`, with the compiled rules kept in the directory `cache`; None keeps nothing.

    Rules that expire are kept uncompiled, after all others: on each day the book has those that
    still decide.
    """
    if len(sources) == 1 and _is_built(sources[0]):
        shipped = read_shipped()
        if shipped is not None:
            return _book(shipped)
    key, changed = _key(sources) if cache else (None, 0)
    name = _name(sources)
    kept = read_kept(cache, name) if cache and key else None
    if kept is not None and kept[0] == key:
        return _book(kept[1])
    from drift.rulebook.compiling import compile_rules

    known = [kept[1]] if kept else []
    if any(os.fspath(path) == shipped_directory() for _, path in sources):
        shipped = read_shipped()
        known += [shipped] if shipped else []
    compiled = compile_rules(sources, known)
    if cache and key and changed < time.time_ns() - _SETTLED:
        write_cache(cache, key, compiled, name)
        drop_oldest(cache, KEPT, _MOST_KEPT)
    return _book(compiled)


def read_shipped() -> Compiled | None:
    """What the build made; None where there is nothing of use.

    It is trusted like the modules it lies beside: who could write it could write them.
    """
    try:
        with open(SHIPPED, "rb") as opened:
            data = opened.read()
    except OSError:
        return None
    found = decode(data)
    return found[1] if found else None


def _book(compiled: Compiled) -> RuleBook:
    _, rows, trie, passing = compiled
    book = RuleBook(Rows((), rows), trie)
    if not passing:
        return book
    today = time.strftime("%Y-%m-%d")
    expired = [row for row in passing if row[EXPIRES] <= today]
    lasting = [row for row in passing if row[EXPIRES] > today]
    return book.with_rules(lasting, map(from_row, expired))


def _is_built(source: Source) -> bool:
    """Are these the rules that the build has compiled, where nothing has changed since?

    What lies in the Nix store stays as one build has left it.
    """
    return os.fspath(source[1]) == INSTALLED and _in_store(INSTALLED)


def _in_store(path: str) -> bool:
    return os.path.realpath(path).startswith(_STORE)


def _name(sources: Sequence[Source]) -> str:
    given = "\0".join(f"{layer:d}{os.fspath(path)}" for layer, path in sources)
    return f"{KEPT}{zlib.crc32(os.fsencode(given)):08x}.cache"


def _key(sources: Sequence[Source]) -> tuple[Any, int]:
    """What changes whenever the rules may have, and when the youngest file was last changed.

    The key is None where something can't be looked at. Its parts are few and flat: it is made and
    compared before every scan, for thousands of files.
    """
    try:
        # Whatever is never looked at lies in the store, where another build has another path.
        code = () if _in_store(RULEBOOK) else code_files()
        key: list[Any] = [os.path.realpath(RULEBOOK), _numbers(code).tobytes()]
        youngest = 0
        for layer, path in sources:
            given = os.fspath(path)
            parts = [] if _is_built((layer, path)) else rule_paths(given)
            numbers = _numbers([given + part for part in parts])
            youngest = max(youngest, *numbers[4::5], 0)
            # No path holds a NUL.
            key.append((int(layer), given, "\0".join(parts), numbers.tobytes()))
    except (OSError, OverflowError):
        return None, 0
    return tuple(key), youngest


def _numbers(paths: Iterable[str]) -> array[int]:
    """What changes whenever one of the files does, five numbers each; the last is its ctime."""
    # No loop of Python's: this is most of what loading takes.
    return array("q", chain.from_iterable(map(_IDENTITY, map(os.stat, paths))))
