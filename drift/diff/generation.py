"""Compare two Btrfs trees by what was written since their histories parted.

The two trees are joined by path, from the top down. What makes it fast is what it leaves out; why
that is safe, with T the base generation (`subvolumes.relate`: both trees were equal just before T):

- Every operation on a file or directory, of data, names, owner, mode or xattrs, writes its inode
  item with the running generation as `transid`, and whatever items it changes, into new leaves.
  So an inode whose item is older than T in both trees has the same data, properties, names and
  entries in both. Only the others, the *touched* ones, are looked at.
- The kernel skips leaves older than T, so each side's touched inodes come from one search of what
  was rewritten since. A rewritten leaf returns its unchanged neighbours too; their transid tells.
- An inode made after T exists on one side only; reused inode numbers are told apart by the
  inode's own generation. All its items lie in new leaves, so the search has returned them all.
- A touched inode that is older than T is read again in full, by key, from both trees, because some
  of its items may lie in leaves that were not rewritten. If it is equal in both it is dismissed:
  reading a directory under relatime, chmod and back, balance and dedupe only look like changes.
- A directory that was only listed, which under relatime is most of them, is dismissed sooner: each
  operation on its names or xattrs raises the `sequence` of its inode item, so if that and all else
  but atime and transid is equal to the blank's, which was not written since T, so are its entries
  (`touched._was_only_listed`).
- A name that appeared or vanished shows in its directory, which is then touched and unequal. Below
  a directory that is equal, only the ways down to unequal inodes are followed.
- The blank is searched just as the live root is, so one that was written to later, or a sibling,
  is as good as an untouched ancestor.

Where no T can be proved, T is 0: every inode counts as new, nothing is left out, and what was a
generation comparison is a comparison of all metadata (engine `metadata`).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.ioctl import ANY
from drift.btrfs.items import Link, kind_of
from drift.btrfs.trees import MTIME, OWNER, TYPE_BITS, TYPE_BYTE
from drift.diff.equality import entries_apart, equal, same_content, same_properties
from drift.diff.moves import Moves
from drift.diff.stream import Block, Pending, Subtree, change_of_row
from drift.diff.trees import ROOT, Tree, stub
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Collection, Iterator, Mapping

    from drift.btrfs.items import DirEntry
    from drift.btrfs.trees import Node
    from drift.diff.trees import Side

# How many inodes are read in full before the equal ones among them are let go.
INODES_AT_ONCE = 4096

# Every so many levels the way down is searched for a directory that lies in itself.
DEPTH_OF_A_LOOK = 256

REGULAR = 0o100000
REGULAR_BITS = REGULAR >> 8
DIRECTORY = 0o040000
FORMAT = 0o170000


class Place(NamedTuple):
    """A directory of one side; `node` is set for a snapshot's stub, which is in no tree."""

    tree: Tree | None
    inode: int


class Seen(NamedTuple):
    """An entry of one side, with the tree its inode is in and, for a directory, where to go on."""

    node: Node
    kind: Kind
    tree: Tree | None
    place: Place | None
    # Of a nested snapshot of this side's own that is not looked into: what it was taken of.
    origin: bytes | None = None


class Descend(NamedTuple):
    events: Iterator[Event]
    path: bytes
    place: Place


Event = Change | Block | Subtree | Pending | Descend


