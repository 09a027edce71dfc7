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
  search is proved to have returned all (`touched._is_all`). If it is equal in both it is dismissed:
  reading a directory under relatime, chmod and back, balance and dedupe only look like changes.
- A directory that was only listed, which under relatime is most of them, is dismissed sooner: each
  operation on its names or xattrs raises the `sequence` of its inode item, so if that and all else
  but atime and transid is equal to the blank's, which was not written since T, so are its entries
  (`touched._was_only_listed`).
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
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import kind_of
from drift.diff.common import Apart, Common
from drift.diff.descend import Descend, flattened
from drift.diff.equality import same_content, same_properties
from drift.diff.moves import Moves
from drift.diff.one_sided import OneSided
from drift.diff.sight import Place, Seen, change_of, entries_of, see, see_root, seen_of
from drift.diff.stream import Pending, change_of_row
from drift.diff.trees import ROOT, Tree
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drift.btrfs.items import DirEntry, Link
    from drift.btrfs.trees import Node
    from drift.diff.descend import Event
    from drift.diff.stream import Found
    from drift.diff.trees import Side
    from drift.diff.unequal import Settled, Unequal

# How many inodes are read in full before the equal ones among them are let go.
INODES_AT_ONCE = 4096


class _Looked(NamedTuple):
    """The entries of a directory in common that may differ.

    `settled` has what is to be said of some, and `live` and `blank` what was seen of the others.
    """

    settled: dict[bytes, Change | Pending | None]
    apart: Apart
    live: dict[bytes, Seen]
    blank: dict[bytes, Seen]


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
        moves = Moves(live, blank, since=since, bound=bound)
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
        for left, right in unequal.nodes.values():
            if left is not None:
                live.tree.keep(left)
            if right is not None:
                blank.tree.keep(right)

    # Directories that both trees have in common.

    def _join_common(self, common: Common, blank: Side) -> Iterator[Event]:
        """Compare what may differ in the directories in common, and all that hangs on it.

        Each of them is looked at by itself, so nobody has to go the way down to it.
        """
        aparts = self._aparts(common, blank, self._unequal)
        names = self._names(common, aparts)
        spots = [
            ((path + b"/" + name).replace(b"/", b"\0"), path, directory, name)
            for path, directory in ((common[inode] or b"", inode) for inode in names)
            for name in names[directory]
        ]
        # The order of components: no name holds a zero, and none sorts below it.
        spots.sort()
        looked: dict[int, _Looked] = {}

        for _, path, directory, name in spots:
            child = path + b"/" + name
            inside = names[directory]
            inode = inside.pop(name)
            if inode is None:
                if directory not in looked:
                    looked[directory] = self._look_at(path, directory, aparts.pop(directory), blank)
                settled, apart, ours, theirs = looked[directory]
                if name not in settled:
                    yield from self._entry(child, name, apart, ours.get(name), theirs.get(name))
                elif (event := settled[name]) is not None:
                    yield event
            else:
                yield from self._same_inode(child, inode, blank)
            if not inside:
                looked.pop(directory, None)

    def _look_at(self, path: bytes, directory: int, apart: Apart, blank: Side) -> _Looked:
        """Look at the entries of a directory in common that are not settled by what is known."""
        settled = self._settled(path, directory, apart)
        live, theirs = (
            {name: entry for name, entry in entries.items() if name not in settled}
            for entries in apart
        )
        if not live and not theirs:
            return _Looked(settled, Apart({}, {}), {}, {})
        places = Place(self._live.tree, directory), Place(blank.tree, directory)
        return _Looked(
            settled, Apart(live, theirs), *self._look(*places, live, theirs, one_directory=True)
        )

    def _settled(
        self, path: bytes, directory: int, apart: Apart
    ) -> dict[bytes, Change | Pending | None]:
        """What is there to say, if anything, of files that need no other look, by name."""
        found: dict[bytes, Change | Pending | None] = {}
        for name, one in self._unequal.settled.get(directory, {}).items():
            # It may have another name now.
            if one.inode is not None or one.other not in self._unequal.nodes:
                found[name] = _event_of(path + b"/" + name, one)
        columns = self._live.tree.columns
        for name, entry in apart.live.items():
            if name in apart.blank or entry.subvolume or entry.directory:
                continue
            for row in columns.rows_of(entry.objectid)[:1]:
                # Made since, so it is nobody's new name.
                if kind_of(columns.mode(row)) is Kind.FILE:
                    child = path + b"/" + name
                    found[name] = change_of_row(Status.ADDED, child, columns, row, Kind.FILE)
        return found

    def _names(
        self, common: Common, aparts: Mapping[int, Apart]
    ) -> dict[int, dict[bytes, int | None]]:
        """The names in directories in common that may differ.

        Each with its inode, where both sides have one entry for it, else with None.
        """
        names: dict[int, dict[bytes, int | None]] = {}
        for inode, one in self._unequal.altered.items():
            if common[one.parent] is not None:
                names.setdefault(one.parent, {})[one.name] = inode
        for inode, pair in self._unequal.nodes.items():
            for link in () if inode == ROOT else _links(*pair):
                if common[link.parent] is not None:
                    names.setdefault(link.parent, {})[link.name] = inode
        for directory, apart in aparts.items():
            inside = names.setdefault(directory, {})
            inside.update(dict.fromkeys(apart.live))
            inside.update(dict.fromkeys(apart.blank))
        return names

    def _aparts(self, common: Common, blank: Side, unequal: Unequal) -> dict[int, Apart]:
        """What may differ of the entries of each directory in common."""
        return {
            directory: apart
            for directory in {*unequal.apart, *self._nested}
            if common[directory] is not None and any(apart := self._apart(common, blank, directory))
        }

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

    def _same_inode(self, path: bytes, inode: int, blank: Side) -> Iterable[Event]:
        """An entry that two directories share: the inode under it differs."""
        altered = self._unequal.altered.get(inode)
        if altered is not None:
            event = _event_of(path, altered)
            return () if event is None else (event,)
        left, right = self._unequal.nodes[inode]
        if left is None or right is None:
            self._vanished(path)
            return ()
        ours, theirs = seen_of(left, self._live.tree), seen_of(right, blank.tree)
        if ours.place is not None or theirs.place is not None or ours.kind is not theirs.kind:
            return self._pair(path, ours, theirs)
        event = self._contents(path, ours, theirs)
        return () if event is None else (event,)

    # Any two directories at the same path.

    def _join(self, path: bytes, live: Place, blank: Place) -> Iterator[Event]:
        entries = Apart(entries_of(live), entries_of(blank))
        if self._common is not None and self._are_own(live.tree, blank.tree):
            for name in [name for name in entries.live if self._is_equal(name, entries)]:
                del entries.live[name], entries.blank[name]
        ours, theirs = self._look(live, blank, *entries)
        for name in sorted({*entries.live, *entries.blank}):
            child = path + b"/" + name
            yield from self._entry(child, name, entries, ours.get(name), theirs.get(name))

    def _is_equal(self, name: bytes, entries: Apart) -> bool:
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
        self, path: bytes, name: bytes, entries: Apart, live: Seen | None, blank: Seen | None
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
        return _outcome(
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


def _event_of(path: bytes, settled: Settled) -> Change | Pending | None:
    """What there is to say of a file that was settled where it was read."""
    modified = Change(
        Status.MODIFIED,
        path,
        Kind.FILE,
        settled.size,
        settled.mode & 0o7777,
        settled.uid,
        settled.gid,
        settled.mtime,
        replaced=settled.replaced,
    )
    if settled.inode is None:
        return modified._replace(status=Status.DELETED)
    return _outcome(
        modified, settled.same_content, settled.same_properties, settled.inode, settled.other
    )


def _outcome(
    modified: Change, content: bool | None, properties: bool, live: int, blank: int
) -> Change | Pending | None:
    """What two entries of one kind, of the inodes `live` and `blank`, come to.

    `content` and `properties` say whether these are the same, `content` None that only a look at
    the bytes can tell; `modified` is the change where it is not.
    """
    if content is False:
        return modified
    if_equal = None if properties else modified._replace(status=Status.PROPERTIES)
    if content:
        return if_equal
    path = modified.path
    return Pending(path, live, path, blank, modified.size, if_equal, modified)


def _reused(tree: Tree, other: Tree) -> list[int]:
    """The inode numbers that are new in `tree` and in use in `other`."""
    inodes = tree.columns.inodes
    highest = other.highest_inode() if inodes else 0
    numbers = sorted(set(inodes[: bisect_right(inodes, highest)]))
    return [inode for chunk in _chunks(numbers, INODES_AT_ONCE) for inode in other.nodes(chunk)]


def _chunks(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
