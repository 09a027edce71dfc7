"""Are the bytes of two files equal? Only for files whose type and size agree and extents don't."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drift.diff.stream import Pending

# A buffer of this size for each thread reads at the memory's speed; larger ones gain nothing.
BLOCK = 1024 * 1024
# Up to this size both files are read at once and compared; hashing would only add to it.
MIDDLE = 256 * 1024
# So much of larger ones is looked at first. Files up to this size are not worth a thread.
SMALL = 64 * 1024
# With less than this in all of the larger ones, they are read sooner than threads are made.
MUCH = 4 * 1024 * 1024
# Reading is what takes the time, and the hash releases the interpreter's lock.
THREADS = min(8, (os.cpu_count() or 1) * 2)

# O_NOATIME needs the owner or root, so it is tried first and done without elsewhere.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class ChangedMeanwhileError(OSError):
    """The file at a path is not the one whose metadata was read."""


def compare_pairs(
    pairs: Sequence[Pending],
    open_live: Callable[[bytes], int],
    open_blank: Callable[[bytes], int],
    unreadable: Callable[[bytes, OSError], None],
) -> list[bool | None]:
    """Tell for each pair whether its bytes are equal, None where that can't be known.

    `open_live` and `open_blank` open a path of either side for reading; what can't be read goes to
    `unreadable` with its error. The largest pairs are begun first, so that none of them is left to
    run alone at the end.
    """

    def compare(index: int) -> bool | None:
        pair = pairs[index]
        try:
            return same_bytes(
                lambda: _open(open_live, pair.live_path, pair.live_inode, pair.size),
                lambda: _open(open_blank, pair.blank_path, pair.blank_inode, pair.size),
                pair.size,
            )
        except ChangedMeanwhileError:
            # Written to since the comparison began, after a blank that was not.
            return False
        except OSError as error:
            unreadable(pair.if_different.path, error)
            return None

    order = sorted(range(len(pairs)), key=lambda index: -pairs[index].size)
    large = [index for index in order if pairs[index].size > SMALL]
    if len(large) < 2 or sum(pairs[index].size for index in large) < MUCH:
        large = []
    answers: list[bool | None] = [None] * len(pairs)
    if large:
        # It loads a good deal that most comparisons get by without.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(THREADS) as threads:
            for index, answer in zip(large, threads.map(compare, large), strict=True):
                answers[index] = answer
    for index in order[len(large) :]:
        answers[index] = compare(index)
    return answers


def same_bytes(open_left: Callable[[], int], open_right: Callable[[], int], size: int) -> bool:
    """Whether two files of `size` bytes hold the same; OSError passes through."""
    left = open_left()
    try:
        right = open_right()
        try:
            ahead = size if size <= MIDDLE else SMALL
            if os.pread(left, ahead, 0) != os.pread(right, ahead, 0):
                return False
            if size <= MIDDLE:
                return True
            parts = list(_data(left, right, size))
            return digest(left, parts) == digest(right, parts)
        finally:
            os.close(right)
    finally:
        os.close(left)


def digest(fd: int, parts: Sequence[tuple[int, int]] = ((0, sys.maxsize),)) -> bytes:
    """The XXH3 128-bit digest of what `fd` holds between each offset and end of `parts`."""
    from xxhash import xxh3_128

    state = xxh3_128()
    view = memoryview(bytearray(BLOCK))
    for start, end in parts:
        offset = start
        while count := os.preadv(fd, [view[: end - offset]], offset):
            state.update(view[:count])
            offset += count
    return state.digest()


def _data(left: int, right: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of two files in which either may have data, as offset and end.

    Between them both read as zeros: an image of a disk can be a thousand times as large as its data.
    """
    position = 0
    while position < size:
        start, fd = min((_seek(fd, position, os.SEEK_DATA, size), fd) for fd in (left, right))
        position = _seek(fd, start, os.SEEK_HOLE, size)
        if start < position:
            yield start, position


def _seek(fd: int, offset: int, what: int, end: int) -> int:
    """Where data or a hole begins from `offset` on, `end` where neither does."""
    try:
        return min(os.lseek(fd, offset, what), end)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end


def open_file(path: bytes, dir_fd: int | None = None) -> int:
    """Open a regular file for reading without leaving a trace in its atime where that can be."""
    try:
        return os.open(path, READ | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        return os.open(path, READ, dir_fd=dir_fd)


# A path longer than the kernel takes at once is walked in parts.
LONGEST_PATH = 4000


def open_below(directory: int, path: bytes) -> int:
    """Open the regular file at `path` below `directory`, however long the path is."""
    with _near(directory, path) as (near, name):
        return open_file(name, near)


def inode_below(directory: int, path: bytes) -> int | None:
    """The inode number at `path` below `directory`, None where there is nothing (any more)."""
    try:
        with _near(directory, path) as (near, name):
            return os.stat(name or b".", dir_fd=near, follow_symlinks=False).st_ino
    except OSError:
        return None


@contextmanager
def _near(directory: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A directory from where the rest of `path` is short enough, and that rest."""
    path = path.strip(b"/")
    opened: int | None = None
    try:
        while len(path) > LONGEST_PATH:
            cut = path.rfind(b"/", 0, LONGEST_PATH)
            step = os.open(
                path[:cut],
                os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=directory if opened is None else opened,
            )
            if opened is not None:
                os.close(opened)
            opened, path = step, path[cut + 1 :]
        yield directory if opened is None else opened, path
    finally:
        if opened is not None:
            os.close(opened)


def _open(opener: Callable[[bytes], int], path: bytes, inode: int, size: int) -> int:
    fd = opener(path)
    found = os.fstat(fd)
    if found.st_ino != inode or found.st_size != size:
        os.close(fd)
        raise ChangedMeanwhileError(0, "it changed while drift was reading")
    return fd
