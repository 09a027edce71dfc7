"""Compile rule files to what a cache holds, with what is known of them used again."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from drift.rulebook import loading
from drift.rulebook.cache import encode
from drift.rulebook.faults import Fault, RuleFilesError
from drift.rulebook.packing import pack, unpack
from drift.rulebook.rows import Rows, pack_rows
from drift.rulebook.rule import EXPIRES, Layer
from drift.rulebook.sources import LARGEST, RuleFile, code_files, rule_files, shipped_directory
from drift.rulebook.trie import grow, new_node, packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from drift.rulebook.loading import Compiled
    from drift.rulebook.rule import Row
    from drift.rulebook.sources import Source

_DIGEST_BYTES = 16
_PIECE = 1 << 16

_File = tuple[bytes, int, bool]
"""A file's digest, how many of the rules are its own, and are these all, none that expires?"""


def compile_rules(sources: Iterable[Source], known: Iterable[Compiled] = ()) -> Compiled:
    """Read all rules; RuleFilesError with every fault of every file if there is one.

    A file is not read again where one of `known` was made of the same bytes under the same name.
    """
    contents = list(_contents(sources))
    code = _digest_of_code()
    digests = [
        b"" if isinstance(data, Fault) else _digest(code, file, data) for file, data in contents
    ]
    found: dict[bytes, tuple[Rows, int, int]] = {}
    for compiled in known:
        files, packed_rows, *_ = compiled
        parts: list[_File] = unpack(files)
        if [digest for digest, _, _ in parts] == digests:
            return compiled
        rows = Rows((), packed_rows)
        start = 0
        for digest, count, complete in parts:
            if complete:
                found[digest] = rows, start, count
            start += count
    # Thousands of lists and dicts are made and stay: collecting garbage between them finds none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _compile(contents, digests, found)
    finally:
        if collecting:
            gc.enable()


def write_shipped() -> None:
    """Leave the shipped rules compiled where `loading.read_shipped` looks.

    Two builds of the same files leave the same bytes.
    """
    data = encode(None, compile_rules([(Layer.SHIPPED, shipped_directory())]))
    fresh = f"{loading.SHIPPED}.{os.getpid()}"
    with open(fresh, "wb") as opened:
        opened.write(data)
    os.replace(fresh, loading.SHIPPED)


def _compile(
    contents: Sequence[tuple[RuleFile, bytes | Fault]],
    digests: Sequence[bytes],
    found: Mapping[bytes, tuple[Rows, int, int]],
) -> Compiled:
    files: list[_File] = []
    lasting: list[Row] = []
    passing: list[Row] = []
    faults: list[Fault] = []
    for (file, data), digest in zip(contents, digests, strict=True):
        if isinstance(data, Fault):
            faults.append(data)
            continue
        if digest in found:
            rows, start, count = found[digest]
            more = [row for _, row in rows.rows(start, start + count)]
        else:
            from drift.rulebook.reading import read_rules

            more, more_faults = read_rules(data, file.name, file.layer)
            faults += more_faults
        staying = [row for row in more if not row[EXPIRES]]
        lasting += staying
        passing += [row for row in more if row[EXPIRES]]
        files.append((digest, len(staying), len(staying) == len(more)))
    if faults:
        raise RuleFilesError(faults)
    trie = grow([new_node(), new_node()], enumerate(lasting))
    with suppress(RecursionError):
        trie = [packed(root) for root in trie]
    return pack(files), pack_rows(lasting), trie, passing


def _contents(sources: Iterable[Source]) -> Iterator[tuple[RuleFile, bytes | Fault]]:
    for layer, path in sources:
        try:
            files = rule_files((layer, path))
        except OSError as error:
            name = os.fspath(path)
            yield RuleFile(layer, name, name), _unreadable(name, error)
            continue
        for file in files:
            try:
                yield file, _read(file.path)
            except OSError as error:
                yield file, _unreadable(file.name, error)


def _read(path: str) -> bytes:
    """The whole file, or somewhat more than a rule file may have."""
    data = b""
    # In pieces: memory for the largest file would take longer to get than most files to read.
    with open(path, "rb", buffering=0) as opened:
        while len(data) <= LARGEST and (piece := opened.read(_PIECE)):
            data += piece
    return data


def _unreadable(name: str, error: OSError) -> Fault:
    return Fault(name, 0, "", f"can't be read: {error.strerror or error}")


def _digest_of_code() -> blake2b:
    """Of all that says what a file comes to, so that no other drift's reading is taken for ours."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for path in code_files():
        with open(path, "rb") as opened:
            digest.update(opened.read())
    return digest


def _digest(code: blake2b, file: RuleFile, data: bytes) -> bytes:
    digest = code.copy()
    digest.update(f"{file.layer:d}{file.name}\0".encode(errors="surrogateescape"))
    digest.update(data)
    return digest.digest()
