"""The directories that two related trees have in common.

Each is the same old inode on both sides, under the same name in a directory in common, up to the
top. So nothing above it differs, and it can be compared by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import DirEntry, dir_index
from drift.diff.trees import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.btrfs.items import Link
    from drift.diff.trees import Side
    from drift.diff.unequal import Unequal


class Apart(NamedTuple):
    """The entries of a common directory that are not equal on both sides, by name."""

    live: dict[bytes, DirEntry]
    blank: dict[bytes, DirEntry]


class Common(dict[int, bytes | None]):
    """Maps each directory's inode number to its path on both sides, None where it is not in common.

    It is worked out when it is asked for. `unequal` holds all inodes that differ.
    """

    def __init__(self, live: Side, blank: Side, unequal: Unequal) -> None:
        super().__init__({ROOT: b""})
        self._live = live
        self._new_in_live = live.tree.columns.directories
        self._new_in_blank = blank.tree.columns.directories
        self._links = unequal.links
        self._unequal = unequal.nodes
        self._items = unequal.apart
        self._apart: dict[int, Apart] = {}

    def __missing__(self, directory: int) -> bytes | None:
        chain: dict[int, Link] = {}
        while directory not in self:
            link = self._link(directory)
            # A root that is written to meanwhile can show two directories in each other.
            if link is None or directory in chain:
                self[directory] = None
                break
            chain[directory] = link
            directory = link.parent
        path = self[directory]
        for below, link in reversed(chain.items()):
            if path is not None and not self._is_apart(link):
                path += b"/" + link.name
            else:
                path = None
            self[below] = path
        return path

    def apart(self, directory: int) -> Apart:
        """The entries that differ in a common directory."""
        found = self._apart.get(directory)
        if found is None:
            mine, other = self._items.get(directory, ((), ()))
            found = self._apart[directory] = Apart(_decoded(mine), _decoded(other))
        return found

    def _is_apart(self, link: Link) -> bool:
        # An inode that one side deleted is old and untouched on the other.
        if link.parent not in self._items:
            return False
        apart = self.apart(link.parent)
        return link.name in apart.live or link.name in apart.blank

    def _link(self, directory: int) -> Link | None:
        """The link that an old directory has on both sides, None where there is none."""
        if directory in self._new_in_live or directory in self._new_in_blank:
            return None
        pair = self._unequal.get(directory)
        if pair is None:
            return self._links.get(directory) or self._live.tree.link(directory)
        left, right = pair
        if left is None or right is None or not left.links or left.links != right.links:
            return None
        return left.links[0]


def _decoded(items: Iterable[bytes]) -> dict[bytes, DirEntry]:
    entries = map(dir_index, items)
    return {entry.name: entry for entry in entries}
