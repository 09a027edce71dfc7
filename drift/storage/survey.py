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
    from collections.abc import Callable, Container, Iterable

# By kind and number of the owner: how many entries of a directory, and the first of their names.
_Strange = dict[tuple[str, int], tuple[int, str]]

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
        # Those that are somebody's, as far as they were met: to ask takes longer than to look.
        self._uids: set[int] = set()
        self._gids: set[int] = set()
        self._progress = progress
        self._tallies: list[Tally] = []
        self._waiting: list[tuple[bytes, Node | None, Tally | None]] = []

    def read(self, expected: Node) -> None:
        """Everything in the store, each entry counted for the innermost that has it and those above."""
        self._descend(b"", expected, None)
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
            self._descend(path, None, tally)
        return tally

    def _descend(self, path: bytes, node: Node | None, tally: Tally | None) -> None:
        self._waiting = [(path, node, tally)]
        while self._waiting:
            self._directory(*self._waiting.pop())
            self._progress(self.seen)

    def _directory(self, path: bytes, node: Node | None, tally: Tally | None) -> None:
        strange: _Strange = {}
        try:
            opened = self._open(path)
            try:
                with os.scandir(opened) as entries:
                    if node is None and tally is not None:
                        self._all_of_one(path, entries, tally, strange)
                    elif node is not None:
                        self._by_name(path, entries, node, tally, strange)
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

    def _all_of_one(
        self, path: bytes, entries: Iterable[os.DirEntry[str]], tally: Tally, strange: _Strange
    ) -> None:
        """Count what lies in a directory that is one thing with all below it: most of all files."""
        uids, gids = self._uids, self._gids
        seen = files = size = newest = used = 0
        try:
            for entry in entries:
                seen += 1
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if (written := found.st_mtime_ns) > newest:
                    newest = written
                if found.st_mode & _FORMAT == _DIRECTORY:
                    self._waiting.append((path + b"/" + os.fsencode(entry.name), None, tally))
                else:
                    files += 1
                    size += found.st_size
                    if (read := found.st_atime_ns) > used:
                        used = read
                if found.st_uid not in uids:
                    self._ask("uid", found.st_uid, entry.name, strange)
                if found.st_gid not in gids:
                    self._ask("gid", found.st_gid, entry.name, strange)
        finally:
            self.seen += seen
            tally.files += files
            tally.bytes += size
            tally.newest = max(tally.newest, newest)
            tally.used = max(tally.used, newest, used)

    def _by_name(
        self,
        path: bytes,
        entries: Iterable[os.DirEntry[str]],
        node: Node,
        tally: Tally | None,
        strange: _Strange,
    ) -> None:
        """Count what lies in a directory where some names have a role, or lead to one."""
        for entry in entries:
            self.seen += 1
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = os.fsencode(entry.name)
            step = self._step(path, node, tally, name, found)
            if step is None:
                continue
            into, below = step
            if into is not None:
                _count(into, found)
            if found.st_mode & _FORMAT == _DIRECTORY:
                self._waiting.append((path + b"/" + name, below, into))
            if found.st_uid not in self._uids:
                self._ask("uid", found.st_uid, entry.name, strange)
            if found.st_gid not in self._gids:
                self._ask("gid", found.st_gid, entry.name, strange)

    def _ask(self, kind: str, number: int, name: str, strange: _Strange) -> None:
        """Note an entry of an owner that was not met before, or that nobody is."""
        known, met = (self._ids.uids, self._uids) if kind == "uid" else (self._ids.gids, self._gids)
        if known is None or number in known:
            met.add(number)
            return
        count, first = strange.get((kind, number), (0, name))
        strange[kind, number] = count + 1, min(first, name, key=os.fsencode)

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
