"""Read files of a root that may be mounted elsewhere, never leaving it through a symlink."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drift.system.mounts import join

if TYPE_CHECKING:
    from collections.abc import Iterator

# As many as the kernel follows in one path (linux/namei.h).
_MAX_LINKS = 40
# No configuration file is larger; a hostile one could fill the memory.
_MAX_BYTES = 16 << 20
# A root that isn't running has no devices, and yet its links to this one have a meaning.
_NULL = b"/dev/null"


@dataclass(frozen=True, slots=True)
class Rooted:
    """The tree below the directory `root`; paths in and out are rooted at it (`b"/etc/x"`).

    Absolute links lead to the tree's own files, as they do on the system it belongs to, and `..`
    stops at its top. OSError of the system calls passes through.
    """

    root: bytes
    # Where the links of directories and files lead, None for what is no link: asked of the kernel
    # once, as the same few directories lead to every file.
    _links: dict[bytes, bytes | None] = field(default_factory=dict, repr=False, compare=False)

    def resolve(self, path: bytes) -> bytes:
        """`path` with every symlink followed; what it names exists."""
        return self._walk(path, last=True)

    def locate(self, path: bytes) -> bytes:
        """`path` with the symlinks of its parents followed; itself it may be one, or missing."""
        return self._walk(path, last=False)

    def host(self, path: bytes) -> bytes:
        """Where this process finds `path`, which must be free of symlinks."""
        return join(self.root, path)

    def status(self, path: bytes) -> os.stat_result:
        return os.lstat(self.host(self.locate(path)))

    def target(self, path: bytes) -> bytes:
        """Where the symlink `path` points to; OSError EINVAL if it is none."""
        return os.readlink(self.host(self.locate(path)))

    def read(self, path: bytes) -> bytes:
        """The bytes of the regular file that `path` leads to; none if a link to /dev/null masks it."""
        real = self.resolve(path)
        if real == _NULL:
            return b""
        host = self.host(real)
        # A fifo in a file's place must not stop the program.
        descriptor = os.open(host, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", host)
            if status.st_size > _MAX_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), host)
            return file.read(_MAX_BYTES)

    def names(self, path: bytes) -> list[bytes]:
        """The sorted names in the directory that `path` leads to."""
        return sorted(os.listdir(self.host(self.resolve(path))))

    def walk(self, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Every entry below the directory `path`, parents first, no link followed.

        A directory that can't be read is passed over.
        """
        try:
            top = self.resolve(path)
            names = sorted(os.listdir(self.host(top)))
        except OSError:
            return
        for name in names:
            try:
                status = os.lstat(self.host(join(top, b"/" + name)))
            except OSError:
                continue
            yield join(path, b"/" + name), status
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(join(path, b"/" + name))

    def _walk(self, path: bytes, *, last: bool) -> bytes:
        if b"\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        done: list[bytes] = []
        todo = path.split(b"/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del done[-1:]
                continue
            step = b"/" + b"/".join([*done, name])
            final = not any(part not in (b"", b".") for part in todo)
            if final and not last:
                done.append(name)
                continue
            target = self._link(step)
            if target is None:
                done.append(name)
                continue
            if final and target == _NULL:
                return _NULL
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith(b"/"):
                done.clear()
            todo.extend(target.split(b"/")[::-1])
        return b"/" + b"/".join(done)

    def _link(self, path: bytes) -> bytes | None:
        if path in self._links:
            return self._links[path]
        host = self.host(path)
        target = None
        # Most components are directories, and a readlink() that fails is slower than a look.
        if stat.S_ISLNK(os.lstat(host).st_mode):
            target = os.readlink(host)
        self._links[path] = target
        return target
