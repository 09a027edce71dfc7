"""All rules of a book by their place, unpacked when first asked for; no I/O.

A cache holds thousands of rules of which a scan needs some dozens. So they lie in chunks that only
need unpacking where a rule is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.rulebook.packing import pack, unpack
from drift.rulebook.rule import Rule, from_row, to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.rulebook.rule import Row

_IN_A_CHUNK = 64

Packed = tuple[int, list[bytes]]
"""How many rules, and those of each chunk."""


def pack_rows(rows: list[Row]) -> Packed:
    starts = range(0, len(rows), _IN_A_CHUNK)
    return len(rows), [pack(rows[start : start + _IN_A_CHUNK]) for start in starts]


class Rows:
    """Packed rules, followed by `more`."""

    def __init__(self, more: Iterable[Rule | Row], packed: Packed = (0, [])) -> None:
        self._packed = packed
        self._more = list(more)
        self._chunks: dict[int, list[Row]] = {}
        self._made: dict[int, Rule] = {}

    def __len__(self) -> int:
        return self._packed[0] + len(self._more)

    def __iter__(self) -> Iterator[Rule]:
        return map(self.rule, range(len(self)))

    def plus(self, more: Iterable[Rule | Row]) -> Rows:
        return Rows([*self._more, *more], self._packed)

    def rule(self, place: int) -> Rule:
        made = self._made.get(place)
        if made is None:
            found = self._found(place)
            made = self._made[place] = found if isinstance(found, Rule) else from_row(found)
        return made

    def rows(self, first: int, end: int | None = None) -> Iterator[tuple[int, Row]]:
        """Yield each rule from the place `first` on, up to `end`, with its place."""
        for place in range(first, len(self) if end is None else end):
            found = self._found(place)
            yield place, to_row(found) if isinstance(found, Rule) else found

    def _found(self, place: int) -> Rule | Row:
        count, chunks = self._packed
        if place >= count:
            return self._more[place - count]
        chunk, within = divmod(place, _IN_A_CHUNK)
        if chunk not in self._chunks:
            self._chunks[chunk] = unpack(chunks[chunk])
        return self._chunks[chunk][within]
