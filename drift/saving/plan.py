"""Look before the first byte: what each path holds, what the store has of it, is there room."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from drift.errors import DriftError
from drift.names import shown
from drift.saving.beneath import names_in
from drift.saving.reading import first_difference, read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drift.saving.source import Place, Tree


class Action(StrEnum):
    COPY = "copy"
    # The store has it already, with the same content, owners and modes.
    SAME = "same"
    # The store has something else there, which is left alone.
    DIFFERENT = "different"
    REPLACE = "replace"
    # It can't be read, or not be written.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a path holds; `size` in bytes, `space` what a copy of it takes, `inodes` its entries.

    `linked` are its files with several names: device, inode and path relative to it.
    """

    files: int = 0
    inodes: int = 0
    size: int = 0
    space: int = 0
    newest: int = 0
    linked: tuple[tuple[int, int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One path to save and what is to be done; `why` says what is in the way.

    `stored` is the newest time in what the store has there.
    """

    path: bytes
    action: Action
    contents: Contents = field(default_factory=Contents)
    stored: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`space` and `inodes` are needed, `free` and `free_inodes` there (None: without a limit)."""

    items: tuple[Item, ...]
    space: int
    free: int
    inodes: int
    free_inodes: int | None
    shared: bool

    @property
    def to_copy(self) -> list[Item]:
        return [item for item in self.items if item.action in (Action.COPY, Action.REPLACE)]

    def require_room(self, store: bytes) -> None:
        """DriftError where the store has not enough room for all that is to be copied."""
        from drift.render.text import size

        if self.space > self.free:
            raise DriftError(
                f"{shown(store)} has not enough room: {size(self.space)} are needed,"
                f" {size(self.free)} are free",
                "nothing was copied; make room, or name the paths that matter most",
            )
        if self.free_inodes is not None and self.inodes > self.free_inodes:
            raise DriftError(
                f"{shown(store)} can't hold that many files: {self.inodes:,} are needed,"
                f" {self.free_inodes:,} are free",
                "nothing was copied; delete some, or name the paths that matter most",
            )


BLOCK = 4096


def make_plan(
    source: Tree,
    store: Tree,
    paths: Iterable[bytes],
    *,
    shared: bool,
    replace: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Plan:
    """Decide about each of `paths`; reads what the store has there, and writes nothing.

    `shared` says that copies can share the source's extents.
    """
    items = tuple(
        _item(source, store, path, shared=shared, replace=replace, progress=progress)
        for path in outermost(paths)
    )
    copied = [item.contents for item in items if item.action in (Action.COPY, Action.REPLACE)]
    room = os.statvfs(store.top)
    return Plan(
        items=items,
        space=sum(contents.space for contents in copied),
        free=room.f_bavail * room.f_frsize,
        inodes=sum(contents.inodes for contents in copied),
        free_inodes=room.f_favail if room.f_files else None,
        shared=shared,
    )


def outermost(paths: Iterable[bytes]) -> list[bytes]:
    """Each path once, and none that lies below another one of them."""
    found: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/")):
        if not found or not (path + b"/").startswith(found[-1].rstrip(b"/") + b"/"):
            found.append(path)
    return found


def reason(error: OSError) -> str:
    """What an error of the system means for an entry, in a few words."""
    match error.errno:
        case errno.ENOENT:
            return "there is no such path"
        case errno.ELOOP | errno.ENOTDIR:
            return "one of its parent directories is no directory"
        case errno.ENOSPC | errno.EDQUOT:
            return "the persistent storage is full"
        case errno.EROFS:
            return "the persistent storage is mounted read-only"
        case errno.EIO:
            return "the disk gave an error"
        case errno.EMFILE | errno.ENFILE:
            return "it is nested too deep for the number of files that may be open"
        case errno.ENOTEMPTY | errno.EEXIST:
            return "something came to its place in the persistent storage meanwhile"
        case errno.ENOTSUP:
            return "the persistent storage can't keep its attributes"
        case _:
            return (error.strerror or str(error)).lower()


def _item(
    source: Tree,
    store: Tree,
    path: bytes,
    *,
    shared: bool,
    replace: bool,
    progress: Callable[[int], None],
) -> Item:
    try:
        with source.place(path) as place:
            contents = _contents(source, place, shared=shared)
            action, why, stored = _against_store(source, place, store, path, progress)
    except OSError as error:
        return Item(path, Action.FAILED, why=reason(error))
    except RecursionError:
        return Item(path, Action.FAILED, why="its directories are nested too deep")
    if action is Action.DIFFERENT and replace:
        action = Action.REPLACE
    return Item(path, action, contents, stored, why)


_GIVES_WAY = (
    "an empty directory is there and gives way; where it is mounted, the live system shows the"
    " copy after the reboot only"
)


def _against_store(
    source: Tree, place: Place, store: Tree, path: bytes, progress: Callable[[int], None]
) -> tuple[Action, str, int]:
    try:
        with store.place(path) as there:
            status = there.status()
            if stat.S_ISDIR(status.st_mode) and _is_empty(there):
                if not stat.S_ISDIR(place.status().st_mode):
                    return Action.DIFFERENT, "an empty directory is there", status.st_mtime_ns
                if not _is_empty(place):
                    # As the module leaves it when a path is listed before its data is copied.
                    return Action.COPY, _GIVES_WAY, 0
            found = first_difference(
                read_records(source, place, progress=progress),
                read_records(store, there),
                times=False,
            )
            if found is None:
                return Action.SAME, "", 0
            where, why = found
            if where:
                why = f"{shown(where)}: {why}"
            return Action.DIFFERENT, why, _contents(store, there, shared=False).newest
    except FileNotFoundError:
        return Action.COPY, "", 0
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            raise OSError(
                0, "what should be a directory above it in the persistent storage is none", path
            ) from error
        raise


def _is_empty(place: Place) -> bool:
    fd = place.open_directory()
    try:
        return not names_in(fd)
    finally:
        os.close(fd)


def _contents(tree: Tree, place: Place, *, shared: bool) -> Contents:
    files = inodes = total = space = newest = 0
    linked = []
    seen = set()
    for inner, status in _walk(tree, place):
        newest = max(newest, status.st_mtime_ns)
        if stat.S_ISDIR(status.st_mode):
            inodes += 1
            space += BLOCK
            continue
        files += 1
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            linked.append((*inode, inner.path[len(place.path) :].lstrip(b"/")))
            if inode in seen:
                continue
            seen.add(inode)
        inodes += 1
        space += BLOCK
        if stat.S_ISREG(status.st_mode):
            total += status.st_size
            if not shared:
                # Holes take nothing in a copy either.
                data = min(status.st_size, status.st_blocks * 512)
                space += -(-data // BLOCK) * BLOCK
    return Contents(files, inodes, total, space, newest, tuple(linked))


def _walk(tree: Tree, place: Place) -> Iterator[tuple[Place, os.stat_result]]:
    status = place.status()
    yield place, status
    if stat.S_ISDIR(status.st_mode):
        fd = place.open_directory()
        try:
            for child in tree.children(place, fd):
                yield from _walk(tree, child)
        finally:
            os.close(fd)
