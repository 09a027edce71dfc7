"""Compare two directories of any filesystem by reading every entry of both."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import EMPTY_SUBVOL_DIR_OBJECTID, FIRST_FREE_OBJECTID, kind_of
from drift.diff.stream import Pending
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY_KINDS = (Kind.DIRECTORY, Kind.SUBVOLUME)

# What makes two inodes of the two sides the same file: None where nothing can.
Identity = tuple[int, ...]


class Item(NamedTuple):
    """One entry as lstat sees it; `subvolume` tells apart what st_ino alone does not."""

    kind: Kind
    stat: os.stat_result
    target: bytes | None
    xattrs: tuple[tuple[bytes, bytes], ...]


class Walk:
    """Reads both trees and joins them by path.

    `identity` tells which inode an entry is, in a way that holds across both sides; entries of
    equal identity under different names are renames. `skip` is called with the path and the error
    of what could not be read. `is_btrfs` says that inode 256 is the top of a subvolume. What lies
    below `barriers`, the live root's mount points, belongs to other filesystems and is not entered.
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
        self._live = live
        self._blank = blank
        self._is_btrfs = is_btrfs
        self._identity = identity
        self._skip = skip
        self._barriers = barriers

    def events(self) -> Iterator[Change | Pending]:
        """Yield each difference, sorted by path components; pending ones need a look at contents."""
        added: dict[Identity, list[bytes]] = {}
        gone: dict[Identity, list[tuple[bytes, Item]]] = {}
        found: list[tuple[tuple[bytes, ...], Change | Pending, Identity | None, Item | None]] = []
        for path, event, identity, item in self._join():
            key = tuple(path.split(b"/"))
            found.append((key, event, identity, item))
            if identity is None or not isinstance(event, Change) or item is None:
                continue
            if event.status is Status.ADDED:
                added.setdefault(identity, []).append(path)
            elif event.status is Status.DELETED:
                gone.setdefault(identity, []).append((path, item))
        moves: dict[bytes, tuple[bytes, Item]] = {}
        for identity, paths in added.items():
            old = sorted(gone.get(identity, []), key=lambda pair: pair[0].split(b"/"))
            new = sorted(paths, key=lambda path: path.split(b"/"))
            moves.update(zip(new, old, strict=False))
        sources = {old for old, _ in moves.values()}
        found.sort(key=lambda entry: entry[0])
        for _, event, _, item in found:
            if not isinstance(event, Change):
                yield event
            elif event.status is Status.ADDED and event.path in moves and item is not None:
                yield self._renamed(event, item, *moves[event.path])
            elif event.status is not Status.DELETED or event.path not in sources:
                yield event

    def _renamed(self, event: Change, live: Item, source: bytes, blank: Item) -> Change | Pending:
        change = event._replace(status=Status.RENAMED, source=source)
        equal = _same_content(live, blank)
        if equal is None:
            return Pending(
                event.path,
                live.stat.st_ino,
                source,
                blank.stat.st_ino,
                live.stat.st_size,
                change,
                change._replace(modified=True),
            )
        return change if equal else change._replace(modified=True)

    def _join(
        self,
    ) -> Iterator[tuple[bytes, Change | Pending, Identity | None, Item | None]]:
        # Depth first with a stack of its own: trees are deeper than Python's recursion. Each level
        # holds the open directories of both sides, so that no path is ever too long.
        roots = self._root(self._live), self._root(self._blank)
        if self._blank is not None and roots[0] is not None and roots[1] is not None:
            for event in _pair(b"/", roots[0], roots[1]):
                yield b"/", event, None, None
        stack = [
            (
                b"",
                os.dup(self._live),
                None if self._blank is None else os.dup(self._blank),
                iter(self._names(b"", self._live, self._blank)),
                True,
                True,
            )
        ]
        try:
            while stack:
                path, live, blank, names, live_top, blank_top = stack[-1]
                name = next(names, None)
                if name is None:
                    stack.pop()
                    for fd in (live, blank):
                        if fd is not None:
                            os.close(fd)
                    continue
                child = path + b"/" + name
                mine = self._item(live, name, child)
                other = self._item(blank, name, child)
                if mine is not None and other is not None:
                    for event in _pair(child, mine, other):
                        yield child, event, None, None
                elif mine is not None:
                    identity = self._identity_of(live, name, mine, live_top, True)
                    yield child, _change(Status.ADDED, child, mine), identity, mine
                elif other is not None:
                    identity = self._identity_of(blank, name, other, blank_top, False)
                    yield child, _change(Status.DELETED, child, other), identity, other
                if child in self._barriers:
                    continue
                below_live = self._below(live, name, mine, child)
                below_blank = self._below(blank, name, other, child)
                if below_live is None and below_blank is None:
                    continue
                stack.append(
                    (
                        child,
                        below_live,  # type: ignore[arg-type]
                        below_blank,
                        iter(self._names(child, below_live, below_blank)),
                        live_top and (mine is None or mine.kind is not Kind.SUBVOLUME),
                        blank_top and (other is None or other.kind is not Kind.SUBVOLUME),
                    )
                )
        finally:
            for _, live, blank, *_ in stack:
                for fd in (live, blank):
                    if fd is not None:
                        os.close(fd)

    def _identity_of(
        self, parent: int | None, name: bytes, item: Item, top: bool, live: bool
    ) -> Identity | None:
        # Inside nested subvolumes inode numbers start over and mean nothing to the other side.
        if parent is None or not top or item.kind is Kind.SUBVOLUME:
            return None
        if item.stat.st_ino == EMPTY_SUBVOL_DIR_OBJECTID and self._is_btrfs(item.stat):
            return None
        return self._identity(parent, name, item.stat, live)

    def _root(self, fd: int | None) -> Item | None:
        if fd is None:
            return None
        return Item(Kind.DIRECTORY, os.fstat(fd), None, _xattrs_of(fd))

    def _names(self, path: bytes, live: int | None, blank: int | None) -> list[bytes]:
        names: set[bytes] = set()
        for fd in (live, blank):
            if fd is None:
                continue
            try:
                names.update(os.fsencode(name) for name in os.listdir(fd))
            except OSError as error:
                self._skip(path or b"/", error)
        return sorted(names)

    def _below(self, parent: int | None, name: bytes, item: Item | None, path: bytes) -> int | None:
        if parent is None or item is None or item.kind not in DIRECTORY_KINDS:
            return None
        try:
            return os.open(name, DIRECTORY | os.O_NOATIME, dir_fd=parent)
        except PermissionError:
            pass
        except OSError as error:
            self._skip(path, error)
            return None
        try:
            return os.open(name, DIRECTORY, dir_fd=parent)
        except OSError as error:
            self._skip(path, error)
            return None

    def _item(self, parent: int | None, name: bytes, path: bytes) -> Item | None:
        if parent is None:
            return None
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._skip(path, error)
            return None
        kind = kind_of(found.st_mode)
        if kind is Kind.DIRECTORY and found.st_ino == FIRST_FREE_OBJECTID and self._is_btrfs(found):
            kind = Kind.SUBVOLUME
        try:
            target = os.readlink(name, dir_fd=parent) if kind is Kind.SYMLINK else None
            return Item(kind, found, target, _xattrs_at(parent, name))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._skip(path, error)
            return Item(kind, found, None, ())


