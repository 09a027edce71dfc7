"""Answers to tree searches that no sound filesystem gives: arbitrary bytes, and arbitrary trees.

Both stand in for the ioctl that `drift.btrfs.ioctl` calls. Bytes turn into them by a format of
their own, so that a fuzzer and hypothesis can speak the same language, and a recorded search of a
real filesystem is a seed for either.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs import ioctl, trees
from drift.btrfs.columns import Columns, read_columns
from drift.btrfs.ioctl import HEADER, HEADER_SIZE, SEARCH_ARGS, Search
from drift.btrfs.items import LAST_FREE_OBJECTID, dir_index, told_as_damage
from drift.btrfs.subvolumes import Subvolume
from drift.diff import touched
from drift.diff.generation import Comparison
from drift.diff.stream import Block
from drift.diff.trees import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIVE, BLANK, NESTED = 256, 257, 258
# The generation at which the two trees parted.
SINCE = 100
# More differences than an input has bytes come from directories that are in several places.
MOST_EVENTS = 20_000

ANSWER = Struct("<HH")
ITEM = Struct("<BHBQH")


class Item(NamedTuple):
    tree: int
    objectid: int
    kind: int
    offset: int
    payload: bytes

    @property
    def key(self) -> tuple[int, int, int]:
        return self.objectid, self.kind, self.offset


def liar(answers: list[tuple[int, bytes]]) -> Callable[..., int]:
    """An ioctl that gives each (count of items, bytes) as an answer in turn, over and over."""
    turns = itertools.cycle(answers or [(0, b"")])

    def answer(_fd: int, _request: int, buffer: bytearray, _mutate: bool) -> int:
        count, data = next(turns)
        buffer[64:68] = count.to_bytes(4, "little")
        buffer[Search.START : Search.START + len(data)] = data
        return 0

    return answer


def keeper(items: Iterable[Item]) -> Callable[..., int]:
    """An ioctl that answers as the kernel does, from trees of these items."""
    kept: dict[int, dict[tuple[int, int, int], bytes]] = {}
    for item in sorted(items, key=lambda item: item.key):
        kept.setdefault(item.tree, {}).setdefault(item.key, item.payload)

    def answer(_fd: int, _request: int, buffer: bytearray, _mutate: bool) -> int:
        asked = SEARCH_ARGS.unpack_from(buffer)
        tree, min_id, max_id, min_offset, max_offset = asked[:5]
        first, last = (min_id, asked[7], min_offset), (max_id, asked[8], max_offset)
        position, end = Search.START, Search.START + asked[-1]
        count = 0
        for key, payload in kept.get(tree, {}).items():
            if not first <= key <= last:
                continue
            if count == asked[9] or position + HEADER_SIZE + len(payload) > end:
                break
            objectid, kind, offset = key
            HEADER.pack_into(buffer, position, SINCE, objectid, offset, kind, len(payload))
            position += HEADER_SIZE
            buffer[position : position + len(payload)] = payload
            position += len(payload)
            count += 1
        buffer[64:68] = count.to_bytes(4, "little")
        return 0

    return answer


@contextmanager
def answering(kernel: Callable[..., int]) -> Iterator[Search]:
    """A search that asks `kernel` instead of the kernel."""
    real = ioctl.ioctl
    ioctl.ioctl = kernel
    search = Search(-1)
    try:
        with told_as_damage():
            yield search
    finally:
        search.close()
        ioctl.ioctl = real


def read_everything(search: Search) -> None:
    """Ask all that drift asks of one tree."""
    for since in (0, SINCE):
        columns = Columns()
        read_columns(search, LIVE, since, into=columns, buffers=3)
        touched.Sift(LIVE, BLANK, since)(search, columns)
        for row in range(len(columns.names)):
            columns.owner(row)
            columns.mtime(row)
    for node in trees.read_nodes(search, LIVE, (256, 257, 300, LAST_FREE_OBJECTID)):
        for payload in node.index:
            dir_index(payload)
    list(trees.read_links(search, LIVE, (256, 257)))
    trees.highest_inode(search, LIVE)
    first, last = (0, 0, 0), (LAST_FREE_OBJECTID, 255, 2**64 - 1)
    for _ in trees.read_items(search, LIVE, first, last, min_transid=SINCE):
        pass


def compare_everything(search: Search, *, since: int, whole: bool) -> None:
    """Compare two trees, with a subvolume nested in the live one, to the end."""
    nested = Subvolume(NESTED, LIVE, 257, b"live/d/nested", b"n", b"", 200, 150, 0.0, False)
    subvolumes = {
        LIVE: Subvolume(LIVE, 5, 256, b"live", b"l", b"b", 200, SINCE, 0.0, False),
        BLANK: Subvolume(BLANK, 5, 256, b"blank", b"b", b"", 150, 50, 0.0, True),
        NESTED: nested,
    }
    comparison = Comparison(
        Side(search, subvolumes[LIVE], subvolumes, since, None, BLANK),
        Side(search, subvolumes[BLANK], subvolumes, since),
        since=since,
        bound=SINCE,
        vanished=lambda _: None,
        whole=(lambda _: True) if whole else None,
    )
    for event in itertools.islice(comparison.events(), MOST_EVENTS):
        if isinstance(event, Block):
            list(event.changes())


def answers_from(data: bytes) -> list[tuple[int, bytes]]:
    answers = []
    position = 0
    while position + ANSWER.size <= len(data):
        count, length = ANSWER.unpack_from(data, position)
        position += ANSWER.size
        answers.append((count, data[position : position + length]))
        position += length
    return answers


def answers_to(answers: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(ANSWER.pack(count, len(data)) + data for count, data in answers)


def items_from(data: bytes) -> list[Item]:
    items = []
    position = 0
    while position + ITEM.size <= len(data):
        tree, inode, kind, offset, length = ITEM.unpack_from(data, position)
        position += ITEM.size
        payload = data[position : position + length]
        position += length
        items.append(Item(LIVE + tree % 3, 256 + inode, kind, offset, payload))
    return items


def items_to(items: Iterable[Item]) -> bytes:
    """The bytes for items of inode numbers below 65 792."""
    return b"".join(
        ITEM.pack(item.tree - LIVE, item.objectid - 256, item.kind, item.offset, len(item.payload))
        + item.payload
        for item in items
    )


def try_bytes(data: bytes) -> None:
    """What the fuzzer runs for one input; its first byte says which of all this it is about."""
    kind, data = data[:1], data[1:]
    if kind in (b"", b"r"):
        with answering(liar(answers_from(data))) as search:
            read_everything(search)
        return
    with answering(keeper(items_from(data))) as search:
        if kind == b"t":
            read_everything(search)
        else:
            compare_everything(search, since=0 if kind == b"m" else SINCE, whole=kind == b"w")
