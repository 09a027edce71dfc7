"""Read a large tree with several processes, which share its key space by inode number."""

from __future__ import annotations

import marshal
import mmap
import os
import time
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from drift.btrfs.columns import MOST_INODES, Columns, add_folders, read_columns
from drift.btrfs.ioctl import Search
from drift.btrfs.items import LAST_FREE_OBJECTID
from drift.btrfs.trees import highest_inode
from drift.errors import DriftError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable
    from io import BufferedWriter

# A tree that is read within so many buffers is not worth a second process.
BUFFERS_ALONE = 4
# Who gets these at less than this share of a processor, and waits for each of them more often than
# that, waits for the disk.
WAITING = 0.5
WAITS = 2
MOST_PROCESSES = 4
# With so many, a disk has several requests at once to choose from.
WAITING_PROCESSES = 8
# Work is handed out in pieces, for inodes lie closer in some places than in others.
PIECES = 96
# The number of what was read before there were pieces.
FIRST = -1
# What comes after all parts of a process: what it knows of directories.
FOLDERS = -1
# The bytes before a message that say how long it is.
LENGTH = 8

Part = tuple[Columns, Any]


class Sift(Protocol):
    """What is made of each part of the columns by whoever has read it."""

    def __call__(self, search: Search, columns: Columns) -> Any: ...

    def packed(self, made: Any) -> Any:
        """What was made in plain types, as it can go to another process."""

    def unpacked(self, plain: Any) -> Any:
        """What was made from what `packed` made of it."""


# The columns that are arrays, in the order in which a process sends them.
ARRAYS = (
    "inodes",
    "parents",
    "generations",
    "sizes",
    "seconds",
    "nanoseconds",
    "touched",
)


def read_tree(
    search: Search,
    tree: int,
    since: int,
    *,
    sift: Sift | None = None,
    progress: Callable[[int], None] | None = None,
    processes: int | None = None,
) -> tuple[Columns, list[Any]]:
    """What `read_columns` gives for all of `tree`, read by as many processes as pay.

    Whoever has read a part of it also makes of it what `sift` does; the second value holds that of
    each part, and the columns no longer what is there of the touched.

    A process that dies leaves its pieces to this one; errors of all of them are raised here.
    """
    columns = Columns()
    highest = highest_inode(search, tree)
    jump = highest < MOST_INODES
    begun, busy, waits = time.perf_counter(), time.process_time(), _waits()
    reached = read_columns(
        search, tree, since, into=columns, progress=progress, buffers=BUFFERS_ALONE, jump=jump
    )
    share = (time.process_time() - busy) / (time.perf_counter() - begun)
    waits = _waits() - waits
    if reached is None:
        return columns, [_sifted(search, sift, columns)]
    if processes is None:
        processes = min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
        if share < WAITING and waits > WAITS * BUFFERS_ALONE:
            processes = WAITING_PROCESSES
    pieces = _pieces(reached, highest)
    if processes < 2 or len(pieces) < 2:
        sifted = [_sifted(search, sift, columns)]
        rest = Columns(folders=columns.folders)
        read_columns(search, tree, since, first=reached, into=rest, progress=progress, jump=jump)
        sifted.append(_sifted(search, sift, rest))
        _append(columns, rest)
        return columns, sifted
    work = _Work(tree, since, sift, pieces, jump)
    found = _share(search, work, processes, columns, progress)
    sifted = [found.pop(FIRST)[1]]
    for index in range(len(pieces)):
        piece, made = found.pop(index)
        _append(columns, piece)
        sifted.append(made)
    return columns, sifted


class _Work(NamedTuple):
    """What the processes share: a tree, and the ranges of inodes to read of it."""

    tree: int
    since: int
    sift: Sift | None
    pieces: list[tuple[int, int]]
    jump: bool

    def read(
        self,
        search: Search,
        index: int,
        folders: dict[int, list[int]],
        progress: Callable[[int], None] | None = None,
    ) -> Part:
        """Read one piece; what it tells of directories is added to `folders`."""
        first, last = self.pieces[index]
        piece = Columns(folders=folders)
        read_columns(
            search,
            self.tree,
            self.since,
            first=first,
            last=last,
            into=piece,
            progress=progress,
            jump=self.jump,
        )
        return piece, _sifted(search, self.sift, piece)


def _waits() -> int:
    """How often this process has waited by itself, and not because others had the processor."""
    return getrusage(RUSAGE_SELF).ru_nvcsw


def _sifted(search: Search, sift: Sift | None, columns: Columns) -> Any:
    made = None if sift is None else sift(search, columns)
    columns.rewritten, columns.passed = [], {}
    return made


