"""The directories that two related trees have in common: the same old inode at the same path."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.diff.equality import entries_apart
from drift.diff.trees import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drift.btrfs.items import DirEntry, Link
    from drift.btrfs.trees import Node
    from drift.diff.trees import Side


class Apart(NamedTuple):
    """The entries of a common directory that are not equal on both sides, by name."""

    live: dict[bytes, DirEntry]
    blank: dict[bytes, DirEntry]


class Common:
    """Answers for directories by their inode number; `unequal` holds all inodes that differ."""

    def __init__(
        self, live: Side, blank: Side, unequal: Mapping[int, tuple[Node | None, Node | None]]
    ) -> None:
        self._live = live
        self._blank = blank
        self._unequal = unequal
        self._paths: dict[int, bytes | None] = {ROOT: b""}
        self._apart: dict[int, Apart] = {}

    def path(self, directory: int) -> bytes | None:
        """The path of `directory` on both sides, None where it is not in common."""
        chain: dict[int, Link] = {}
        while directory not in self._paths:
            link = self._link(directory)
            # A root that is written to meanwhile can show two directories in each other.
            if link is None or directory in chain:
                self._paths[directory] = self._moved_path(directory)
                break
            chain[directory] = link
            directory = link.parent
        path = self._paths[directory]
        for below, link in reversed(chain.items()):
            if path is not None and not self._is_apart(link):
                path += b"/" + link.name
            else:
                path = None
            self._paths[below] = path
        return path

    def apart(self, directory: int) -> Apart:
        """The entries that differ in a common directory."""
        if directory not in self._unequal:
            return Apart({}, {})
        found = self._apart.get(directory)
        if found is None:
            left, right = self._unequal[directory]
            found = Apart({}, {})
            if left is not None and right is not None:
                found = Apart(*entries_apart(left, right))
            self._apart[directory] = found
        return found

    def _is_apart(self, link: Link) -> bool:
        # An inode that one side deleted is old and untouched on the other.
        apart = self.apart(link.parent)
        return link.name in apart.live or link.name in apart.blank

    def _link(self, directory: int) -> Link | None:
        """The link that an old directory has on both sides, None where there is none."""
        if self._is_new(directory):
            return None
        if directory not in self._unequal:
            return self._live.tree.links([directory]).get(directory)
        left, right = self._unequal[directory]
        if left is None or right is None or not left.links or left.links != right.links:
            return None
        return left.links[0]

    def _moved_path(self, directory: int) -> bytes | None:
        """The path of an old directory that was moved, with others, and is where it was."""
        left, right = self._unequal.get(directory, (None, None))
        if left is None or right is None or self._is_new(directory):
            return None
        if not left.links or not right.links or left.links == right.links:
            return None
        path = self._live.path(left.links[0])
        return path if path == self._blank.path(right.links[0]) else None

    def _is_new(self, directory: int) -> bool:
        return self._live.tree.is_new_directory(directory) or self._blank.tree.is_new_directory(
            directory
        )
