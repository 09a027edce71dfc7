"""Move what is nobody's to a dated directory of its own store, by rename, and back again."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.ioctl import lock
from drift.errors import DriftError
from drift.model import Skipped
from drift.names import shown
from drift.places import ancestors
from drift.saving.beneath import DIRECTORY, exists, open_beneath, sync_filesystem
from drift.saving.manifest import DIRECTORY_NAME, Manifest, open_private
from drift.saving.source import Tree
from drift.saving.store import Store, temporary_name
from drift.storage.batch import Batch, forget_batch, names_of, read_batch, write_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.storage.batch import Moved
    from drift.storage.view import View

NAME = b"quarantine"
# Where it is, from the top of the store.
PATH = b"/" + DIRECTORY_NAME + b"/" + NAME
_RENAME_NOREPLACE = 1  # linux/fs.h


class Outcome(NamedTuple):
    """What became of one path; `why` says why it was not moved."""

    path: bytes
    why: str = ""


class Quarantine:
    """The quarantine of a store, open for one run: the store `top` and the directory of batches.

    Every name is reached from these, without following a symlink.
    """

    def __init__(self, top: int, private: int, folder: int) -> None:
        self._top = top
        self._private = private
        self._folder = folder

    def add(self, batch: Batch) -> list[Outcome]:
        """Move every entry of `batch` into its directory.

        It is noted before the first one is moved, and each is moved whole or not at all: whenever
        this ends, all is where it was or where the note says.
        """
        if batch.directory in names_of(self._folder):
            raise DriftError(f"there is a quarantine of {batch.date} already", "run it once more")
        try:
            write_batch(self._folder, batch)
            os.mkdir(batch.directory, 0o700, dir_fd=self._folder)
        except OSError as error:
            raise DriftError(
                f"the quarantine can't be written to: {error.strerror}", "nothing was moved"
            ) from error
        inside = os.open(batch.directory, DIRECTORY, dir_fd=self._folder)
        try:
            done = [self._move(one.path, self._top, inside) for one in batch.entries]
            sync_filesystem(self._top)
        finally:
            os.close(inside)
        self.tidy()
        return done

    def restore(self, batch: Batch, entries: Sequence[Moved]) -> list[Outcome]:
        """Move `entries` of `batch` back to where they came from, where nothing else is there now."""
        try:
            inside = open_beneath(self._folder, batch.directory, DIRECTORY)
        except FileNotFoundError:
            return [Outcome(one.path, _MISSING) for one in entries]
        try:
            done = [self._move(one.path, inside, self._top) for one in entries]
            sync_filesystem(self._top)
        finally:
            os.close(inside)
        self.tidy()
        return done

    def _move(self, path: bytes, source: int, target: int) -> Outcome:
        tree = Tree(source)
        try:
            with tree.place(path) as place:
                if not exists(place.name, place.directory):
                    return Outcome(path, _MISSING)
                store = Store(b"", target, self._private, Manifest())
                with store.parent(tree, path) as into:
                    _rename(place.name, place.directory, into)
        except OSError as error:
            return Outcome(path, _why(error))
        return Outcome(path)

    def tidy(self) -> None:
        """Remove the empty directories that led to entries, and each note of which nothing is left."""
        for name in names_of(self._folder):
            with suppress(DriftError):
                self._tidy(read_batch(self._folder, name))

    def _tidy(self, batch: Batch) -> None:
        above = {path for one in batch.entries for path in ancestors(one.path)}
        with suppress(FileNotFoundError):
            inside = open_beneath(self._folder, batch.directory, DIRECTORY)
            try:
                for path in sorted(above, key=lambda path: -path.count(b"/")):
                    _remove_if_empty(inside, path)
            finally:
                os.close(inside)
        with suppress(OSError):
            os.rmdir(batch.directory, dir_fd=self._folder)
        if not exists(batch.directory, self._folder):
            forget_batch(self._folder, batch)


@contextmanager
def open_quarantine(view: View) -> Iterator[Quarantine]:
    """Open the quarantine of a store for moving, and make it if it isn't there."""
    top = view.open_top()
    try:
        private = _open_private(view, top)
        try:
            if not lock(private):
                raise DriftError(
                    f"another drift is writing to {shown(view.path)}", "wait until it has finished"
                )
            with suppress(FileExistsError):
                os.mkdir(NAME, 0o700, dir_fd=private)
            folder = _open_folder(private)
            try:
                yield Quarantine(top, private, folder)
            finally:
                os.close(folder)
        finally:
            os.close(private)
    finally:
        os.close(top)


