"""The persistent storage, open for one save: its lock, its manifest, and ways to write into it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from drift.btrfs.ioctl import lock
from drift.errors import DriftError
from drift.names import shown
from drift.saving.beneath import (
    DIRECTORY,
    exists,
    open_beneath,
    parts,
    remove_tree,
    rename_new,
)
from drift.saving.copying import make_directory, set_properties
from drift.saving.manifest import Manifest, open_private, read_manifest, write_manifest
from drift.saving.source import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TEMPORARY = b".drift-save-"


class Store:
    """The directory `path` of the live system, open as `top`; `private` holds the manifest.

    Every name below it is reached from its descriptor, without following a symlink.
    """

    def __init__(self, path: bytes, top: int, private: int, manifest: Manifest) -> None:
        self.path = path
        self.top = top
        self.private = private
        self.manifest = manifest
        self.tree = Tree(top)

    def write(self, manifest: Manifest) -> None:
        """DriftError where the store takes no more."""
        with _writing(self.path):
            write_manifest(self.private, manifest)
        self.manifest = manifest

    def clean(self) -> None:
        """Remove the temporary entries that an interrupted run has left."""
        for path in self.manifest.pending:
            directory, _, name = path.rpartition(b"/")
            if not name.startswith(TEMPORARY):
                continue
            with suppress(FileNotFoundError, NotADirectoryError):
                parent = self.open_directory(directory)
                try:
                    remove_tree(name, parent)
                finally:
                    os.close(parent)
        if self.manifest.pending:
            self.write(self.manifest.with_pending(()))

    def expect(self, paths: Iterable[bytes]) -> None:
        """Note every temporary name that saving `paths` may use, before the first one is used."""
        names = set()
        for path in paths:
            for above in [*_above(path), path]:
                parent = above.rpartition(b"/")[0].lstrip(b"/")
                names.add((parent + b"/" if parent else b"") + temporary_name(above))
        self.write(self.manifest.with_pending(names))

    def open_directory(self, path: bytes) -> int:
        try:
            return open_beneath(self.top, path, DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise OSError(
                    error.errno, "a symlink is in its way in the persistent storage", path
                ) from error
            raise

    @contextmanager
    def parent(self, source: Tree, path: bytes) -> Iterator[int]:
        """The directory of the store that `path` goes into, made like the source's if missing."""
        current = os.dup(self.top)
        try:
            for above in _above(path):
                name = above.rpartition(b"/")[2]
                if not exists(name, current):
                    _make_like(source, above, current, name)
                below = open_beneath(current, name, DIRECTORY)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


@contextmanager
def open_store(host: bytes, path: bytes) -> Iterator[Store]:
    """Open the store at the directory `host`, which the live system calls `path`, for writing."""
    top = open_top(host, path)
    try:
        with _writing(path):
            private = open_private(top, make=True)
        try:
            if not lock(private):
                raise DriftError(
                    f"another drift save is writing to {shown(path)}", "wait until it has finished"
                )
            yield Store(path, top, private, read_manifest(private))
        finally:
            os.close(private)
    finally:
        os.close(top)


@contextmanager
def _writing(path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DriftError(
            f"the persistent storage {shown(path)} can't be written to:"
            f" {(error.strerror or str(error)).lower()}",
            "look how it is mounted, and how much room it has left",
        ) from error


def open_top(host: bytes, path: bytes) -> int:
    try:
        return os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DriftError(
            f"there is no persistent storage at {shown(path)}",
            "mount it, or say where it is with --persist PATH",
        ) from error


def temporary_name(path: bytes) -> bytes:
    """The name beside `path` under which its copy is made: always the same, so it is found."""
    from xxhash import xxh3_64

    return TEMPORARY + xxh3_64(path).hexdigest().encode()


def _above(path: bytes) -> list[bytes]:
    names = parts(path)
    return [b"/" + b"/".join(names[:count]) for count in range(1, len(names))]


def _make_like(source: Tree, path: bytes, into: int, name: bytes) -> None:
    """Make a directory with the owner, mode and attributes that `path` has in the source."""
    with source.place(path) as place:
        status, xattrs = place.status(), place.xattrs()
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, "it is no directory in the live root", path)
    temporary = temporary_name(path)
    remove_tree(temporary, into)
    try:
        os.close(make_directory(into, temporary))
        set_properties(into, temporary, status, xattrs)
        rename_new(temporary, name, into)
    except BaseException:
        with suppress(OSError):
            remove_tree(temporary, into)
        raise
    os.fsync(into)
