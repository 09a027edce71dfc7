"""Read a store once and add up what lies in it, by whose it is; no per-file objects are kept."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import kind_of
from drift.model import Kind, Skipped
from drift.saving.beneath import DIRECTORY, open_beneath
from drift.storage.expected import Node, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Container

_FORMAT, _DIRECTORY = 0o170000, stat.S_IFDIR
# What was listed is gone, or something else by now: nothing is left unread.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(slots=True)
class Tally:
    """All that lies at and below `path`: entries that are no directories, and their bytes.

    `newest` is the newest mtime of all entries, `used` that or the newest atime of a file: that of
    a directory tells who listed it. `size` is the entry's own. `whole` is False where something
    could not be read.
    """

    path: bytes
    kind: Kind
    size: int
    above: Tally | None = None
    files: int = 0
    bytes: int = 0
    newest: int = 0
    used: int = 0
    whole: bool = True


@dataclass(slots=True)
class Stranger:
    """An id that no account has: how many entries, and the shallowest of them, first by name."""

    entries: int
    example: bytes


class Ids(NamedTuple):
    """The numbers that somebody has; None where that can't be known."""

    uids: Container[int] | None
    gids: Container[int] | None


class Survey:
    """One reading of the store open at `top`; `claimed` are the tallies of what has a role.

    `strangers` are by `uid` or `gid` and number. Skipped paths are those of the store.
    """

    def __init__(
        self, top: int, ids: Ids, progress: Callable[[int], None] = lambda _count: None
    ) -> None:
        self.undeclared: list[Tally] = []
        self.claimed: dict[bytes, Tally] = {}
        self.strangers: dict[tuple[str, int], Stranger] = {}
        self.skipped: list[Skipped] = []
        self.seen = 0
        self._top = top
        self._ids = ids
        self._progress = progress
        self._tallies: list[Tally] = []
        self._waiting: list[tuple[bytes, Node | None, Tally | None]] = []

    def read(self, expected: Node) -> None:
        """Everything in the store, each entry counted for the innermost that has it and those above."""
        self._waiting = [(b"", expected, None)]
        while self._waiting:
            self._directory(*self._waiting.pop())
            self._progress(self.seen)
        for tally in reversed(self._tallies):
            if tally.above is not None:
                _add(tally.above, tally)
        for found in (self.undeclared, self.skipped):
            found.sort(key=lambda one: one.path.split(b"/"))

    def measure(self, path: bytes) -> Tally | None:
        """The tally of one path of the store and all below it; None where there is none."""
        above, _, name = path.rpartition(b"/")
        try:
            parent = open_beneath(self._top, above, DIRECTORY)
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except OSError as error:
            if error.errno not in _GONE:
                self.skipped.append(Skipped(path, error.strerror or "can't be read"))
            return None
        tally = self._begin(path, found, None)
        _count(tally, found)
        if stat.S_ISDIR(found.st_mode):
            self._waiting = [(path, None, tally)]
            while self._waiting:
                self._directory(*self._waiting.pop())
                self._progress(self.seen)
        return tally

    def _directory(self, path: bytes, node: Node | None, tally: Tally | None) -> None:
        strange: dict[tuple[str, int], tuple[int, str]] = {}
        uids, gids = self._ids
        try:
            opened = self._open(path)
            try:
                with os.scandir(opened) as entries:
                    for entry in entries:
                        self.seen += 1
                        try:
                            found = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        into, below = tally, None
                        if node is not None:
                            step = self._step(path, node, tally, os.fsencode(entry.name), found)
                            if step is None:
                                continue
                            into, below = step
                        if uids is not None and found.st_uid not in uids:
                            _note(strange, ("uid", found.st_uid), entry.name)
                        if gids is not None and found.st_gid not in gids:
                            _note(strange, ("gid", found.st_gid), entry.name)
                        if into is not None:
                            _count(into, found)
                        if found.st_mode & _FORMAT == _DIRECTORY:
                            place = path + b"/" + os.fsencode(entry.name)
                            self._waiting.append((place, below, into))
            finally:
                os.close(opened)
        except OSError as error:
            if error.errno not in _GONE:
                self.skipped.append(Skipped(path or b"/", error.strerror or "can't be read"))
                while tally is not None:
                    tally.whole = False
                    tally = tally.above
        for key, (count, name) in strange.items():
            self._stranger(key, count, path + b"/" + os.fsencode(name))

    def _open(self, path: bytes) -> int:
        try:
            # Looking must not leave a trace: who asks next what was used would find drift.
            return open_beneath(self._top, path, DIRECTORY | os.O_NOATIME)
        except PermissionError:
            return open_beneath(self._top, path, DIRECTORY)

    def _step(
        self,
        path: bytes,
        node: Node,
        tally: Tally | None,
        name: bytes,
        found: os.stat_result,
    ) -> tuple[Tally | None, Node | None] | None:
        """What an entry of a directory that has a node counts for, and its own node.

        None for what is not looked at.
        """
        child = node.children.get(name)
        place = path + b"/" + name
        if child is not None and child.role is Role.OWN:
            return None
        if child is not None and child.role is not None:
            self.claimed[place] = tally = self._begin(place, found, tally)
            return tally, child if child.children else None
        # A link may lead to what is declared; anything else that is no directory can't.
        if child is not None and (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return tally, child
        if tally is None:
            tally = self._begin(place, found, None)
            self.undeclared.append(tally)
        return tally, None

    def _begin(self, path: bytes, found: os.stat_result, above: Tally | None) -> Tally:
        tally = Tally(path, kind_of(found.st_mode), found.st_size, above)
        self._tallies.append(tally)
        return tally

    def _stranger(self, key: tuple[str, int], count: int, example: bytes) -> None:
        known = self.strangers.setdefault(key, Stranger(0, example))
        known.entries += count
        known.example = min(known.example, example, key=lambda path: (path.count(b"/"), path))


def _count(tally: Tally, found: os.stat_result) -> None:
    written = found.st_mtime_ns
    tally.newest = max(tally.newest, written)
    if found.st_mode & _FORMAT == _DIRECTORY:
        tally.used = max(tally.used, written)
        return
    tally.files += 1
    tally.bytes += found.st_size
    tally.used = max(tally.used, written, found.st_atime_ns)


def _add(above: Tally, tally: Tally) -> None:
    above.files += tally.files
    above.bytes += tally.bytes
    above.newest = max(above.newest, tally.newest)
    above.used = max(above.used, tally.used)


def _note(strange: dict[tuple[str, int], tuple[int, str]], key: tuple[str, int], name: str) -> None:
    count, first = strange.get(key, (0, name))
    strange[key] = count + 1, min(first, name, key=os.fsencode)