def _open_private(view: View, top: int) -> int:
    try:
        return open_private(top, make=True)
    except OSError as error:
        raise DriftError(
            f"{shown(view.path)} can't be written to: {error.strerror}",
            "drift keeps what it moves in .drift in the persistent storage",
        ) from error


def read_batches(view: View) -> tuple[tuple[Batch, ...], list[Skipped]]:
    """What is in the quarantine of a store, oldest first, and what of it can't be told."""
    found: list[Batch] = []
    problems: list[Skipped] = []
    try:
        with _folder(view) as folder:
            for name in names_of(folder):
                try:
                    found.append(_present(folder, read_batch(folder, name)))
                except DriftError as error:
                    place = view.shown_path(PATH + b"/" + name)
                    problems.append(Skipped(place, error.message))
    except FileNotFoundError:
        return (), []
    except DriftError as error:
        return (), [Skipped(view.shown_path(PATH), error.message)]
    return tuple(batch for batch in found if batch.entries), problems


def taken_dates(view: View) -> list[str]:
    """Every date that the quarantine of a store has had, as long as anything tells of it."""
    try:
        with _folder(view) as folder:
            return [name.decode() for name in names_of(folder)]
    except (FileNotFoundError, DriftError):
        return []


@contextmanager
def _folder(view: View) -> Iterator[int]:
    """The directory of batches for reading; FileNotFoundError where there is none."""
    top = view.open_top()
    try:
        private = open_private(top, make=False)
        try:
            folder = _open_folder(private)
        finally:
            os.close(private)
    finally:
        os.close(top)
    try:
        yield folder
    finally:
        os.close(folder)


def crosses(view: View, path: bytes) -> str:
    """Why no rename can move `path` into the quarantine; empty where one can."""
    above = path.rpartition(b"/")[0]
    top = view.open_top()
    try:
        parent = open_beneath(top, above, DIRECTORY)
        try:
            device = os.fstat(parent).st_dev
        finally:
            os.close(parent)
        try:
            private = os.stat(DIRECTORY_NAME, dir_fd=top, follow_symlinks=False).st_dev
        except FileNotFoundError:
            private = os.fstat(top).st_dev
    except OSError as error:
        return _why(error)
    finally:
        os.close(top)
    return "" if device == private else _CROSSES


_MISSING = "it is no longer there"
_CROSSES = (
    "it is on another filesystem or subvolume than the store's quarantine, and a rename can't"
)
_CROSSES += " move it there"
_WHYS = {
    errno.ENOENT: _MISSING,
    errno.EXDEV: _CROSSES,
    errno.EBUSY: "something is mounted there",
    errno.EEXIST: "something else is in its place now",
    errno.ENOTEMPTY: "something else is in its place now",
    errno.ELOOP: "a symlink is in its way, which drift does not follow",
    errno.ENOTDIR: "something that is no directory is in its way",
    errno.EPERM: "the system does not allow it: it, or its directory, may be immutable (lsattr)",
}


def _why(error: OSError) -> str:
    return _WHYS.get(error.errno or 0) or error.strerror or "the system refused"


def _open_folder(private: int) -> int:
    try:
        return open_beneath(private, NAME, DIRECTORY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DriftError(
            "the quarantine in the persistent storage is no directory",
            f"move away what is at .drift/{NAME.decode()}",
        ) from error


def _present(folder: int, batch: Batch) -> Batch:
    """`batch` with those of its entries that are there."""
    try:
        inside = open_beneath(folder, batch.directory, DIRECTORY)
    except FileNotFoundError:
        return Batch(batch.date, ())
    try:
        there = []
        for one in batch.entries:
            with suppress(OSError), Tree(inside).place(one.path) as place:
                if exists(place.name, place.directory):
                    there.append(one)
        return Batch(batch.date, tuple(there))
    finally:
        os.close(inside)


def _remove_if_empty(top: int, path: bytes) -> None:
    above, _, name = path.rpartition(b"/")
    with suppress(OSError):
        parent = open_beneath(top, above, DIRECTORY)
        try:
            # A killed run may have left the second one.
            for each in (name, temporary_name(path)):
                with suppress(OSError):
                    os.rmdir(each, dir_fd=parent)
        finally:
            os.close(parent)


def _rename(name: bytes, source: int, target: int) -> None:
    """Move `name` to another directory; FileExistsError where it is taken there."""
    if _libc().renameat2(source, name, target, name, _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), name)
    # A filesystem without the flag; the lock keeps other runs of drift out.
    if exists(name, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
