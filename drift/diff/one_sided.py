"""What only one side has at its path: a name, and all below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.btrfs.columns import (
    BYTES,
    DIRECTORY_BITS,
    FILES,
    NAMES,
    NEVER,
    NEWEST,
    OWNER,
    SYMLINK_BITS,
    TYPE_BITS,
    TYPE_BYTE,
)
from drift.btrfs.ioctl import ANY
from drift.btrfs.items import kind_of
from drift.diff.descend import Descend
from drift.diff.equality import same_content
from drift.diff.sight import Place, change_of, entries_of, see, seen_of
from drift.diff.stream import Block, Links, Pending, Subtree, change_of_row
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from drift.diff.descend import Event
    from drift.diff.moves import Moves
    from drift.diff.sight import Seen
    from drift.diff.trees import Side, Tree

REGULAR = 0o100000
FORMAT = 0o170000
# How many symlinks are handed on at once.
LINKS_TOGETHER = 4096


class OneSided:
    """Lists what one side has alone; the arguments are those of `generation.Comparison`.

    `unequal` are the inodes that differ, where there is a base generation.
    """

    def __init__(
        self,
        live: Side,
        blank: Side | None,
        moves: Moves,
        *,
        since: int,
        bound: int,
        unequal: Container[int],
        vanished: Callable[[bytes], None],
        ordered: bool,
        whole: Callable[[Change], bool] | None,
    ) -> None:
        self._live = live
        self._blank = blank
        self._moves = moves
        self._since = since
        self._bound = bound
        self._unequal = unequal
        self._vanished = vanished
        self._ordered = ordered
        self._whole = whole
        self._oldest: int | None = None

    def below(
        self,
        path: bytes,
        place: Place,
        side: Side,
        status: Status,
        *,
        alive: bool = True,
        own: Change | None = None,
    ) -> Iterator[Event]:
        """The entries below a directory that only one side has; `own` is its own change.

        `alive` says that the directory itself exists on the other side, under another name; then
        its untouched children do as well.
        """
        tree = place.tree
        if tree is None:
            return
        is_whole = (
            self._whole is not None
            and own is not None
            and status is Status.ADDED
            and self._whole(own)
        )
        if is_whole and place.inode in tree.columns.directories and not self._may_have_moved(tree):
            yield from self._summed(path, tree, place.inode, side)
            return
        if not tree.rows_are_all(place.inode):
            yield from self._listed(path, place, side, status, alive=alive)
            return
        columns = tree.columns
        names, mode_of = columns.names, columns.mode
        rows = tree.rows(place.inode)
        movable = tree is side.tree and self._may_have_moved(tree, rows)
        ordered = sorted(rows, key=names.__getitem__)
        prefix = path + b"/"
        run: list[int] = []
        for row in ordered:
            mode = mode_of(row)
            form = mode & FORMAT
            if form == REGULAR and not (movable and columns.generations[row] <= self._bound):
                run.append(row)
                continue
            if run and self._ordered:
                yield Block(status, prefix, [names[r] for r in run], run, columns)
                run = []
            child = prefix + names[row]
            if movable and columns.generations[row] <= self._bound:
                node = tree.node(columns.inodes[row])
                if node is None:
                    self._vanished(child)
                    continue
                yield from self.single(child, seen_of(node, tree), side, status)
                continue
            kind = kind_of(mode)
            change = change_of_row(status, child, columns, row, kind)
            yield change
            if kind is Kind.DIRECTORY:
                at = Place(tree, columns.inodes[row])
                below = self.below(child, at, side, status, alive=False, own=change)
                yield Descend(below, child, at)
        if run:
            yield Block(status, prefix, [names[r] for r in run], run, columns)

    def _summed(self, path: bytes, tree: Tree, top: int, side: Side) -> Iterator[Event]:
        columns, others = tree.columns, tree.others
        names, inodes, owners = columns.names, columns.inodes, columns.owners
        folders, sizes = columns.folders, columns.directories
        empty = [0, 0, NEVER, 0]
        directories = files = size = newest = 0
        alone = path, top
        below = [alone]
        links = Links(Status.ADDED, path, [], [], columns)
        while below:
            path_here, inode = below.pop()
            folder = folders.get(inode, empty)
            # What `rows_are_all` asks.
            if sizes.get(inode) != 2 * folder[NAMES]:
                # Something older was moved in, or a subvolume is nested here.
                at = Place(tree, inode)
                listed = self._listed(path_here, at, side, Status.ADDED, alive=False)
                yield Descend(listed, path_here, at)
                continue
            if directories > len(sizes):
                self._vanished(path_here)
                break
            if folder[FILES]:
                alone = path_here, inode
                files += folder[FILES]
                size += folder[BYTES]
                if folder[NEWEST] > newest:
                    newest = folder[NEWEST]
            for row in others.get(inode, ()):
                child = path_here + b"/" + names[row]
                form = owners[OWNER.size * row + TYPE_BYTE] & TYPE_BITS
                if form == DIRECTORY_BITS:
                    directories += 1
                    below.append((child, inodes[row]))
                elif form == SYMLINK_BITS:
                    links.paths.append(child)
                    links.rows.append(row)
                else:
                    kind = kind_of(columns.mode(row))
                    yield change_of_row(Status.ADDED, child, columns, row, kind)
            if len(links.rows) >= LINKS_TOGETHER:
                yield links
                links = links._replace(paths=[], rows=[])
        if links.rows:
            yield links
        yield Subtree(
            Status.ADDED,
            path,
            top,
            directories,
            files,
            size,
            newest * 1_000_000_000,
            self._sole(tree, *alone) if files == 1 else None,
        )

    def _sole(self, tree: Tree, path: bytes, directory: int) -> bytes | None:
        """The path of the one regular file in a directory."""
        columns = tree.columns
        for row in tree.rows(directory):
            if columns.mode(row) & FORMAT == REGULAR:
                return path + b"/" + columns.names[row]
        return None

    def _may_have_moved(self, tree: Tree, rows: list[int] | None = None) -> bool:
        """Whether `rows` of the side's own tree, or any, could be a file of the blank elsewhere."""
        if self._since or self._blank is None or (tree is not self._live.tree and rows is None):
            return False
        generations = tree.columns.generations
        if rows is not None:
            return min((generations[row] for row in rows), default=ANY) <= self._bound
        if self._oldest is None:
            self._oldest = min(generations, default=ANY)
        return self._oldest <= self._bound

    def _listed(
        self, path: bytes, place: Place, side: Side, status: Status, *, alive: bool
    ) -> Iterator[Event]:
        entries = entries_of(place)
        seen = see(place, entries, side, entries, snapshots_whole=self._whole is not None)
        for name in sorted(entries):
            child = path + b"/" + name
            if name in seen:
                yield from self.single(child, seen[name], side, status, alive=alive)
            else:
                self._vanished(child)

    def single(
        self, path: bytes, seen: Seen, side: Side, status: Status, *, alive: bool = True
    ) -> Iterator[Event]:
        node = seen.node
        # An untouched inode can only have moved along with its directory.
        may_have_moved = seen.tree is side.tree and (
            not self._since or alive or node.inode in self._unequal
        )
        moves = self._moves.of(node, side) if may_have_moved else {}
        if status is Status.ADDED and path in moves:
            yield from self.renamed(moves[path], path, seen)
        elif status is Status.ADDED or path not in moves.values():
            yield change_of(status, path, seen)
        if seen.place is not None:
            alive = seen.place.tree is side.tree and self._moves.twin(node, side) is not None
            own = change_of(status, path, seen)
            below = self.below(path, seen.place, side, status, alive=alive, own=own)
            yield Descend(below, path, seen.place)

    def renamed(self, source: bytes, path: bytes, live: Seen) -> Iterator[Event]:
        assert self._blank is not None
        blank = self._blank.tree.node(live.node.inode)
        same = True if blank is None else same_content(live.node, blank)
        if live.kind is Kind.DIRECTORY:
            same = True
        change = change_of(Status.RENAMED, path, live)._replace(source=source)
        modified = change._replace(modified=True)
        if same is None and blank is not None:
            yield Pending(
                path, live.node.inode, source, blank.inode, live.node.size, change, modified
            )
        else:
            yield change if same else modified
