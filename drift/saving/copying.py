"""Copy one entry with everything that is its own: content, holes, links, owner, times, attributes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from drift.btrfs.ioctl import clone, copy_nocow
from drift.saving.beneath import DIRECTORY, names_in, open_beneath, proc_path, read_xattrs
from drift.saving.records import is_portable
from drift.saving.source import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drift.saving.source import Place, Tree

BLOCK = 1024 * 1024
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Two names that can't be one file here: other filesystems, or more names than an inode can have.
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOENT)


class Links:
    """Where in the store the files with several names lie that are there already.

    An entry is known by its path in the source; `at` says under which path of the store it is now,
    None as long as it isn't.
    """

    def __init__(self, store: int) -> None:
        self.store = store
        self.at: dict[bytes, bytes | None] = {}
        self._known: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def add(self, inode: tuple[int, int], entry: bytes, relative: bytes) -> None:
        self._known.setdefault(inode, (entry, relative))

    def link(self, of: os.stat_result, into: int, name: bytes) -> bool:
        """Make `name` another name of the copy of the file `of`; False where there is none."""
        entry, relative = self._known.get((of.st_dev, of.st_ino), (b"", b""))
        base = self.at.get(entry)
        if base is None:
            return False
        path = base + b"/" + relative if relative else base
        directory, _, last = path.rpartition(b"/")
        try:
            parent = open_beneath(self.store, directory, DIRECTORY)
            try:
                os.link(last, name, src_dir_fd=parent, dst_dir_fd=into, follow_symlinks=False)
            finally:
                os.close(parent)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        made = os.stat(name, dir_fd=into, follow_symlinks=False)
        if (made.st_mtime_ns, made.st_size) == (of.st_mtime_ns, of.st_size):
            return True
        # The store had it already, with another time.
        os.unlink(name, dir_fd=into)
        return False

    def forget(self, entry: bytes) -> None:
        """The entry's copy is gone: nothing can be linked to it."""
        self.at.pop(entry, None)
        self._known = {inode: place for inode, place in self._known.items() if place[0] != entry}


class Copier:
    """Copies entries of `tree`; `progress` is told of bytes as they are written."""

    def __init__(self, tree: Tree, links: Links, progress: Callable[[int], None]) -> None:
        self.tree = tree
        self.links = links
        self.progress = progress

    def copy(self, place: Place, into: int, name: bytes) -> None:
        """Make `name` in the open directory `into` a copy of `place`; it must not exist yet.

        What can't be copied is an OSError, and then a part may be there.
        """
        self._copy(place, into, name, place.path)

    def _copy(self, place: Place, into: int, name: bytes, entry: bytes) -> None:
        status = place.status()
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            if self.links.link(status, into, name):
                return
            inode = status.st_dev, status.st_ino
            self.links.add(inode, entry, place.path[len(entry) :].lstrip(b"/"))
        xattrs = place.xattrs()
        if kind == stat.S_IFDIR:
            self._directory(place, into, name, entry)
        elif kind == stat.S_IFREG:
            self._file(place, status, into, name)
        elif kind == stat.S_IFLNK:
            os.symlink(place.target(), name, dir_fd=into)
        else:
            os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=into)
        set_properties(into, name, status, xattrs)

    def _directory(self, place: Place, into: int, name: bytes, entry: bytes) -> None:
        with_children = place.open_directory()
        try:
            made = make_directory(into, name)
            try:
                copy_nocow(with_children, made)
                for child in self.tree.children(place, with_children):
                    last = child.path.rpartition(b"/")[2]
                    self._copy(child, made, last, entry)
            finally:
                os.close(made)
        finally:
            os.close(with_children)

    def _file(self, place: Place, status: os.stat_result, into: int, name: bytes) -> None:
        source = place.open_file()
        try:
            found = os.fstat(source)
            if (found.st_dev, found.st_ino) != (status.st_dev, status.st_ino):
                raise ChangedError(place.path)
            target = os.open(name, _NEW_FILE, 0o600, dir_fd=into)
            try:
                # A file without checksums shares its extents with its like only.
                copy_nocow(source, target)
                if clone(target, source):
                    self.progress(found.st_size)
                else:
                    _copy_data(source, target, found.st_size, self.progress)
            finally:
                os.close(target)
        finally:
            os.close(source)


def make_directory(into: int, name: bytes) -> int:
    """Make a directory that nobody else may enter yet, and open it."""
    os.mkdir(name, 0o700, dir_fd=into)
    made = os.open(name, DIRECTORY, dir_fd=into)
    # Whoever owns the directory above could have put another one in its place.
    if os.fstat(made).st_uid != os.geteuid() or names_in(made):
        os.close(made)
        raise ChangedError(name)
    return made


def set_properties(
    into: int, name: bytes, status: os.stat_result, xattrs: Mapping[bytes, bytes]
) -> None:
    """Give a new entry the owner, attributes, mode and times of `status`, and no others."""
    if stat.S_ISLNK(status.st_mode):
        _apply(proc_path(into, name), status, xattrs, read_xattrs(into, name), follow=False)
        return
    # Through a handle: in a directory of somebody else's, the name may become a link meanwhile.
    handle = os.open(name, _HANDLE, dir_fd=into)
    try:
        found = os.fstat(handle)
        if stat.S_IFMT(found.st_mode) != stat.S_IFMT(status.st_mode):
            raise ChangedError(name)
        inherited = read_xattrs(into, name)
        _apply(b"/proc/self/fd/%d" % handle, status, xattrs, inherited, follow=True)
    finally:
        os.close(handle)


def _apply(
    path: bytes,
    status: os.stat_result,
    xattrs: Mapping[bytes, bytes],
    inherited: Mapping[bytes, bytes],
    *,
    follow: bool,
) -> None:
    # chown takes capabilities and set-user-id bits away, so both come after it.
    os.chown(path, status.st_uid, status.st_gid, follow_symlinks=follow)
    for name in inherited:
        if name not in xattrs and is_portable(name):
            os.removexattr(path, name, follow_symlinks=follow)
    for name, value in xattrs.items():
        if is_portable(name):
            if inherited.get(name) != value:
                os.setxattr(path, name, value, follow_symlinks=follow)
        else:
            with suppress(OSError):
                os.setxattr(path, name, value, follow_symlinks=follow)
    if follow:
        os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=follow)


def _copy_data(source: int, target: int, size: int, progress: Callable[[int], None]) -> None:
    """Copy all data and keep the holes."""
    buffer = memoryview(bytearray(BLOCK))
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        offset = os.lseek(source, start, os.SEEK_HOLE)
        while start < offset:
            count = os.preadv(source, [buffer[: min(BLOCK, offset - start)]], start)
            if count == 0:
                break
            written = 0
            while written < count:
                written += os.pwrite(target, buffer[written:count], start + written)
            start += count
            progress(count)
        if start < offset:
            break
    os.ftruncate(target, size)
