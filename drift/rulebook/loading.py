"""From rule files to a RuleBook: all of them or, with all their faults, none."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from drift.rulebook.book import RuleBook
from drift.rulebook.cache import cache_directory, read_cache, write_cache
from drift.rulebook.rows import Rows, pack
from drift.rulebook.rule import EXPIRES, Layer, from_row
from drift.rulebook.sources import rule_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from drift.rulebook.faults import Fault
    from drift.rulebook.rule import Row
    from drift.rulebook.sources import RuleFile, Source

_SETTLED = 100_000_000
"""Nanoseconds after which a further change of a file shows in its times."""


def load(sources: Sequence[Source], environ: Mapping[str, str] = os.environ) -> RuleBook:
    """Read all rules; RuleFilesError with every fault of every file if there is one.

    What was compiled before comes from the runtime directory, if it fits the files as they are.
    """
    return load_cached(sources, cache_directory(environ, os.geteuid()))


def load_cached(sources: Sequence[Source], cache: Path | None) -> RuleBook:
    """Like `load`, with the compiled rules kept in the directory `cache`; None keeps nothing.

    Rules given for this one run are not kept. Rules that expire are kept uncompiled, after all
    others: on each day the book has those that still decide.
    """
    lasting, unlisted = _files(source for source in sources if source[0] is not Layer.GIVEN)
    given, missing = _files(source for source in sources if source[0] is Layer.GIVEN)
    key = _key(lasting) if cache and lasting and not unlisted else None
    kept = read_cache(cache, key) if cache and key else None
    rows, faults = _read(() if kept else lasting)
    more, more_faults = _read(given)
    faults = [*unlisted, *faults, *missing, *more_faults]
    if faults:
        from drift.rulebook.faults import RuleFilesError

        raise RuleFilesError(faults)
    passing = kept[2] if kept else [row for row in rows if row[EXPIRES]]
    if passing and not kept:
        rows = [row for row in rows if not row[EXPIRES]]
    book = RuleBook(Rows((), kept[0]), kept[1]) if kept else RuleBook(rows)
    if cache and key and not kept and _settled(key):
        write_cache(cache, key, (pack(rows), book.trie, passing))
    more = [*passing, *more]
    if not more:
        return book
    today = time.strftime("%Y-%m-%d")
    expired = [row for row in more if row[EXPIRES] and row[EXPIRES] <= today]
    return book.with_rules([row for row in more if row not in expired], map(from_row, expired))


def _files(sources: Iterable[Source]) -> tuple[list[RuleFile], list[Fault]]:
    files: list[RuleFile] = []
    faults: list[Fault] = []
    for source in sources:
        try:
            files += rule_files(source)
        except OSError as error:
            faults.append(_unreadable(os.fspath(source[1]), error))
    return files, faults


def _read(files: Iterable[RuleFile]) -> tuple[list[Row], list[Fault]]:
    rows: list[Row] = []
    faults: list[Fault] = []
    for file in files:
        from drift.rulebook.reading import LARGEST, read_rules

        try:
            with open(file.path, "rb") as opened:
                data = opened.read(LARGEST + 1)
        except OSError as error:
            faults.append(_unreadable(file.name, error))
            continue
        more, more_faults = read_rules(data, file.name, file.layer)
        rows += more
        faults += more_faults
    return rows, faults


def _unreadable(name: str, error: OSError) -> Fault:
    from drift.rulebook.faults import Fault

    return Fault(name, 0, "", f"can't be read: {error.strerror or error}")


def _key(files: Sequence[RuleFile]) -> tuple[str, bytes, tuple[int, ...]] | None:
    """What changes whenever the rules may have; None where a file can't be looked at.

    Its parts are few and flat: it is made and compared before every scan, for thousands of files.
    """
    numbers: list[int] = []
    for _, _, path in files:
        try:
            found = os.stat(path)
        except OSError:
            return None
        numbers += (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
        )
    # A file's name follows from its layer and path, and no path holds a NUL.
    paths = "\0".join(file.path for file in files)
    return paths, bytes(file.layer for file in files), tuple(numbers)


def _settled(key: tuple[str, bytes, tuple[int, ...]]) -> bool:
    """Were all files last changed long enough ago?"""
    now = time.time_ns()
    return all(changed < now - _SETTLED for changed in key[2][4::5])
