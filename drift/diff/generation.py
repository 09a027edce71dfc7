"""Compare two Btrfs trees by what was written since their histories parted.

The two trees are joined by path. What makes it fast is what it leaves out; why that is safe, with T
the base generation (`subvolumes.relate`: both trees were equal just before T):

- Every operation on a file or directory, of data, names, owner, mode or xattrs, writes its inode
  item with the running generation as `transid`, and whatever items it changes, into new leaves.
  So an inode whose item is older than T in both trees has the same data, properties, names and
  entries in both. Only the others, the *touched* ones, are looked at.
- The kernel skips leaves older than T, so each side's touched inodes come from one search of what
  was rewritten since. A rewritten leaf returns its unchanged neighbours too; their transid tells.
- An inode made after T exists on one side only; reused inode numbers are told apart by the
  inode's own generation. All its items lie in new leaves, so the search has returned them all.
- A touched inode that is older than T is read in full from the other tree, by key, and compared. Of
  its own items some may lie in leaves that were not rewritten: it is read again by key unless the
  search is proved to have returned all (`Sift._is_all`). If it is equal in both it is dismissed:
  reading a directory under relatime, chmod and back, balance and dedupe only look like changes.
- Of a touched directory whose inode item the other tree has not written since T, not all is read
  there (`Sift._settle_directory`). One that was only listed, which under relatime is most of them,
  is dismissed by its inode items: each operation on its names or xattrs raises the `sequence`, so if
  that and all else but atime and transid is equal, so are its entries. Else the size of either inode
  item tells how long all names are. An entry is made once, with its generation, and never changed
  after, so those of before T that are left are in the other tree with the same index; what that has
  besides lies between them and is all found when the sizes agree.
- What differs without moving needs no second look: a file with one and the same name in both trees,
  one that took another's place under a name of a directory that both have, and one that is gone
  from there are settled where they are read (`touched`). That answer counts where the directory is
  in common; in any other, what is in it is compared with whatever the other tree has at its path.
  A file that is gone from its directory and has got another name elsewhere is unequal itself.
- A name that appeared or vanished shows in its directory, which is then touched and unequal. So in
  a directory that both trees have in common (the same old inode, as are all above it, `common`) two
  kinds of names may differ: those of entries that are not equal, and those of unequal inodes.
  They are found from the unequal inodes up, without a look at what lies beside them. What hangs on
  a name that differs, and is no directory in common, is compared by going down into it.
- The blank is searched just as the live root is, so one that was written to later, or a sibling,
  is as good as an untouched ancestor.

Where no T can be proved, T is 0: every inode counts as new, nothing is left out, and what was a
generation comparison is a comparison of all metadata (engine `metadata`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.btrfs.items import DirEntry, kind_of
from drift.diff.common import Common
from drift.diff.descend import Descend, flattened
from drift.diff.equality import same_content, same_properties
from drift.diff.moves import Moves
from drift.diff.one_sided import OneSided
from drift.diff.outcome import outcome, settled_outcome
from drift.diff.sight import Place, Seen, change_of, entries_of, see, see_root, seen_of
from drift.diff.stream import Pending, change_of_row
from drift.diff.trees import ROOT, Tree
from drift.diff.unequal import Apart
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drift.btrfs.items import Link
    from drift.btrfs.trees import Node
    from drift.diff.descend import Event
    from drift.diff.stream import Found
    from drift.diff.trees import Side

# How many inodes are read in full before the equal ones among them are let go.
INODES_AT_ONCE = 4096


# What there is to do at a path in a directory in common: the path with zeros for slashes, which
# sorts by components, whom to ask for its events, and about what.
_Spot = tuple[bytes, Callable[[bytes, Any], Iterable["Event"]], Any]


class _Entries(NamedTuple):
    """What either side has at one path, by name."""

    live: dict[bytes, DirEntry]
    blank: dict[bytes, DirEntry]


class _Rest:
    """The entries of a directory in common that have to be looked at, which is done together."""

    __slots__ = ("directory", "entries", "seen")

    def __init__(self, directory: int, entries: _Entries) -> None:
        self.directory = directory
        self.entries = entries
        self.seen: tuple[dict[bytes, Seen], dict[bytes, Seen]] | None = None


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
        self._vanished = vanished
        self._snapshots_whole = whole is not None
        unequal = self._unequal = live.tree.unequal
        self._common: Common | None = None
        # Where subvolumes are nested in either tree: they differ from the stubs that a snapshot has
        # in their place, and nothing in the directory around them tells.
        self._nested: dict[int, set[bytes]] = {}
        moves = self._moves = Moves(live, blank, since=since, bound=bound)
        self._one_sided = OneSided(
            live,
            blank,
            moves,
            since=since,
            bound=bound,
            unequal=self._unequal,
            vanished=vanished,
            ordered=ordered,
            whole=whole,
        )
        if since and blank is not None:
            self._dismiss_equals(live, blank)
            self._common = Common(live, blank, unequal)
            moves.go_by(self._common)
            for link in (*live.nested_in_own_tree(), *blank.nested_in_own_tree()):
                self._nested.setdefault(link.parent, set()).add(link.name)

    def events(self) -> Iterator[Found | Pending]:
        """Yield each difference, sorted by path components; pending ones need a look at contents."""
        top = Place(self._live.tree, ROOT)
        return flattened(Descend(self._start(top), b"", top), self._vanished)

    def _start(self, live: Place) -> Iterator[Event]:
        if self._blank is None:
            all_new = self._one_sided.below(b"", live, self._live, Status.ADDED)
            yield Descend(all_new, b"", live)
            return
        blank = Place(self._blank.tree, ROOT)
        yield from self._pair(
            b"/",
            see_root(self._live.tree, Kind.DIRECTORY),
            see_root(self._blank.tree, Kind.DIRECTORY),
            descend=False,
        )
        if self._common is None:
            yield Descend(self._join(b"", live, blank), b"", live)
        else:
            yield from self._join_common(self._common, self._blank)

    # What is touched.

    def _dismiss_equals(self, live: Side, blank: Side) -> None:
        unequal = self._unequal
        # What the live root has written was compared already, as it was read.
        touched = set(blank.tree.columns.touched).difference(live.tree.columns.touched)
        # An inode number that was free at T can have been taken on both sides, or taken again.
        reused = {*_reused(live.tree, blank.tree), *_reused(blank.tree, live.tree)}
        for chunk in _chunks(sorted(reused.union(touched)), INODES_AT_ONCE):
            ours, theirs = live.tree.nodes(chunk), blank.tree.nodes(chunk)
            for inode in chunk:
                unequal.add(inode, ours.get(inode), theirs.get(inode), force=inode in reused)
        for left, right in (*unequal.nodes.values(), *unequal.replaced):
            if left is not None:
                live.tree.keep(left)
            if right is not None:
                blank.tree.keep(right)

    # Directories that both trees have in common.

    def _join_common(self, common: Common, blank: Side) -> Iterator[Event]:
        """Compare what may differ in the directories in common, and all that hangs on it.

        Each of them is looked at by itself, so nobody has to go the way down to it.
        """
        aparts = self._aparts(common, blank)
        renamed: dict[int, set[bytes]] = {}
        spots = [
            *self._spots_renamed(common, aparts, renamed),
            *self._spots_apart(common, aparts, renamed),
            *self._spots_unequal(common, aparts),
        ]
        del aparts
        spots.sort(key=itemgetter(0), reverse=True)
        while spots:
            key, events, subject = spots.pop()
            yield from events(key.replace(b"\0", b"/"), subject)

    def _aparts(self, common: Common, blank: Side) -> dict[int, Apart]:
        """What may differ of the entries of each directory in common."""
        return {
            directory: apart
            for directory in {*self._unequal.apart, *self._nested}
            if common[directory] is not None and any(apart := self._apart(common, blank, directory))
        }

    def _spots_renamed(
        self, common: Common, aparts: Mapping[int, Apart], done: dict[int, set[bytes]]
    ) -> Iterator[_Spot]:
        """Where files are that have one name in either tree; both names are added to `done`."""
        for inode, (left, right) in self._unequal.nodes.items():
            if left is None or right is None or left.is_directory or left.links == right.links:
                continue
            if len(left.links) != 1 or len(right.links) != 1:
                continue
            (parent, name), (other, old) = left.links[0], right.links[0]
            path, above = common[parent], common[other]
            if path is None or above is None or self._moves.twin(left, self._live) is not right:
                continue
            entry = common.apart(parent).live.get(name)
            if (
                entry is not None
                and entry[1] == inode
                and name not in common.apart(parent).blank
                and old in common.apart(other).blank
                and old not in common.apart(other).live
            ):
                done.setdefault(parent, set()).add(name)
                done.setdefault(other, set()).add(old)
                yield _key(path) + name, self._renamed, (above + b"/" + old, left)

    def _spots_apart(
        self, common: Common, aparts: Mapping[int, Apart], renamed: dict[int, set[bytes]]
    ) -> Iterator[_Spot]:
        """Where the entries of directories differ."""
        settled, moved = self._unequal.settled, self._unequal.nodes
        columns = self._live.tree.columns
        for directory, apart in aparts.items():
            top = _key(common[directory])
            live, blank = apart
            done = renamed.get(directory) or set()
            for name, one in settled.get(directory, {}).items():
                # One that is gone may have another name now.
                if one.inode is not None or one.other not in moved:
                    done.add(name)
                    yield top + name, settled_outcome, one
            for name, inode, is_subvolume, is_directory in live.values():
                if name in blank or name in done or is_subvolume or is_directory:
                    continue
                for row in columns.rows_of(inode)[:1]:
                    # Made since, so it is nobody's new name.
                    if kind_of(columns.mode(row)) is Kind.FILE:
                        done.add(name)
                        yield top + name, self._new_file, row
            if len(done) < len(live.keys() | blank.keys()):
                ours, theirs = (
                    {entry[0]: DirEntry._make(entry) for entry in entries.values()}
                    for entries in apart
                )
                for name in done:
                    ours.pop(name, None)
                    theirs.pop(name, None)
                rest = _Rest(directory, _Entries(ours, theirs))
                for name in ours.keys() | theirs.keys():
                    yield top + name, self._look_at, (rest, name)

    def _spots_unequal(self, common: Common, aparts: Mapping[int, Apart]) -> Iterable[_Spot]:
        """Where inodes differ for which both sides have one entry."""
        spots: dict[bytes, _Spot] = {}
        for one in self._unequal.altered.values():
            path = common[one.parent]
            if path is not None and not _is_in(aparts, one.parent, one.name):
                key = _key(path) + one.name
                spots[key] = key, settled_outcome, one
        for inode, pair in self._unequal.nodes.items():
            for parent, name in () if inode == ROOT else _links(*pair):
                path = common[parent]
                if path is not None and not _is_in(aparts, parent, name):
                    key = _key(path) + name
                    spots[key] = key, self._same_inode, inode
        return spots.values()

    def _renamed(self, path: bytes, subject: tuple[bytes, Node]) -> Iterable[Event]:
        source, node = subject
        return self._one_sided.renamed(source, path, seen_of(node, self._live.tree))

    def _new_file(self, path: bytes, row: int) -> Iterable[Event]:
        columns = self._live.tree.columns
        return (change_of_row(Status.ADDED, path, columns, row, Kind.FILE),)

    def _look_at(self, path: bytes, subject: tuple[_Rest, bytes]) -> Iterable[Event]:
        rest, name = subject
        if rest.seen is None:
            assert self._blank is not None
            live = Place(self._live.tree, rest.directory)
            blank = Place(self._blank.tree, rest.directory)
            rest.seen = self._look(live, blank, *rest.entries, one_directory=True)
        ours, theirs = rest.seen
        return self._entry(path, name, rest.entries, ours.get(name), theirs.get(name))

    def _same_inode(self, path: bytes, inode: int) -> Iterable[Event]:
        """An entry that two directories share: the inode under it differs."""
        left, right = self._unequal.nodes[inode]
        if left is None or right is None or self._blank is None:
            self._vanished(path)
            return ()
        ours, theirs = seen_of(left, self._live.tree), seen_of(right, self._blank.tree)
        if ours.place is not None or theirs.place is not None or ours.kind is not theirs.kind:
            return self._pair(path, ours, theirs)
        event = self._contents(path, ours, theirs)
        return () if event is None else (event,)

    def _apart(self, common: Common, blank: Side, directory: int) -> Apart:
        """The entries of a directory in common that may differ, subvolumes among them."""
        apart = common.apart(directory)
        if directory not in self._nested and directory not in self._unequal.nodes:
            return apart
        places = Place(self._live.tree, directory), Place(blank.tree, directory)
        nested = self._nested.get(directory, set()) | self._stubs_changed(*places)
        if not nested:
            return apart
        ours, theirs = (
            {name: entry for name, entry in entries_of(place).items() if name in nested}
            for place in places
        )
        return Apart(apart.live | ours, apart.blank | theirs)

    def _stubs_changed(self, live: Place, blank: Place) -> set[bytes]:
        """The stubs in a directory that changed hands: they show its owner as their own."""
        left, right = self._unequal.nodes.get(live.inode, (None, None))
        if left is None or right is None or (left.uid, left.gid) == (right.uid, right.gid):
            return set()
        return {entry.name for entry in entries_of(live).values() if entry.subvolume}

    # Any two directories at the same path.

    def _join(self, path: bytes, live: Place, blank: Place) -> Iterator[Event]:
        entries = _Entries(entries_of(live), entries_of(blank))
        if self._common is not None and self._are_own(live.tree, blank.tree):
            for name in [name for name in entries.live if self._is_equal(name, entries)]:
                del entries.live[name], entries.blank[name]
        ours, theirs = self._look(live, blank, *entries)
        for name in sorted({*entries.live, *entries.blank}):
            child = path + b"/" + name
            yield from self._entry(child, name, entries, ours.get(name), theirs.get(name))

    def _is_equal(self, name: bytes, entries: _Entries) -> bool:
        """Whether both entries of the two related trees are one old file that is equal in both."""
        mine = entries.live[name]
        return (
            mine == entries.blank.get(name)
            and not mine.subvolume
            and not mine.directory
            and mine.objectid not in self._unequal
        )

    def _look(
        self,
        live: Place,
        blank: Place,
        ours: dict[bytes, DirEntry],
        theirs: dict[bytes, DirEntry],
        *,
        one_directory: bool = False,
    ) -> tuple[dict[bytes, Seen], dict[bytes, Seen]]:
        whole = self._snapshots_whole
        return (
            see(live, ours, self._live, theirs, one_directory=one_directory, snapshots_whole=whole),
            see(
                blank, theirs, self._blank, ours, one_directory=one_directory, snapshots_whole=whole
            ),
        )

    def _entry(
        self, path: bytes, name: bytes, entries: _Entries, live: Seen | None, blank: Seen | None
    ) -> Iterator[Event]:
        """Compare what either side has at `path`; an entry whose inode is gone has vanished."""
        if (live is None and name in entries.live) or (blank is None and name in entries.blank):
            self._vanished(path)
        elif live is not None and blank is not None:
            yield from self._pair(path, live, blank)
        elif live is not None:
            yield from self._one_sided.single(path, live, self._live, Status.ADDED)
        elif blank is not None and self._blank is not None:
            yield from self._one_sided.single(path, blank, self._blank, Status.DELETED)

    def _pair(
        self, path: bytes, live: Seen, blank: Seen, *, descend: bool = True
    ) -> Iterator[Event]:
        if live.kind is not blank.kind:
            yield change_of(Status.TYPE, path, live)
        elif live.kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            if not same_properties(live.node, blank.node):
                yield change_of(Status.PROPERTIES, path, live)
        else:
            event = self._contents(path, live, blank)
            if event is not None:
                yield event
        if not descend:
            return
        if live.place is not None and blank.place is not None:
            if self._is_common(live.place, blank.place):
                return
            yield Descend(self._join(path, live.place, blank.place), path, live.place)
        elif live.place is not None:
            own = change_of(Status.TYPE, path, live)
            below = self._one_sided.below(path, live.place, self._live, Status.ADDED, own=own)
            yield Descend(below, path, live.place)
        elif blank.place is not None and self._blank is not None:
            below = self._one_sided.below(path, blank.place, self._blank, Status.DELETED)
            yield Descend(below, path, blank.place)

    def _contents(self, path: bytes, live: Seen, blank: Seen) -> Change | Pending | None:
        modified = change_of(Status.MODIFIED, path, live)
        if live.kind is Kind.FILE and self._took_its_place(live, blank):
            modified = modified._replace(replaced=True)
        return outcome(
            modified,
            same_content(live.node, blank.node),
            same_properties(live.node, blank.node),
            live.node.inode,
            blank.node.inode,
        )

    def _took_its_place(self, live: Seen, blank: Seen) -> bool:
        """Whether two related trees have different inodes at one path."""
        return (
            self._common is not None
            and self._are_own(live.tree, blank.tree)
            and (live.node.inode, live.node.generation) != (blank.node.inode, blank.node.generation)
        )

    def _is_common(self, live: Place, blank: Place) -> bool:
        """Whether both are one directory in common, whose entries are compared by themselves."""
        return (
            self._common is not None
            and live.inode == blank.inode
            and self._are_own(live.tree, blank.tree)
            and self._common[live.inode] is not None
        )

    def _are_own(self, live: Tree | None, blank: Tree | None) -> bool:
        """Whether these are the two related trees themselves, and not of nested subvolumes."""
        return live is self._live.tree and self._blank is not None and blank is self._blank.tree


def _links(left: Node | None, right: Node | None) -> Iterable[Link]:
    if left is None or right is None:
        return () if (node := left or right) is None else node.links
    return left.links if left.links == right.links else (*left.links, *right.links)


def _is_in(aparts: Mapping[int, Apart], directory: int, name: bytes) -> bool:
    apart = aparts.get(directory)
    return apart is not None and (name in apart.live or name in apart.blank)


def _key(path: bytes | None) -> bytes:
    """What the names in the directory at `path` are put behind, to be sorted by components.

    No name holds a zero, and none sorts below it.
    """
    assert path is not None
    return path.replace(b"/", b"\0") + b"\0"


def _reused(tree: Tree, other: Tree) -> list[int]:
    """The inode numbers that are new in `tree` and in use in `other`."""
    inodes = tree.columns.inodes
    highest = other.highest_inode() if inodes else 0
    numbers = sorted(set(inodes[: bisect_right(inodes, highest)]))
    return [inode for chunk in _chunks(numbers, INODES_AT_ONCE) for inode in other.nodes(chunk)]


def _chunks(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
