"""Tell what was written between two moments: two readings of the live system's subvolumes."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs import subvolumes as btrfs
from drift.btrfs.ioctl import Search
from drift.btrfs.items import INODE, INODE_ITEM, Link, kind_of
from drift.btrfs.roots import list_subvolumes
from drift.diff.stream import change_of_row
from drift.diff.trees import ROOT, Side
from drift.model import Change, Kind, Status
from drift.system.mounts import join, mount_of, mounts_below, relative, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from drift.btrfs.subvolumes import Subvolume
    from drift.btrfs.trees import Node
    from drift.locate import Located
    from drift.system.mounts import Mount, MountPoint

# What Nix writes there it can make again, and it is no program's state.
OF_NIX = (b"/nix/store", b"/nix/var")

# linux/time.h: the clock that the kernel takes most times of files from. It lags behind the exact
# one, from which it takes those that somebody looked at in between.
CLOCK_REALTIME_COARSE = 5


class Recorder:
    """Reads all that can be written to on a live system's Btrfs when made; `written` reads it again.

    It covers each subvolume that is seen below the live root, on every Btrfs filesystem that is
    mounted there; `unseen` are the other mounts that outlive the root. It reads metadata alone and
    writes nothing, so that the old contents are gone at the second reading. It can tell:

    - what is new, also under a name that something else had before (a file that was replaced);
    - what was written to in place: its data, attributes, owner or mode. A file that was given the
      same bytes again counts, one that was only read does not.
    - what was renamed or got another name. Below a renamed directory nothing is listed.

    It can't tell who wrote: what other programs write meanwhile is seen as well. It doesn't see
    what was made and deleted in between, what was only deleted, and what `OF_NIX` holds.
    """

    def __init__(self, located: Located, *, progress: Callable[[int], None] | None = None) -> None:
        live = located.live_directory
        self.points = tuple(mounts_below(located.mounts, live))
        self._stack = ExitStack()
        mounts = [(b"/", mount_of(located.mounts, live))]
        mounts += [(point.path, point.mount) for point in self.points]
        self._view = View(mounts)
        try:
            self._filesystems = [
                _Filesystem(fd, device, self._view, self._stack, progress)
                for device, fd in self._open(mounts, live)
            ]
            # Last, so that what is written during the long reading is not taken for the program's.
            for filesystem in self._filesystems:
                filesystem.begin()
        except BaseException:
            self._stack.close()
            raise

    @property
    def unseen(self) -> tuple[MountPoint, ...]:
        return tuple(
            point for point in self.points if point.survives and point.mount.fstype != "btrfs"
        )

    def written(self) -> list[Change]:
        """What was written since, once for each name of it, sorted by path.

        Paths are rooted at the live root. Of an `M`, `replaced` says that a new file took the place
        of another; `T`, `P` and `R` are as in `drift diff`.
        """
        found = (change for one in self._filesystems for change in one.written())
        return sorted(found, key=lambda change: change.path.split(b"/"))

    def keeper(self, path: bytes) -> str | None:
        """What keeps `path` at a reboot; None where the root or the memory holds it."""
        above = [point for point in self.points if within(path, point.path)]
        nearest = max(above, key=lambda point: len(point.path), default=None)
        return nearest.describe if nearest is not None and nearest.survives else None

    def close(self) -> None:
        self._stack.close()

    def _open(
        self, mounts: Sequence[tuple[bytes, Mount]], live: bytes
    ) -> Iterator[tuple[str, int]]:
        """A directory of each Btrfs filesystem that is mounted, open."""
        known = set()
        for point, mount in mounts:
            path = join(live, point)
            if mount.fstype == "btrfs" and mount.device not in known and os.path.isdir(path):
                known.add(mount.device)
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._stack.callback(os.close, fd)
                yield mount.device, fd


class View:
    """Where a system sees what lies in a filesystem; `mounts` are all that are visible, by point."""

    def __init__(self, mounts: Iterable[tuple[bytes, Mount]]) -> None:
        self._points: dict[bytes, Mount] = dict(mounts)
        self._shown: dict[str, list[tuple[bytes, bytes]]] = {}
        # A bind mount shows a program what it shall use, the whole subvolume where that is kept.
        for point, mount in sorted(
            self._points.items(), key=lambda item: (-len(item[1].root), len(item[0]), item[0])
        ):
            self._shown.setdefault(mount.device, []).append((mount.root, point))

    def path(self, device: str, inside: bytes) -> bytes | None:
        """The path at which `inside`, rooted at the top level, is seen; None where it is not."""
        for root, point in self._shown.get(device, ()):
            if within(inside, root):
                path = join(point, relative(inside, root))
                if self._nearest(path) == point:
                    return path
        return None

    def shows(self, device: str, inside: bytes) -> bool:
        """Whether a part of `inside` may be seen, or a part that it is in."""
        return any(
            within(inside, root) or within(root, inside) for root, _ in self._shown.get(device, ())
        )

    def _nearest(self, path: bytes) -> bytes:
        while path not in self._points:
            path = path[: path.rfind(b"/")] or b"/"
        return path


class _Filesystem:
    def __init__(
        self,
        fd: int,
        device: str,
        view: View,
        stack: ExitStack,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._fd, self._device, self._view = fd, device, view
        self._search = Search(fd)
        stack.callback(self._search.close)
        # Inode items are delayed: without it a reading misses what was just written.
        btrfs.sync(fd)
        subvolumes = list_subvolumes(fd)
        self._known = frozenset(subvolumes)
        self._before = {
            one.id: Side(self._search, one, subvolumes, 0, progress)
            for one in self._visible(subvolumes)
        }
        self._since = self._started = 0

    def begin(self) -> None:
        self._since = btrfs.sync(self._fd)
        self._started = _next_tick()

    def written(self) -> Iterator[Change]:
        btrfs.sync(self._fd)
        subvolumes = list_subvolumes(self._fd)
        for one in self._visible(subvolumes):
            before = self._before.get(one.id)
            if before is None and one.id not in self._known:
                yield from self._seen(one, _new_subvolume(self._search, one, subvolumes))
            elif before is not None and one.generation > self._since:
                after = Side(self._search, one, subvolumes, self._since)
                pair = _Pair(before, after, self._since, self._started)
                yield from self._seen(one, pair.changes())

    def _visible(self, subvolumes: Mapping[int, Subvolume]) -> list[Subvolume]:
        return [
            one
            for one in subvolumes.values()
            if not one.read_only and self._view.shows(self._device, b"/" + one.path)
        ]

    def _seen(self, subvolume: Subvolume, changes: Iterable[Change]) -> Iterator[Change]:
        """The changes that the live system sees, with its own paths."""
        top = b"/" + subvolume.path

        def seen(path: bytes) -> bytes | None:
            return self._view.path(self._device, join(top, path))

        for change in changes:
            path = seen(change.path)
            if path is None or any(within(path, place) for place in OF_NIX):
                continue
            source = None if change.source is None else seen(change.source)
            yield change._replace(path=path, source=source)


def _next_tick() -> int:
    """A moment that parts file times: what changed before the call has an earlier ctime.

    What changes after the return has this one or a later, unless the clock is set back meanwhile.
    """
    now = time.time_ns()
    for _ in range(100):
        if (tick := time.clock_gettime_ns(CLOCK_REALTIME_COARSE)) > now:
            return tick
        time.sleep(0.001)
    return now


def _new_subvolume(
    search: Search, subvolume: Subvolume, subvolumes: Mapping[int, Subvolume]
) -> Iterator[Change]:
    """A subvolume that was made meanwhile, and what is in it; of a snapshot only itself."""
    side = Side(search, subvolume, subvolumes, 0)
    node = side.tree.node(ROOT)
    if node is not None:
        yield _change(Status.ADDED, b"/", node)._replace(kind=Kind.SUBVOLUME)
    if subvolume.parent_uuid == btrfs.NO_UUID:
        columns = side.tree.columns
        for row, name in enumerate(columns.names):
            path = side.path(Link(columns.parents[row], name))
            if path is not None:
                yield change_of_row(Status.ADDED, path, columns, row, kind_of(columns.mode(row)))


class _Was(NamedTuple):
    """An inode as the first reading had it."""

    uid: int
    gid: int
    mode: int
    size: int
    mtime: int
    links: frozenset[Link]


@dataclass(slots=True)
class _Pair:
    """Two readings of one subvolume, the second of what was written after `since`.

    `started` is when that was, in nanoseconds. Paths are rooted at the subvolume.
    """

    before: Side
    after: Side
    since: int
    started: int
    _names: dict[int, dict[bytes, int]] = field(default_factory=dict)

    def changes(self) -> Iterator[Change]:
        yield from self._new()
        yield from self._touched()

    def _new(self) -> Iterator[Change]:
        columns = self.after.tree.columns
        for row, name in enumerate(columns.names):
            link = Link(columns.parents[row], name)
            path = self.after.path(link)
            if path is not None:
                kind = kind_of(columns.mode(row))
                yield self._placed(change_of_row(Status.ADDED, path, columns, row, kind), link)

    def _placed(self, change: Change, link: Link) -> Change:
        """A change that puts something new at `link`: in place of what was there, if anything was."""
        row = self._row_before(link)
        if row is None or change.kind is Kind.DIRECTORY:
            return change
        if kind_of(self.before.tree.columns.mode(row)) is not change.kind:
            return change._replace(status=Status.TYPE, source=None)
        return change._replace(
            status=Status.MODIFIED, source=None, replaced=change.kind is Kind.FILE
        )

    def _row_before(self, link: Link) -> int | None:
        names = self._names.get(link.parent)
        if names is None:
            tree = self.before.tree
            names = {tree.columns.names[row]: row for row in tree.rows(link.parent)}
            self._names[link.parent] = names
        return names.get(link.name)

    def _touched(self) -> Iterator[Change]:
        """Older inodes that were written to; those that were only read are passed over."""
        tree = self.after.tree
        changed_at: dict[int, int] = {}
        for inode in tree.columns.touched:
            item = tree.search.item(tree.id, (inode, INODE_ITEM, 0))
            # The search starts at `since` itself, which is still before.
            if inode != ROOT and item is not None and INODE.unpack(item)[1] > self.since:
                changed_at[inode] = _changed_at(item)
        for inode, node in tree.nodes(changed_at).items():
            was = self._was(inode)
            here = frozenset(node.links)
            gone = sorted(was.links - here)
            for link in sorted(here):
                path = self.after.path(link)
                if path is None:
                    continue
                if link not in was.links:
                    change = _change(Status.ADDED, path, node)
                    source = self.before.path(gone[0]) if gone else None
                    if source is not None:
                        change = change._replace(status=Status.RENAMED, source=source)
                    yield self._placed(change, link)
                    continue
                status = _status(node, was)
                # Another name for it is no change of this one.
                if status is None and was.links == here and changed_at[inode] >= self.started:
                    status = None if node.is_directory else Status.MODIFIED
                if status is not None:
                    yield _change(status, path, node)

    def _was(self, inode: int) -> _Was:
        columns = self.before.tree.columns
        rows = columns.rows_of(inode)
        links = frozenset(Link(columns.parents[row], columns.names[row]) for row in rows)
        if not rows:
            return _Was(0, 0, 0, 0, 0, links)
        return _Was(*columns.owner(rows[0]), columns.sizes[rows[0]], columns.mtime(rows[0]), links)


def _status(node: Node, was: _Was) -> Status | None:
    """What differs from the first reading, as far as that tells."""
    # The size and time of a directory are those of its names, which are entries of their own.
    if not node.is_directory and (node.size, node.mtime) != (was.size, was.mtime):
        return Status.MODIFIED
    if (node.uid, node.gid, node.mode) != (was.uid, was.gid, was.mode):
        return Status.PROPERTIES
    return None


def _changed_at(item: bytes) -> int:
    """The ctime of an inode item in nanoseconds, which no program can set."""
    fields = INODE.unpack(item)
    return int(fields[14] * 1_000_000_000 + fields[15])


def _change(status: Status, path: bytes, node: Node) -> Change:
    kind = kind_of(node.mode)
    return Change(
        status,
        path,
        kind,
        node.size,
        node.mode & 0o7777,
        node.uid,
        node.gid,
        node.mtime,
        target=node.inline if kind is Kind.SYMLINK else None,
    )
