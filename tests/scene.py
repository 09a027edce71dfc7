"""A tree that random operations are played on: picks entries of it, invents names and contents.

The same seed on an equal tree picks the same: what is picked depends on the tree's names and
types alone, never on times or on the order in which the filesystem lists.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from syscalls import reachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

# Sizes around what Btrfs treats differently: inline data, a sector, a compressed chunk (128 KiB).
SIZES = (0, 0, 1, 17, 100, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 5000, 8192, 12_345, 65_536)
LARGE_SIZES = (131_071, 131_072, 131_073, 200_000, 300 * 1024)

PLAIN_NAMES = (b"a", b"b", b"c", b"hosts", b"id", b"state", b"db", b"log", b"x.conf", b"cache")
ODD_NAMES = (
    b"new\nline",
    b"tab\tbed",
    b"not-utf8-\xff\xfe\x80",
    b"\xc3\xa9t\xc3\xa9",
    b" ",
    b"...",
    b"-rf",
    b"$(reboot)",
    b"\x01\x1b[31m",
    b"quo\"te's",
    b"back\\slash",
    b"n" * 255,
    b"\xff" * 255,
)
# Four names of one length whose crc32c is the same, so that they share a DIR_ITEM or XATTR_ITEM.
COLLIDING_NAMES = (b"bwyd0kemdv7zvp", b"bwyd0ke7thebl3", b"6ld1x2umdv7zvp", b"6ld1x2u7thebl3")

CROWDED = 900


class Entry(NamedTuple):
    path: bytes
    kind: str


class NothingSuitableError(OSError):
    """The tree has nothing that the operation could be done to."""


class Scene:
    """One tree, one source of chance, and the log of what was picked.

    `held` are descriptors that stay open until the history is over; `nodesize` is the
    filesystem's.
    """

    def __init__(self, root: bytes, rng: Random, held: list[int], nodesize: int = 16384) -> None:
        self.root = root
        self.rng = rng
        self.held = held
        self.nodesize = nodesize
        self.log: list[bytes] = []
        self._entries: list[Entry] | None = None
        self._stack = ExitStack()

    @contextmanager
    def act(self) -> Iterator[None]:
        """Around each operation: the tree is listed anew, descriptors are closed at the end."""
        self._entries = None
        self.log = []
        with ExitStack() as self._stack:
            yield

    def entries(self, *kinds: str) -> list[Entry]:
        """List the tree, below `/`, by path; without kinds everything."""
        if self._entries is None:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
            try:
                self._entries = sorted(_list(fd, b""))
            finally:
                os.close(fd)
        return [entry for entry in self._entries if not kinds or entry.kind in kinds]

    def pick(self, *kinds: str) -> bytes:
        found = self.entries(*kinds)
        if not found:
            raise NothingSuitableError
        path = self.rng.choice(found).path
        self.log.append(path)
        return path

    def file(self) -> bytes:
        return self.pick("file")

    def filled_file(self, at_least: int = 1) -> bytes:
        """Pick a file that isn't empty."""
        found = [
            entry.path
            for entry in self.entries("file")
            if os.stat(self.at(entry.path)).st_size >= at_least
        ]
        if not found:
            raise NothingSuitableError
        path = self.rng.choice(found)
        self.log.append(path)
        return path

    def directory(self) -> bytes:
        """Pick a directory to put something into: the root, a subvolume or any other."""
        found = [b"", *(entry.path for entry in self.entries("directory", "subvolume"))]
        path = self.rng.choice(found)
        self.log.append(path or b"/")
        return path

    def fresh(self, directory: bytes | None = None) -> bytes:
        """Invent a path that doesn't exist yet."""
        parent = self.directory() if directory is None else directory
        for _ in range(20):
            path = parent + b"/" + self.name()
            if not os.path.lexists(self.at(path)):
                self.log.append(path)
                return path
        raise NothingSuitableError

    def name(self) -> bytes:
        dice = self.rng.random()
        if dice < 0.2:
            return self.rng.choice(PLAIN_NAMES)
        if dice < 0.3:
            return self.rng.choice(ODD_NAMES)
        return b"f%04x" % self.rng.randrange(65536)

    def at(self, path: bytes) -> bytes:
        """Return a path to an entry that every system call takes, however deep the entry is."""
        return self._stack.enter_context(reachable(self.root, path))

    def open(self, path: bytes, flags: int = os.O_RDWR, mode: int = 0o644) -> int:
        """Open an entry until the operation is over."""
        fd = os.open(self.at(path), flags | os.O_NOFOLLOW, mode)
        self._stack.callback(os.close, fd)
        return fd

    def write(self, path: bytes, content: bytes) -> None:
        """Make a file or overwrite it from its start; what isn't a file is never opened."""
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self.at(path)).st_mode):
                raise NothingSuitableError
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(fd, content)

    def read(self, path: bytes) -> bytes:
        """The bytes of a regular file: opening a fifo would wait for its writer."""
        if not stat.S_ISREG(os.lstat(self.at(path)).st_mode):
            raise NothingSuitableError
        with open(self.open(path, os.O_RDONLY | os.O_NOATIME), "rb", closefd=False) as file:
            return file.read()

    def size(self) -> int:
        return self.rng.choice(LARGE_SIZES if self.rng.random() < 0.15 else SIZES)

    def content(self, size: int | None = None) -> bytes:
        """Invent bytes: random, or well compressible, or zeros."""
        size = self.size() if size is None else size
        dice = self.rng.random()
        if dice < 0.1:
            return bytes(size)
        if dice < 0.4:
            pattern = self.rng.randbytes(16)
            return (pattern * (size // 16 + 1))[:size]
        return self.rng.randbytes(size)

    def is_crowded(self) -> bool:
        return len(self.entries()) > CROWDED


def write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}


def _list(parent: int, path: bytes) -> Iterator[Entry]:
    for text in os.listdir(parent):
        name = os.fsencode(text)
        status = os.lstat(name, dir_fd=parent)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "special")
        if kind == "directory" and status.st_ino in (2, 256):
            kind = "stub" if status.st_ino == 2 else "subvolume"
        yield Entry(path + b"/" + name, kind)
        if kind in ("directory", "subvolume"):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME
            fd = os.open(name, flags, dir_fd=parent)
            try:
                yield from _list(fd, path + b"/" + name)
            finally:
                os.close(fd)