class Comparison:
    """The differences between two sides; iterate over `events`.

    `bound` is the generation up to which an inode can be the same file on both sides: the base,
    or where none is proved the creation of the younger subvolume. `vanished` is called with the
    path of what was there when the search began and could not be found again. `whole` is asked of
    each directory that only the live side has, parents first, whether a Subtree will do for what
    is below.
    """

    def __init__(
        self,
        live: Side,
        blank: Side | None,
        *,
        since: int,
        bound: int,
        vanished: Callable[[bytes], None],
        ordered: bool = True,
        whole: Callable[[Change], bool] | None = None,
    ) -> None:
        self._live = live
        self._blank = blank
        self._since = since
        self._bound = bound
        self._vanished = vanished
        self._ordered = ordered
        self._whole = whole
        self._unequal: dict[int, tuple[Node | None, Node | None]] = {}
        self._ways: dict[int, dict[bytes, int]] = {}
        self._subvolumes: dict[int, set[bytes]] = {}
        self._moves = Moves(live, blank, since=since, bound=bound)
        self._oldest: int | None = None
        if since and blank is not None:
            self._dismiss_equals(live, blank)
            self._mark_ways(live, blank)

    def events(self) -> Iterator[Change | Block | Subtree | Pending]:
        """Yield each difference, sorted by path components; pending ones need a look at contents."""
        top = Place(self._live.tree, ROOT)
        stack = [Descend(self._start(top), b"", top)]
        while stack:
            for event in stack[-1].events:
                if isinstance(event, Descend):
                    if len(stack) % DEPTH_OF_A_LOOK == 0 and _goes_round(stack):
                        self._vanished(event.path)
                        continue
                    stack.append(event)
                    break
                yield event
            else:
                stack.pop()

    def _start(self, live: Place) -> Iterator[Event]:
        if self._blank is None:
            yield Descend(self._one_sided(b"", live, self._live, Status.ADDED), b"", live)
            return
        blank = Place(self._blank.tree, ROOT)
        yield from self._pair(
            b"/",
            self._see_root(self._live.tree, Kind.DIRECTORY),
            self._see_root(self._blank.tree, Kind.DIRECTORY),
            descend=False,
        )
        yield Descend(self._join(b"", live, blank), b"", live)

    # What is touched, and the ways down to it.

    def _dismiss_equals(self, live: Side, blank: Side) -> None:
        # What the live root has written was compared already, as it was read.
        for inode, (left, right) in live.tree.unequal.nodes.items():
            self._differ(inode, left, right)
        touched = set(blank.tree.columns.touched).difference(live.tree.columns.touched)
        # An inode number that was free at T can have been taken on both sides, or taken again.
        reused = {*_reused(live.tree, blank.tree), *_reused(blank.tree, live.tree)}
        for chunk in _chunks(sorted(reused.union(touched)), INODES_AT_ONCE):
            ours, theirs = live.tree.nodes(chunk), blank.tree.nodes(chunk)
            for inode in chunk:
                left, right = ours.get(inode), theirs.get(inode)
                if (
                    inode not in reused
                    and left is not None
                    and right is not None
                    and equal(left, right)
                ):
                    continue
                self._differ(inode, left, right)

    def _differ(self, inode: int, live: Node | None, blank: Node | None) -> None:
        assert self._blank is not None
        self._unequal[inode] = live, blank
        if live is not None:
            self._live.tree.keep(live)
        if blank is not None:
            self._blank.tree.keep(blank)

    def _mark_ways(self, live: Side, blank: Side) -> None:
        frontier: set[int] = set()
        for inode, pair in self._unequal.items():
            for node in pair:
                for link in () if node is None or inode == ROOT else node.links:
                    self._mark(inode, link, frontier)
        for side in (live, blank):
            # A subvolume differs from the stub that a snapshot has in its place, and nothing in
            # the directory around it tells.
            for link in side.nested_in_own_tree():
                self._subvolumes.setdefault(link.parent, set()).add(link.name)
                self._way_to(link.parent, frontier)
        while frontier:
            # Directories that are equal on both sides have the same link on both.
            found = live.tree.links(frontier)
            frontier = set()
            for inode, link in found.items():
                self._mark(inode, link, frontier)

    def _mark(self, inode: int, link: Link, frontier: set[int]) -> None:
        self._way_to(link.parent, frontier)[link.name] = inode

    def _way_to(self, directory: int, frontier: set[int]) -> dict[bytes, int]:
        ways = self._ways.get(directory)
        if ways is None:
            ways = self._ways[directory] = {}
            if directory != ROOT and directory not in self._unequal:
                frontier.add(directory)
        return ways

    # Both sides have a directory at the same path.

    def _join(self, path: bytes, live: Place, blank: Place) -> Iterator[Event]:
        if self._only_ways(live, blank):
            ways = self._ways.get(live.inode, {})
            for name in sorted(ways):
                yield from self._same_inode(path + b"/" + name, ways[name])
            return
        ways = {}
        one = self._same(live, blank) and None not in self._unequal.get(live.inode, ())
        if one:
            ways = self._ways.get(live.inode, ways)
            ours, theirs = self._apart(live, blank)
        else:
            ours, theirs = _entries(live), _entries(blank)
            if self._since and live.tree is self._live.tree and self._is_blank(blank):
                equal = {name for name in ours if self._is_equal(ours[name], theirs.get(name))}
                ours = {name: entry for name, entry in ours.items() if name not in equal}
                theirs = {name: entry for name, entry in theirs.items() if name not in equal}
        seen_live = self._see(live, ours, self._live, theirs, one_directory=one)
        seen_blank = self._see(blank, theirs, self._blank, ours, one_directory=one)
        for name in sorted({*ours, *theirs, *ways}):
            mine, other = seen_live.get(name), seen_blank.get(name)
            child = path + b"/" + name
            if (mine is None and name in ours) or (other is None and name in theirs):
                self._vanished(child)
            elif mine is not None and other is not None:
                if self._one_inode(mine, other):
                    yield from self._same_inode(child, mine.node.inode)
                else:
                    yield from self._pair(child, mine, other)
            elif mine is not None:
                yield from self._single(child, mine, self._live, Status.ADDED)
            elif other is not None and self._blank is not None:
                yield from self._single(child, other, self._blank, Status.DELETED)
            else:
                yield from self._same_inode(child, ways[name])

    def _only_ways(self, live: Place, blank: Place) -> bool:
        """Whether both are one old directory that is equal in both, itself and its entries."""
        return (
            live.inode not in self._unequal
            and live.inode not in self._subvolumes
            and self._same(live, blank)
        )

    def _apart(
        self, live: Place, blank: Place
    ) -> tuple[dict[bytes, DirEntry], dict[bytes, DirEntry]]:
        """The entries that are not equal in one old directory of both trees."""
        left, right = self._unequal.get(live.inode, (None, None))
        ours, theirs = ({}, {}) if left is None or right is None else entries_apart(left, right)
        nested = self._subvolumes.get(live.inode, set()) | self._stubs_changed(live.inode)
        for place, entries in ((live, ours), (blank, theirs)) if nested else ():
            entries.update((name, e) for name, e in _entries(place).items() if name in nested)
        return ours, theirs

    def _stubs_changed(self, inode: int) -> set[bytes]:
        """The stubs in a directory that changed hands: they show its owner as their own."""
        left, right = self._unequal.get(inode, (None, None))
        if left is None or right is None or (left.uid, left.gid) == (right.uid, right.gid):
            return set()
        return {entry.name for entry in left.entries if entry.subvolume}

    def _is_equal(self, live: DirEntry, blank: DirEntry | None) -> bool:
        """Whether an entry of both directories is one old inode with nothing to see in or below it."""
        return (
            blank is not None
            and live.objectid == blank.objectid
            and not live.subvolume
            and not blank.subvolume
            and live.objectid not in self._unequal
            and live.objectid not in self._ways
        )

    def _one_inode(self, live: Seen, blank: Seen) -> bool:
        return bool(
            self._since
            and live.node.inode == blank.node.inode
            and live.node.inode != ROOT
            and live.tree is self._live.tree
            and self._blank is not None
            and blank.tree is self._blank.tree
        )

    def _same_inode(self, path: bytes, inode: int) -> Iterator[Event]:
        """An entry of two equal directories: the same inode on both sides."""
        assert self._blank is not None
        if inode not in self._unequal:
            if inode in self._ways:
                places = Place(self._live.tree, inode), Place(self._blank.tree, inode)
                yield Descend(self._join(path, *places), path, places[0])
            return
        left, right = self._unequal[inode]
        if left is None or right is None:
            self._vanished(path)
            return
        yield from self._pair(
            path, self._seen(left, self._live.tree), self._seen(right, self._blank.tree)
        )

    def _seen(self, node: Node, tree: Tree) -> Seen:
        place = Place(tree, node.inode) if node.is_directory else None
        return Seen(node, kind_of(node.mode), tree, place)

    def _pair(
        self, path: bytes, live: Seen, blank: Seen, *, descend: bool = True
    ) -> Iterator[Event]:
        if live.kind is not blank.kind:
            yield _change(Status.TYPE, path, live)
        elif live.kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            if not same_properties(live.node, blank.node):
                yield _change(Status.PROPERTIES, path, live)
        else:
            yield from self._contents(path, live, blank)
        if not descend:
            return
        if live.place is not None and blank.place is not None:
            yield Descend(self._join(path, live.place, blank.place), path, live.place)
        elif live.place is not None:
            own = _change(Status.TYPE, path, live)
            below = self._one_sided(path, live.place, self._live, Status.ADDED, own=own)
            yield Descend(below, path, live.place)
        elif blank.place is not None and self._blank is not None:
            below = self._one_sided(path, blank.place, self._blank, Status.DELETED)
            yield Descend(below, path, blank.place)

    def _contents(self, path: bytes, live: Seen, blank: Seen) -> Iterator[Event]:
        same = same_content(live.node, blank.node)
        modified = _change(Status.MODIFIED, path, live)
        if live.kind is Kind.FILE and self._took_its_place(live, blank):
            modified = modified._replace(replaced=True)
        properties = (
            None
            if same_properties(live.node, blank.node)
            else modified._replace(status=Status.PROPERTIES)
        )
        if same is None:
            yield Pending(
                path,
                live.node.inode,
                path,
                blank.node.inode,
                live.node.size,
                properties,
                modified,
            )
        elif not same:
            yield modified
        elif properties is not None:
            yield properties

    def _took_its_place(self, live: Seen, blank: Seen) -> bool:
        """Whether two related trees have different inodes at one path."""
        return bool(
            self._since
            and self._blank is not None
            and live.tree is self._live.tree
            and blank.tree is self._blank.tree
            and (live.node.inode, live.node.generation) != (blank.node.inode, blank.node.generation)
        )

    # Only one side has something at the path.

    def _one_sided(
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
        if is_whole and place.inode in tree.columns.directories and not self._may_be_older(tree):
            yield from self._summed(path, tree, place.inode, side)
            return
        if not tree.rows_are_all(place.inode):
            yield from self._listed(path, place, side, status, alive=alive)
            return
        columns = tree.columns
        names, mode_of = columns.names, columns.mode
        rows = tree.rows(place.inode)
        movable = tree is side.tree and self._may_have_moved(columns.generations, rows)
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
                yield from self._single(child, self._seen(node, tree), side, status)
                continue
            kind = kind_of(mode)
            change = change_of_row(status, child, columns, row, kind)
            yield change
            if kind is Kind.DIRECTORY:
                at = Place(tree, columns.inodes[row])
                below = self._one_sided(child, at, side, status, alive=False, own=change)
                yield Descend(below, child, at)
        if run:
            yield Block(status, prefix, [names[r] for r in run], run, columns)

    def _may_be_older(self, tree: Tree) -> bool:
        """Whether anything in `tree` could be a file of the blank under another name."""
        if self._since or self._blank is None or tree is not self._live.tree:
            return False
        if self._oldest is None:
            self._oldest = min(tree.columns.generations, default=ANY)
        return self._oldest <= self._bound

    def _summed(self, path: bytes, tree: Tree, top: int, side: Side) -> Iterator[Event]:
        columns = tree.columns
        directories = files = size = newest = 0
        sole: bytes | None = None
        below = [(path, top)]
        while below:
            path_here, inode = below.pop()
            if not tree.rows_are_all(inode):
                # Something older was moved in, or a subvolume is nested here.
                at = Place(tree, inode)
                listed = self._listed(path_here, at, side, Status.ADDED, alive=False)
                yield Descend(listed, path_here, at)
                continue
            if directories > len(columns.directories):
                self._vanished(path_here)
                break
            for run in tree.runs(inode):
                start, stop = run.start, run.stop
                owners = columns.owners[OWNER.size * start : OWNER.size * stop]
                forms = set(owners[TYPE_BYTE :: OWNER.size])
                if all(form & TYPE_BITS == REGULAR_BITS for form in forms):
                    if not files:
                        sole = path_here + b"/" + columns.names[run.start]
                    files += len(run)
                    size += sum(columns.sizes[run.start : run.stop])
                    moments = columns.mtimes[MTIME.size * start : MTIME.size * stop]
                    newest = max(newest, *(moment[0] for moment in MTIME.iter_unpack(moments)))
                    continue
                for row in run:
                    mode = columns.mode(row)
                    form = mode & FORMAT
                    if form == REGULAR:
                        if not files:
                            sole = path_here + b"/" + columns.names[row]
                        files += 1
                        size += columns.sizes[row]
                        newest = max(newest, columns.mtime(row) // 1_000_000_000)
                    elif form == DIRECTORY:
                        directories += 1
                        below.append((path_here + b"/" + columns.names[row], columns.inodes[row]))
                    else:
                        child = path_here + b"/" + columns.names[row]
                        yield change_of_row(Status.ADDED, child, columns, row, kind_of(mode))
        yield Subtree(
            Status.ADDED,
            path,
            top,
            directories,
            files,
            size,
            newest * 1_000_000_000,
            sole if files == 1 else None,
        )

    def _may_have_moved(self, generations: array[int], rows: list[int]) -> bool:
        return bool(
            self._blank is not None
            and not self._since
            and self._bound
            and rows
            and min(generations[row] for row in rows) <= self._bound
        )

    def _listed(
        self, path: bytes, place: Place, side: Side, status: Status, *, alive: bool
    ) -> Iterator[Event]:
        entries = _entries(place)
        seen = self._see(place, entries, side, entries)
        for name in sorted(entries):
            child = path + b"/" + name
            if name in seen:
                yield from self._single(child, seen[name], side, status, alive=alive)
            else:
                self._vanished(child)

    def _single(
        self, path: bytes, seen: Seen, side: Side, status: Status, *, alive: bool = True
    ) -> Iterator[Event]:
        node = seen.node
        # An untouched inode can only have moved along with its directory.
        may_have_moved = seen.tree is side.tree and (
            not self._since or alive or node.inode in self._unequal
        )
        moves = self._moves.of(node, side) if may_have_moved else {}
        if status is Status.ADDED and path in moves:
            yield from self._renamed(moves[path], path, seen)
        elif status is Status.ADDED or path not in moves.values():
            yield _change(status, path, seen)
        if seen.place is not None:
            alive = seen.place.tree is side.tree and self._moves.twin(node, side) is not None
            own = _change(status, path, seen)
            below = self._one_sided(path, seen.place, side, status, alive=alive, own=own)
            yield Descend(below, path, seen.place)

    def _renamed(self, source: bytes, path: bytes, live: Seen) -> Iterator[Event]:
        assert self._blank is not None
        blank = self._blank.tree.node(live.node.inode)
        same = True if blank is None else same_content(live.node, blank)
        if live.kind is Kind.DIRECTORY:
            same = True
        change = _change(Status.RENAMED, path, live)._replace(source=source)
        modified = change._replace(modified=True)
        if same is None and blank is not None:
            yield Pending(
                path, live.node.inode, source, blank.inode, live.node.size, change, modified
            )
        else:
            yield change if same else modified

    # What the entries of a directory are.

    def _see(
        self,
        place: Place,
        entries: Mapping[bytes, DirEntry],
        side: Side | None,
        other: Collection[bytes],
        *,
        one_directory: bool = False,
    ) -> dict[bytes, Seen]:
        """What the entries of a directory are.

        Names that are not in `other` exist on one side only. `one_directory` says that the
        directory is the same old one on both sides, so that an inode that it alone names there, and
        that did not turn out unequal, is new or gone.
        """
        tree = place.tree
        if tree is None or side is None:
            return {}
        seen: dict[bytes, Seen] = {}
        nodes: dict[int, Node] = {}
        wanted = []
        for name, entry in entries.items():
            if not entry.subvolume:
                outline = None
                if name not in other:
                    outline = tree.outline(entry.objectid, gone=one_directory)
                if outline is None:
                    wanted.append(entry.objectid)
                else:
                    nodes[entry.objectid] = outline
        nodes.update(tree.nodes(wanted))
        for entry in entries.values():
            if entry.subvolume:
                if self._whole is not None:
                    snapshot = self._see_snapshot(tree, place.inode, entry, side)
                    if snapshot is not None:
                        seen[entry.name] = snapshot
                        continue
                nested = side.nested(tree, place.inode, entry)
                seen[entry.name] = (
                    Seen(stub(tree.node(place.inode)), Kind.DIRECTORY, None, Place(None, 0))
                    if nested is None
                    else self._see_root(nested, Kind.SUBVOLUME)
                )
                continue
            node = nodes.get(entry.objectid)
            if node is not None:
                seen[entry.name] = self._seen(node, tree)
        return seen

    def _see_snapshot(self, tree: Tree, directory: int, entry: DirEntry, side: Side) -> Seen | None:
        """A read-only snapshot of the side itself, as snapper keeps them: one entry for a sum."""
        origin = side.origin(tree, directory, entry)
        node = None if origin is None else side.top_of(entry)
        return None if node is None else Seen(node, Kind.SUBVOLUME, None, None, origin)

    def _see_root(self, tree: Tree, kind: Kind) -> Seen:
        node = tree.node(ROOT)
        if node is None:
            return Seen(stub(None), kind, tree, Place(tree, ROOT))
        return Seen(node, kind, tree, Place(tree, ROOT))

    def _is_blank(self, place: Place) -> bool:
        return self._blank is not None and place.tree is self._blank.tree

    def _same(self, live: Place, blank: Place) -> bool:
        """Whether both are the same old inode of the two related trees."""
        return bool(
            self._since
            and live.inode == blank.inode
            and live.tree is self._live.tree
            and blank.tree is not None
            and self._is_blank(blank)
            and (
                live.inode == ROOT
                or not (
                    self._live.tree.is_new_directory(live.inode)
                    or blank.tree.is_new_directory(live.inode)
                )
            )
        )


def _goes_round(stack: list[Descend]) -> bool:
    """Whether a directory lies in itself, as two do that were moved while their names were read."""
    return len({level.place for level in stack}) < len({level.path for level in stack})


def _reused(tree: Tree, other: Tree) -> list[int]:
    """The inode numbers that are new in `tree` and in use in `other`."""
    inodes = tree.columns.inodes
    highest = other.highest_inode() if inodes else 0
    numbers = sorted(set(inodes[: bisect_right(inodes, highest)]))
    return [inode for chunk in _chunks(numbers, INODES_AT_ONCE) for inode in other.nodes(chunk)]


def _chunks(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _entries(place: Place) -> dict[bytes, DirEntry]:
    return {} if place.tree is None else place.tree.entries(place.inode)


def _change(status: Status, path: bytes, seen: Seen) -> Change:
    node = seen.node
    return Change(
        status,
        path,
        seen.kind,
        node.size,
        node.mode & 0o7777,
        node.uid,
        node.gid,
        node.mtime,
        target=node.inline if seen.kind is Kind.SYMLINK else seen.origin,
    )