def _pair(path: bytes, live: Item, blank: Item) -> Iterator[Change | Pending]:
    if live.kind is not blank.kind:
        yield _change(Status.TYPE, path, live)
        return
    properties = (
        None if _properties(live) == _properties(blank) else _change(Status.PROPERTIES, path, live)
    )
    equal = _same_content(live, blank)
    if equal is None:
        yield Pending(
            path,
            live.stat.st_ino,
            path,
            blank.stat.st_ino,
            live.stat.st_size,
            properties,
            _change(Status.MODIFIED, path, live),
        )
    elif not equal:
        yield _change(Status.MODIFIED, path, live)
    elif properties is not None:
        yield properties


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


def _properties(item: Item) -> tuple[object, ...]:
    return stat.S_IMODE(item.stat.st_mode), item.stat.st_uid, item.stat.st_gid, item.xattrs


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


def _xattrs_of(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    try:
        return tuple(
            sorted((os.fsencode(name), os.getxattr(fd, name)) for name in os.listxattr(fd))
        )
    except OSError:
        return ()


def _xattrs_at(parent: int, name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    # There is no lgetxattrat: the way through /proc reaches an entry by its open directory.
    path = b"/proc/self/fd/%d/%s" % (parent, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ()
    if not names:
        return ()
    return tuple(
        sorted((os.fsencode(key), os.getxattr(path, key, follow_symlinks=False)) for key in names)
    )
