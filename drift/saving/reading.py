"""Read a tree into records: the one eye that sees sources, copies and what is in the store."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drift.btrfs.items import kind_of
from drift.diff.content import SMALL, digest
from drift.model import Kind
from drift.saving.records import difference, record
from drift.saving.source import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drift.saving.records import Record
    from drift.saving.source import Place, Tree


def read_records(
    tree: Tree,
    place: Place,
    *,
    progress: Callable[[int], None] = lambda _: None,
    from_disk: bool = False,
) -> Iterator[Record]:
    """Yield the record of `place` and of all below it, parents first, by name.

    Every byte is read and hashed, with `from_disk` not what the memory still has of it. `progress` is told of bytes as they are done. OSError passes
    through; ChangedError where something was replaced or written to while it was read.
    """
    yield from _below(tree, place, len(place.path), progress, from_disk)


def first_difference(
    left: Iterator[Record], right: Iterator[Record], *, times: bool
) -> tuple[bytes, str] | None:
    """Where two trees that were read by name part: the path and why; None if they are equal."""
    for one in left:
        other = next(right, None)
        if other is None:
            return one.path, "it is missing"
        if one.path != other.path:
            if one.path.split(b"/") < other.path.split(b"/"):
                return one.path, "it is missing"
            return other.path, "it is in the copy only"
        if why := difference(one, other, times=times):
            return one.path, why
    rest = next(right, None)
    return None if rest is None else (rest.path, "it is in the copy only")


def read_one(
    place: Place,
    relative: bytes,
    progress: Callable[[int], None] = lambda _: None,
    from_disk: bool = False,
) -> Record:
    """The record of one entry, without what is below it."""
    before = place.status()
    xattrs = place.xattrs()
    if stat.S_ISLNK(before.st_mode):
        made = record(relative, before, xattrs=xattrs, target=place.target())
    elif stat.S_ISREG(before.st_mode):
        made = record(relative, before, xattrs=xattrs, digest=_digest(place, before, from_disk))
        progress(before.st_size)
    else:
        return record(relative, before, xattrs=xattrs)
    if not same_state(before, place.status()):
        raise ChangedError(place.path)
    return made


def same_state(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nothing but the access time changed between two looks at one name."""
    return (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_dev,
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    ) and (before.st_mode, before.st_uid, before.st_gid, before.st_ctime_ns) == (
        after.st_mode,
        after.st_uid,
        after.st_gid,
        after.st_ctime_ns,
    )


@contextmanager
def opened_directory(place: Place) -> Iterator[int]:
    """A descriptor of the directory; ChangedError if it is not the one that was seen."""
    fd = place.open_directory()
    try:
        yield fd
    finally:
        os.close(fd)


def _below(
    tree: Tree, place: Place, base: int, progress: Callable[[int], None], from_disk: bool
) -> Iterator[Record]:
    relative = place.path[base:].lstrip(b"/")
    one = read_one(place, relative, progress, from_disk)
    yield one
    if one.kind is not Kind.DIRECTORY:
        return
    with opened_directory(place) as fd:
        for child in tree.children(place, fd):
            yield from _below(tree, child, base, progress, from_disk)


def _digest(place: Place, expected: os.stat_result, from_disk: bool) -> bytes:
    from xxhash import xxh3_128_digest

    fd = place.open_file()
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
            raise ChangedError(place.path)
        if from_disk:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if found.st_size <= SMALL:
            # A buffer for large files takes longer to make than a small file to read.
            whole = os.pread(fd, SMALL + 1, 0)
            if len(whole) <= SMALL:
                return xxh3_128_digest(whole)
        return digest(fd)
    finally:
        os.close(fd)


def kind_and_owner(tree: Tree, path: bytes) -> tuple[Kind, int, int, int] | None:
    """Kind, uid, gid and mode of what is at `path`, None where there is nothing."""
    try:
        with tree.place(path) as place:
            found = place.status()
    except OSError:
        return None
    return kind_of(found.st_mode), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)
