"""One tree of a walk: go down by directory descriptors, however deep, with few of them open."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import FIRST_FREE_OBJECTID, kind_of
from drift.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY_KINDS = (Kind.DIRECTORY, Kind.SUBVOLUME)

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Of the directories on the way down, the last ones stay open. Those above are opened again when
# the walk comes back to them.
KEPT_OPEN = 8


class Item(NamedTuple):
    """One entry as lstat sees it."""

    kind: Kind
    stat: os.stat_result
    target: bytes | None


class _Step(NamedTuple):
    """A directory on the way down; `present` says whether this side has it."""

    present: bool
    names: frozenset[bytes]
    in_first_subvolume: bool


class Side:
    """One of the two trees, at the directory that the walk has come to."""

    def __init__(self, top: int | None, is_btrfs: Callable[[os.stat_result], bool]) -> None:
        self._descent = None if top is None else Descent(top)
        self._is_btrfs = is_btrfs
        self._steps = [_Step(top is not None, frozenset(), True)]

    @property
    def fd(self) -> int:
        assert self._descent is not None
        return self._descent.fd

    @property
    def names(self) -> frozenset[bytes]:
        return self._steps[-1].names

    @property
    def in_first_subvolume(self) -> bool:
        return self._steps[-1].in_first_subvolume

    def list(self) -> None:
        level = self._steps[-1]
        if level.present:
            names = frozenset(map(os.fsencode, os.listdir(self.fd)))
            self._steps[-1] = level._replace(names=names)

    def top(self) -> Item | None:
        return None if self._descent is None else Item(Kind.DIRECTORY, os.fstat(self.fd), None)

    def item(self, name: bytes) -> Item | None:
        """What `name` is here, None where it was not listed; what was and is gone is an OSError."""
        if name not in self.names:
            return None
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        kind = kind_of(found.st_mode)
        if kind is Kind.DIRECTORY and found.st_ino == FIRST_FREE_OBJECTID and self._is_btrfs(found):
            kind = Kind.SUBVOLUME
        target = os.readlink(name, dir_fd=self.fd) if kind is Kind.SYMLINK else None
        return Item(kind, found, target)

    def xattrs(self, name: bytes) -> dict[bytes, bytes]:
        # There is no lgetxattrat: the way through /proc reaches an entry by its open directory.
        path = b"/proc/self/fd/%d/%s" % (self.fd, name)
        try:
            keys = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return {}
            raise
        return {os.fsencode(key): os.getxattr(path, key, follow_symlinks=False) for key in keys}

    def enter(self, name: bytes, item: Item | None) -> None:
        present = item is not None and item.kind in DIRECTORY_KINDS
        if present and self._descent is not None:
            self._descent.enter(name)
        first = self.in_first_subvolume and (item is None or item.kind is not Kind.SUBVOLUME)
        self._steps.append(_Step(present, frozenset(), first))

    def leave(self) -> None:
        if self._steps.pop().present and self._descent is not None:
            self._descent.leave()

    def close(self) -> None:
        if self._descent is not None:
            self._descent.close()


@dataclass(slots=True)
class _Level:
    fd: int | None
    identity: tuple[int, int]


class Descent:
    """A place in the tree below the directory descriptor `top`, which stays the caller's.

    OSError of the system calls passes through. After `enter` failed nothing has changed; after
    `leave` failed the directory above can't be found any more, and only `leave` may follow.
    """

    def __init__(self, top: int) -> None:
        self._names: list[bytes] = []
        self._levels = [_level(os.dup(top))]

    @property
    def fd(self) -> int:
        found = self._levels[-1].fd
        if found is None:
            raise _moved()
        return found

    def enter(self, name: bytes) -> None:
        self._levels.append(_level(open_directory(name, self.fd)))
        self._names.append(name)
        far = len(self._levels) - 1 - KEPT_OPEN
        if far > 0:
            _close(self._levels[far])

    def leave(self) -> None:
        level = self._levels.pop()
        self._names.pop()
        above = self._levels[-1]
        try:
            if above.fd is None:
                above.fd = self._reopened(above.identity, level.fd)
        finally:
            _close(level)

    def close(self) -> None:
        for level in self._levels:
            _close(level)

    def _reopened(self, identity: tuple[int, int], below: int | None) -> int:
        # `..` is quick; where what lay below was moved away meanwhile, the names may still do.
        if below is not None:
            fd = open_directory(b"..", below)
            if _identity(fd) == identity:
                return fd
            os.close(fd)
        fd = os.dup(self._levels[0].fd or 0)
        try:
            for name in self._names:
                step = open_directory(name, fd)
                os.close(fd)
                fd = step
            if _identity(fd) != identity:
                raise _moved()
        except OSError:
            os.close(fd)
            raise
        return fd


def open_directory(name: bytes, parent: int) -> int:
    """Open without a trace in the atime where that is allowed."""
    try:
        return os.open(name, DIRECTORY | os.O_NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, DIRECTORY, dir_fd=parent)


def _level(fd: int) -> _Level:
    return _Level(fd, _identity(fd))


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _close(level: _Level) -> None:
    if level.fd is not None:
        os.close(level.fd)
        level.fd = None


def _moved() -> OSError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
