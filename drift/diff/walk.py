"""Compare two directories of any filesystem by reading every entry of both."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import EMPTY_SUBVOL_DIR_OBJECTID
from drift.diff.descent import DIRECTORY, DIRECTORY_KINDS, Item, Side
from drift.diff.stream import Pending
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

__all__ = ["DIRECTORY", "Walk"]

# What makes two inodes of the two sides the same file: None where nothing can.
Identity = tuple[int, ...]


class Found(NamedTuple):
    """A difference; of what only one side has, also what it would be known by on the other."""

    event: Change | Pending
    identity: Identity | None = None
    item: Item | None = None


class Walk:
    """Reads both trees and joins them by path.

    `identity` tells which inode an entry is, in a way that holds across both sides; entries of
    equal identity under different names are renames. `skip` is called with the path and the error
    of what could not be read: then nothing is said about it, nor about what lies below. `is_btrfs`
    says that inode 256 is the top of a subvolume. At the `barriers`, the live root's mount points,
    other filesystems begin: their own properties and all below are left alone.
    """

    def __init__(
        self,
        live: int,
        blank: int | None,
        *,
        is_btrfs: Callable[[os.stat_result], bool],
        identity: Callable[[int, bytes, os.stat_result, bool], Identity | None],
        skip: Callable[[bytes, OSError], None],
        barriers: frozenset[bytes] = frozenset(),
    ) -> None:
        self._live = Side(live, is_btrfs)
        self._blank = Side(blank, is_btrfs)
        self._is_btrfs = is_btrfs
        self._identity = identity
        self._skip = skip
        self._barriers = barriers

    def events(self) -> Iterator[Change | Pending]:
        """Yield each difference, sorted by path components; pending ones need a look at contents.

        It can be read once.
        """
        found = list(self._join())
        added: dict[Identity, list[bytes]] = {}
        gone: dict[Identity, list[tuple[bytes, Item]]] = {}
        for event, identity, item in found:
            if identity is None or item is None or not isinstance(event, Change):
                continue
            if event.status is Status.ADDED:
                added.setdefault(identity, []).append(event.path)
            else:
                gone.setdefault(identity, []).append((event.path, item))
        moves: dict[bytes, tuple[bytes, Item]] = {}
        for identity, paths in added.items():
            moves.update(zip(paths, gone.get(identity, ()), strict=False))
        sources = {old for old, _ in moves.values()}
        for event, _, item in found:
            if not isinstance(event, Change):
                yield event
            elif event.status is Status.ADDED and event.path in moves and item is not None:
                yield _renamed(event, item, *moves[event.path])
            elif event.status is not Status.DELETED or event.path not in sources:
                yield event

    def _join(self) -> Iterator[Found]:
        try:
            yield from self._tops()
            # A stack of its own: trees are deeper than Python's recursion.
            stack = [(b"", self._names(b"/"))]
            while stack:
                path, names = stack[-1]
                name = next(names, None)
                if name is None:
                    stack.pop()
                    if stack and not self._leave(stack[-1][0]):
                        stack[-1] = stack[-1][0], iter(())
                    continue
                child = path + b"/" + name
                try:
                    live, blank = self._live.item(name), self._blank.item(name)
                    found = list(self._compare(child, name, live, blank))
                except OSError as error:
                    self._skip(child, error)
                    continue
                yield from found
                if child not in self._barriers and self._enter(child, name, live, blank):
                    stack.append((child, self._names(child)))
        finally:
            self._live.close()
            self._blank.close()

    def _tops(self) -> Iterator[Found]:
        try:
            live, blank = self._live.top(), self._blank.top()
            if live is not None and blank is not None:
                yield from map(Found, self._pair(b"/", b".", live, blank))
        except OSError as error:
            self._skip(b"/", error)

    def _compare(
        self, path: bytes, name: bytes, live: Item | None, blank: Item | None
    ) -> Iterator[Found]:
        if live is not None and blank is not None:
            if live.kind is not blank.kind or path not in self._barriers:
                yield from map(Found, self._pair(path, name, live, blank))
        elif live is not None:
            identity = self._identity_of(self._live, name, live)
            yield Found(_change(Status.ADDED, path, live), identity, live)
        elif blank is not None:
            identity = self._identity_of(self._blank, name, blank)
            yield Found(_change(Status.DELETED, path, blank), identity, blank)

    def _pair(
        self, path: bytes, name: bytes, live: Item, blank: Item
    ) -> Iterator[Change | Pending]:
        if live.kind is not blank.kind:
            yield _change(Status.TYPE, path, live)
            return
        equal = _same_content(live, blank)
        if equal is False:
            yield _change(Status.MODIFIED, path, live)
            return
        same = _permissions(live) == _permissions(blank) and (
            self._live.xattrs(name) == self._blank.xattrs(name)
        )
        properties = None if same else _change(Status.PROPERTIES, path, live)
        if equal is None:
            modified = _change(Status.MODIFIED, path, live)
            yield _pending(path, live, path, blank, properties, modified)
        elif properties is not None:
            yield properties

    def _identity_of(self, side: Side, name: bytes, item: Item) -> Identity | None:
        # Inside nested subvolumes inode numbers start over and mean nothing to the other side.
        if not side.in_first_subvolume or item.kind is Kind.SUBVOLUME:
            return None
        if item.stat.st_ino == EMPTY_SUBVOL_DIR_OBJECTID and self._is_btrfs(item.stat):
            return None
        return self._identity(side.fd, name, item.stat, side is self._live)

    def _names(self, path: bytes) -> Iterator[bytes]:
        for side in (self._live, self._blank):
            try:
                side.list()
            except OSError as error:
                self._skip(path, error)
                return iter(())
        return iter(sorted(self._live.names | self._blank.names))

    def _enter(self, path: bytes, name: bytes, live: Item | None, blank: Item | None) -> bool:
        if not any(item is not None and item.kind in DIRECTORY_KINDS for item in (live, blank)):
            return False
        try:
            self._live.enter(name, live)
            try:
                self._blank.enter(name, blank)
            except OSError:
                self._live.leave()
                raise
        except OSError as error:
            self._skip(path, error)
            return False
        return True

    def _leave(self, above: bytes) -> bool:
        found = True
        for side in (self._live, self._blank):
            try:
                side.leave()
            except OSError as error:
                self._skip(above or b"/", error)
                found = False
        return found


def _renamed(event: Change, live: Item, source: bytes, blank: Item) -> Change | Pending:
    change = event._replace(status=Status.RENAMED, source=source)
    modified = change._replace(modified=True)
    equal = _same_content(live, blank)
    if equal is None:
        return _pending(event.path, live, source, blank, change, modified)
    return change if equal else modified


def _pending(
    live_path: bytes,
    live: Item,
    blank_path: bytes,
    blank: Item,
    if_equal: Change | None,
    if_different: Change,
) -> Pending:
    return Pending(
        live_path,
        live.stat.st_ino,
        blank_path,
        blank.stat.st_ino,
        live.stat.st_size,
        if_equal,
        if_different,
    )


def _same_content(live: Item, blank: Item) -> bool | None:
    match live.kind:
        case Kind.FILE:
            if live.stat.st_size != blank.stat.st_size:
                return False
            same = (live.stat.st_dev, live.stat.st_ino) == (blank.stat.st_dev, blank.stat.st_ino)
            return True if same or live.stat.st_size == 0 else None
        case Kind.SYMLINK:
            return live.target == blank.target
        case Kind.CHARACTER | Kind.BLOCK:
            return live.stat.st_rdev == blank.stat.st_rdev
        case _:
            return True


def _permissions(item: Item) -> tuple[int, int, int]:
    return stat.S_IMODE(item.stat.st_mode), item.stat.st_uid, item.stat.st_gid


def _change(status: Status, path: bytes, item: Item) -> Change:
    found = item.stat
    return Change(
        status,
        path,
        item.kind,
        found.st_size,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        target=item.target,
    )
