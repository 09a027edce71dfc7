"""The tree that entries are copied from: the live root, or snapshots that stand for it."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drift.diff.content import open_file
from drift.saving.beneath import DIRECTORY, names_in, open_beneath, parts, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Place(NamedTuple):
    """An entry: a name in an open directory, and its path from the top of its tree."""

    directory: int
    name: bytes
    path: bytes

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    def xattrs(self) -> dict[bytes, bytes]:
        return read_xattrs(self.directory, self.name)

    def target(self) -> bytes:
        return os.readlink(self.name, dir_fd=self.directory)

    def open_file(self) -> int:
        fd = open_file(self.name, self.directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ChangedError(self.path)
        return fd

    def open_directory(self) -> int:
        return os.open(self.name, DIRECTORY, dir_fd=self.directory)


class ChangedError(OSError):
    """Something is not what it was a moment ago."""

    def __init__(self, path: bytes) -> None:
        super().__init__(0, "it changed while it was copied", path)


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory open at `top`; absolute paths are rooted there.

    `nested` maps paths to directories that stand in the place of what lies there: the snapshots of
    nested subvolumes. What is below `barriers`, mount points, is not the tree's and not read.
    """

    top: int
    nested: Mapping[bytes, int] = field(default_factory=dict)
    barriers: frozenset[bytes] = frozenset()

    @contextmanager
    def place(self, path: bytes) -> Iterator[Place]:
        """Where `path` lies, for as long as the context lasts; it may not exist."""
        names = parts(path)
        if not names or path in self.nested:
            yield Place(self.nested.get(path, self.top), b".", path)
            return
        inner = b""
        for count in range(1, len(names)):
            above = b"/" + b"/".join(names[:count])
            if above in self.nested:
                inner = above
        base = self.nested[inner] if inner else self.top
        depth = len(parts(inner))
        parent = open_beneath(base, b"/".join(names[depth:-1]), DIRECTORY)
        try:
            yield Place(parent, names[-1], path)
        finally:
            os.close(parent)

    def children(self, place: Place, opened: int) -> Iterator[Place]:
        """What is in the directory `place`, which is open as `opened`, by name."""
        if place.path in self.barriers:
            return
        prefix = place.path.rstrip(b"/") + b"/"
        for name in names_in(opened):
            path = prefix + name
            if path in self.nested:
                yield Place(self.nested[path], b".", path)
            elif path not in self.barriers or self._is_directory(opened, name):
                yield Place(opened, name, path)

    @staticmethod
    def _is_directory(opened: int, name: bytes) -> bool:
        return stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)
