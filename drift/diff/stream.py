"""What the engines hand on: single changes, and blocks of files that are new or gone together.

A root with an empty blank is all new, a million files. So that no object is made for each of them,
the regular files of a directory that exist on one side only travel as one Block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.model import Change, Kind, OnePath, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drift.btrfs.columns import Columns


class Block(NamedTuple):
    """Regular files of one directory, sorted by name, all added or all deleted.

    `directory` is the path that their names follow, with its final slash.
    """

    status: Status
    directory: bytes
    names: list[bytes]
    rows: list[int]
    columns: Columns

    def sizes(self) -> list[int]:
        sizes = self.columns.sizes
        return [sizes[row] for row in self.rows]

    def newest(self) -> int:
        """The newest mtime of them all, in nanoseconds."""
        return max(map(self.columns.mtime, self.rows))

    def changes(self) -> Iterator[Change]:
        for name, row in zip(self.names, self.rows, strict=True):
            yield change_of_row(self.status, self.directory + name, self.columns, row, Kind.FILE)


class Subtree(NamedTuple):
    """All that is new below the directory at `path`, summed up: a consumer asked for no more.

    What is neither directory nor regular file comes by itself, symlinks as Links. `inode` is the
    directory's; `files` are regular files with `bytes` together, `newest` the newest mtime, `sole`
    the one file where there is only one.
    """

    status: Status
    path: bytes
    inode: int
    directories: int
    files: int
    bytes: int
    newest: int
    sole: OnePath | None


class Links(NamedTuple):
    """Symlinks that are new below the directory at `top`, which is summed up."""

    status: Status
    top: bytes
    paths: list[bytes]
    rows: list[int]
    columns: Columns

    def changes(self) -> Iterator[Change]:
        for path, row in zip(self.paths, self.rows, strict=True):
            yield change_of_row(self.status, path, self.columns, row, Kind.SYMLINK)


class Pending(NamedTuple):
    """Two files whose bytes have to be compared before it is known what changed.

    `live_path` and `blank_path` are where to open them, rooted at either side.
    """

    live_path: bytes
    live_inode: int
    blank_path: bytes
    blank_inode: int
    size: int
    if_equal: Change | None
    if_different: Change


# What a comparison comes to: single changes, and what stands for many.
Found = Change | Block | Links | Subtree


def change_of_row(status: Status, path: bytes, columns: Columns, row: int, kind: Kind) -> Change:
    uid, gid, mode = columns.owner(row)
    return Change(
        status,
        path,
        kind,
        columns.sizes[row],
        mode & 0o7777,
        uid,
        gid,
        columns.mtime(row),
        target=columns.targets.get(row) if kind is Kind.SYMLINK else None,
    )


# How many pairs of files are read, and how many changes held back for them, at a time.
PAIRS_AT_ONCE = 2048
HELD_AT_ONCE = 65536


def settle(
    events: Iterable[Found | Pending],
    compare: Callable[[list[Pending]], list[bool | None]],
) -> Iterator[Found]:
    """Yield the changes of `events` in their order, with pending ones decided by `compare`.

    `compare` tells for each pair whether its bytes are equal; None means that it could not be read
    (and has been reported), which counts as different.
    """
    held: list[Found | Pending] = []
    pairs: list[Pending] = []
    for event in events:
        if isinstance(event, Pending):
            pairs.append(event)
        elif not pairs:
            yield event
            continue
        held.append(event)
        if len(pairs) >= PAIRS_AT_ONCE or len(held) >= HELD_AT_ONCE:
            yield from _release(held, compare(pairs))
            held, pairs = [], []
    yield from _release(held, compare(pairs) if pairs else [])


def _release(held: list[Found | Pending], answers: list[bool | None]) -> Iterator[Found]:
    answer = iter(answers)
    for event in held:
        if not isinstance(event, Pending):
            yield event
        elif next(answer):
            if event.if_equal is not None:
                yield event.if_equal
        else:
            yield event.if_different