def _pieces(first: int, highest: int) -> list[tuple[int, int]]:
    width = max(1, -(-(highest - first + 1) // PIECES))
    starts = range(first, highest + 1, width)
    pieces = [(start, start + width - 1) for start in starts]
    if pieces:
        # What is made meanwhile has higher numbers.
        pieces[-1] = pieces[-1][0], LAST_FREE_OBJECTID
    return pieces


def _share(
    search: Search,
    work: _Work,
    processes: int,
    columns: Columns,
    progress: Callable[[int], None] | None,
) -> dict[int, Part]:
    """Read all pieces, in whatever order; what they tell of directories is added to `columns`.

    What is to be made of `columns`, which were read before, is made while the others read: FIRST.
    """
    # Each byte in the pipe is a piece; whoever reads it does it. All of them fit in at once.
    tickets, give = os.pipe()
    os.write(give, bytes(range(len(work.pieces))))
    os.close(give)
    children: list[tuple[int, _Inbox]] = []
    found: dict[int, Part] = {}
    try:
        for _ in range(processes - 1):
            memory = os.memfd_create("drift", os.MFD_CLOEXEC)
            pid = os.fork()
            if pid == 0:
                _work(search.fd, work, tickets, memory)
            children.append((pid, _Inbox(memory, work.sift)))
        rows = before = len(columns.names)

        def report(count: int) -> None:
            if progress is not None:
                # The others are about as far.
                progress(before + (rows - before + count) * processes)

        found[FIRST] = columns, _sifted(search, work.sift, columns)
        while ticket := os.read(tickets, 1):
            piece = work.read(search, ticket[0], columns.folders, report)
            rows += len(piece[0].names)
            found[ticket[0]] = piece
        for _, inbox in children:
            # What is there already, while the others are at their last pieces.
            inbox.receive()
        for pid, inbox in children:
            _, status = os.waitpid(pid, 0)
            if status:
                # It did not come to say what it knows of directories; its pieces are read again below.
                continue
            inbox.receive()
            found.update(inbox.parts)
            add_folders(columns.folders, inbox.folders)
    finally:
        os.close(tickets)
        for _, inbox in children:
            os.close(inbox.memory)
    for index in range(len(work.pieces)):
        if index not in found:
            found[index] = work.read(search, index, columns.folders)
    return found


def _work(fd: int, work: _Work, tickets: int, memory: int) -> None:
    """Read pieces until there are none, leave them in `memory`, and end this process."""
    status = 1
    try:
        search = Search(fd)
        folders: dict[int, list[int]] = {}
        with open(memory, "wb", closefd=False) as file:
            while ticket := os.read(tickets, 1):
                # At once, while the others are still reading: at the end they would wait for it.
                piece = work.read(search, ticket[0], folders)
                _send(file, (ticket[0], _packed(piece, work.sift)))
            _send(file, (FOLDERS, folders))
        status = 0
    except (DriftError, OSError, MemoryError):
        # This process's pieces are missing then, and the parent meets the same error itself.
        pass
    finally:
        os._exit(status)


def _send(file: BufferedWriter, message: tuple[int, Any]) -> None:
    plain = marshal.dumps(message)
    file.write(len(plain).to_bytes(LENGTH, "little"))
    file.write(plain)
    file.flush()


class _Inbox:
    """What another process leaves in its `memory`: one message after the other."""

    def __init__(self, memory: int, sift: Sift | None) -> None:
        self.memory = memory
        self.parts: dict[int, Part] = {}
        self.folders: dict[int, list[int]] = {}
        self._sift = sift
        self._position = 0

    def receive(self) -> None:
        """Take the messages that have come in full."""
        size = os.fstat(self.memory).st_size
        if size == self._position:
            return
        # From a file marshal reads a few bytes at a time, which takes many times as long.
        with mmap.mmap(self.memory, size, prot=mmap.PROT_READ) as contents:
            while (start := self._position + LENGTH) <= size:
                end = start + int.from_bytes(contents[self._position : start], "little")
                if end > size:
                    break
                index, plain = marshal.loads(contents[start:end])
                if index == FOLDERS:
                    self.folders = plain
                else:
                    self.parts[index] = _unpacked(plain, self._sift)
                self._position = end


def _packed(part: Part, sift: Sift | None) -> tuple[Any, ...]:
    columns, made = part
    return (
        tuple(getattr(columns, name).tobytes() for name in (*ARRAYS, "others")),
        bytes(columns.owners),
        columns.names,
        columns.targets,
        columns.directories,
        made if sift is None else sift.packed(made),
    )


def _unpacked(plain: tuple[Any, ...], sift: Sift | None) -> Part:
    arrays, owners, names, targets, directories, made = plain
    columns = Columns()
    for name, content in zip((*ARRAYS, "others"), arrays, strict=True):
        getattr(columns, name).frombytes(content)
    columns.owners.extend(owners)
    columns.names = names
    columns.targets = targets
    columns.directories = directories
    return columns, made if sift is None else sift.unpacked(made)


def _append(columns: Columns, piece: Columns) -> None:
    rows = len(columns.names)
    for name in ARRAYS:
        column: array[int] = getattr(columns, name)
        column.extend(getattr(piece, name))
    columns.owners.extend(piece.owners)
    columns.names += piece.names
    columns.targets.update({rows + row: target for row, target in piece.targets.items()})
    columns.directories.update(piece.directories)
    columns.others.extend([rows + row for row in piece.others])
