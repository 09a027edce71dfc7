"""Keep a live root that is written to while it is read from giving paths that never existed.

A tree is read in many searches, and between two of them the root moves on: a file's name may come
from before a directory was renamed, and the directory's from after. Every such change rewrites a
leaf with a newer generation than the one the reading began at, so one search tells whether there
was any. Only then are the changes looked up once more, in the root itself.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

from drift.btrfs.ioctl import ANY, ANY_TYPE
from drift.btrfs.items import (
    FIRST_FREE_OBJECTID,
    INODE_EXTREF,
    INODE_ITEM,
    INODE_REF,
    LAST_FREE_OBJECTID,
)
from drift.btrfs.trees import read_items
from drift.diff.stream import Block, Links, Subtree
from drift.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drift.btrfs.ioctl import Search
    from drift.diff.stream import Found

# How many changes are looked at together; each lot costs one search where nothing was written.
TOGETHER = 2048

_FIRST = (FIRST_FREE_OBJECTID, 0, 0)
_LAST = (LAST_FREE_OBJECTID, ANY_TYPE, ANY)


def steady(
    stream: Iterable[Found],
    *,
    written: Callable[[], bool],
    moved: Callable[[], set[int]],
    inode_at: Callable[[bytes], int | None],
    vanished: Callable[[bytes], None],
) -> Iterator[Found]:
    """Yield the items of `stream` whose paths are still in the live root where it was written to.

    `written` tells whether it was since the reading began, and is asked last when all was read;
    `moved` which inodes may have got or lost a name since, `inode_at` the inode at a path of the
    live root. The others go to `vanished`.
    """
    held: list[Found] = []
    for item in stream:
        held.append(item)
        if len(held) >= TOGETHER:
            yield from _checked(held, written, moved, inode_at, vanished)
            held = []
    yield from _checked(held, written, moved, inode_at, vanished)


def _checked(
    held: list[Found],
    written: Callable[[], bool],
    moved: Callable[[], set[int]],
    inode_at: Callable[[bytes], int | None],
    vanished: Callable[[bytes], None],
) -> Iterator[Found]:
    if not written() or not held:
        yield from held
        return
    suspects = moved()
    for item in held:
        if item.status is Status.DELETED:
            yield item
        elif isinstance(item, Subtree):
            if inode_at(item.path) == item.inode:
                yield item
            else:
                vanished(item.path)
        elif isinstance(item, Links):
            there = [inode_at(path) is not None for path in item.paths]
            for path, found in zip(item.paths, there, strict=True):
                if not found:
                    vanished(path)
            paths = list(compress(item.paths, there))
            yield item._replace(paths=paths, rows=list(compress(item.rows, there)))
        elif isinstance(item, Block):
            block = _still_there(item, suspects, inode_at, vanished)
            if block is not None:
                yield block
        elif inode_at(item.path) is None:
            vanished(item.path)
        else:
            yield item


def _still_there(
    block: Block,
    suspects: set[int],
    inode_at: Callable[[bytes], int | None],
    vanished: Callable[[bytes], None],
) -> Block | None:
    # A file that got no other name is where its directory is.
    columns = block.columns
    if inode_at(block.directory) != columns.parents[block.rows[0]]:
        vanished(block.directory[:-1] or b"/")
        return None
    names, rows = [], []
    for name, row in zip(block.names, block.rows, strict=True):
        inode = columns.inodes[row]
        if inode in suspects and inode_at(block.directory + name) != inode:
            vanished(block.directory + name)
            continue
        names.append(name)
        rows.append(row)
    return block._replace(names=names, rows=rows) if rows else None


def is_there(search: Search, tree: int) -> bool:
    """Whether `tree` has a top directory, as every subvolume has until it is deleted."""
    return search.item(tree, (FIRST_FREE_OBJECTID, INODE_ITEM, 0)) is not None


def written_since(search: Search, tree: int, generation: int) -> bool:
    """Whether any leaf of `tree` is newer than `generation`."""
    return bool(search.fetch(tree, _FIRST, _LAST, min_transid=generation + 1, items=1))


def named_since(search: Search, tree: int, generation: int) -> set[int]:
    """The inodes whose names may have changed since `generation`, and some of their neighbours."""
    wanted = (INODE_ITEM, INODE_REF, INODE_EXTREF)
    return {
        objectid
        for objectid, kind, _, _ in read_items(
            search, tree, _FIRST, _LAST, min_transid=generation + 1
        )
        if kind in wanted
    }
