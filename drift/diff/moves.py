"""Which inodes are the same file on both sides, and under which names it was and is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drift.btrfs.items import Link
    from drift.btrfs.trees import Node
    from drift.diff.common import Common
    from drift.diff.trees import Side

FORMAT = 0o170000


class Moves:
    """Renames between two sides that parted at `since`, 0 where that can't be proved.

    `bound` is the generation up to which an inode can be the same file on both sides.
    """

    def __init__(self, live: Side, blank: Side | None, *, since: int, bound: int) -> None:
        self._live = live
        self._blank = blank
        self._since = since
        self._bound = bound
        self._known: dict[int, dict[bytes, bytes]] = {}
        self._common: Common | None = None

    def go_by(self, common: Common) -> None:
        """Look paths up quickly in the directories that both sides have in common."""
        self._common = common

    def of(self, node: Node, side: Side) -> dict[bytes, bytes]:
        """Map the new paths of an inode of this side's own tree to the old ones they replace.

        Names that exist on the other side are no part of it; the k-th new name takes the k-th old
        one, both sorted.
        """
        if self._blank is None or not node.links:
            return {}
        if node.inode in self._known:
            return self._known[node.inode]
        other = self.twin(node, side)
        moves: dict[bytes, bytes] = {}
        if other is not None:
            live, blank = (node, other) if side is self._live else (other, node)
            new = self._absent(live.links, self._live, self._blank)
            gone = self._absent(blank.links, self._blank, self._live)
            moves = dict(zip(new, gone, strict=False))
        if node.nlink > 1:
            self._known[node.inode] = moves
        return moves

    def twin(self, node: Node, side: Side) -> Node | None:
        """The same inode on the other side: made before the two parted, at the same instant."""
        if self._blank is None or node.generation > self._bound:
            return None
        tree = self._blank.tree if side is self._live else self._live.tree
        if not self._since and not tree.is_new(node.inode):
            return None
        other = tree.node(node.inode)
        if other is None or not other.links:
            return None
        if (other.generation, other.otime) != (node.generation, node.otime):
            return None
        return other if other.mode & FORMAT == node.mode & FORMAT else None

    def _absent(self, links: list[Link], side: Side, other: Side) -> list[bytes]:
        """The paths of one side that the other one doesn't have."""
        found = set()
        for link in links:
            above = None if self._common is None else self._common[link.parent]
            if self._common is None or above is None:
                path = side.path(link)
                if path is not None and not other.exists(path):
                    found.add(path)
            else:
                apart = self._common.apart(link.parent)
                mine, theirs = apart if side is self._live else reversed(apart)
                if link.name in mine and link.name not in theirs:
                    found.add(above + b"/" + link.name)
        return sorted(found, key=lambda path: path.split(b"/"))
