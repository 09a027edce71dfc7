"""The directories that two related trees have in common.

Each is the same old inode on both sides, under the same name in a directory in common, up to the
top. So nothing above it differs, and it can be compared by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.diff.trees import ROOT
from drift.diff.unequal import Apart

if TYPE_CHECKING:
    from drift.diff.trees import Side
    from drift.diff.unequal import Unequal

NOTHING_APART = Apart({}, {})


class Common(dict[int, bytes | None]):
    """Maps each directory's inode number to its path on both sides, None where it is not in common.

    What is not known beforehand is worked out when it is asked for. `unequal` holds all inodes that
    differ.
    """

    def __init__(self, live: Side, blank: Side, unequal: Unequal) -> None:
        super().__init__({ROOT: b""})
        self._live = live
        self._unequal = unequal.nodes
        self._items = unequal.apart
        # An inode that one side deleted is old and untouched on the other.
        self._apart = {
            (directory, name)
            for directory, apart in self._items.items()
            for entries in apart
            for name in entries
        }
        self._new = live.tree.columns.directories.keys() | blank.tree.columns.directories.keys()
        # Those links that need no other look; `_same_link` tells of all others.
        self._links = {
            inode: link for inode, link in unequal.links.items() if link not in self._apart
        }
        # The top's own link leads to itself.
        for inode in self._links.keys() & (self._new | self._unequal.keys() | {ROOT}):
            del self._links[inode]
        self._fill()

    def _fill(self) -> None:
        """Work out at once what can be: most directories were made after those they are in."""
        known = self.get
        for inode in sorted(self._links):
            parent, name = self._links[inode]
            above = known(parent)
            if above is not None:
                self[inode] = above + b"/" + name

    def __missing__(self, directory: int) -> bytes | None:
        known = self._links.get
        chain: dict[int, bytes] = {}
        path: bytes | None = None
        # Where two directories lie in each other, as a root can show that is written to meanwhile,
        # there is no path.
        while directory not in chain:
            link = known(directory) or self._same_link(directory)
            if link is None:
                self[directory] = None
                break
            chain[directory] = link[1]
            directory = link[0]
            if directory in self:
                path = self[directory]
                break
        for below, name in reversed(chain.items()):
            if path is not None:
                path += b"/" + name
            self[below] = path
        return path

    def apart(self, directory: int) -> Apart:
        """The entries that differ in a common directory."""
        return self._items.get(directory, NOTHING_APART)

    def _same_link(self, directory: int) -> tuple[int, bytes] | None:
        """The link that a directory has on both sides, None where it has none."""
        link: tuple[int, bytes] | None
        if directory in self._new:
            return None
        if directory in self._unequal:
            left, right = self._unequal[directory]
            if left is None or right is None or not left.links or left.links != right.links:
                return None
            link = left.links[0]
        else:
            link = self._live.tree.link(directory)
        return None if link in self._apart else link
