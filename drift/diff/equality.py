"""When two inodes are equal, as far as their metadata tells; no I/O."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.btrfs.trees import Node

# Inline data is smaller than a node; a sparse file behind it may be of any size.
LARGEST_INLINE = 64 * 1024


def entries_apart(left: Iterable[bytes], right: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The DIR_INDEX items of two directories that are not in both."""
    ours, theirs = set(left), set(right)
    alone, elsewhere = ours - theirs, theirs - ours
    if not alone or not elsewhere:
        return list(alone), list(elsewhere)
    # Told apart without the transid, which says when the entry was made.
    mine, others = (
        {payload[:17] + payload[25:]: payload for payload in payloads}
        for payloads in (alone, elsewhere)
    )
    return (
        [mine[key] for key in mine.keys() - others.keys()],
        [others[key] for key in others.keys() - mine.keys()],
    )


def equal_but_entries(left: Node, right: Node) -> bool:
    """Whether nothing that a user can see differs, entries of directories aside."""
    return (
        left.generation == right.generation
        and left.otime == right.otime
        and sorted(left.links) == sorted(right.links)
        and same_properties(left, right)
        and left.rdev == right.rdev
        and (left.is_directory or (left.size == right.size and left.extents == right.extents))
    )


def same_properties(left: Node, right: Node) -> bool:
    return (left.mode, left.uid, left.gid) == (right.mode, right.uid, right.gid) and sorted(
        left.xattrs
    ) == sorted(right.xattrs)


def same_content(left: Node, right: Node) -> bool | None:
    """Whether two inodes of the same type hold the same; None where only reading can tell."""
    form = stat.S_IFMT(left.mode)
    if form in (stat.S_IFCHR, stat.S_IFBLK):
        return left.rdev == right.rdev
    if form in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR):
        return True
    if left.size != right.size:
        return False
    if left.extents == right.extents or left.size == 0:
        return True
    bytes_left, bytes_right = _inline_of(left), _inline_of(right)
    if bytes_left is not None and bytes_right is not None:
        return bytes_left == bytes_right
    return None


def _inline_of(node: Node) -> bytes | None:
    return inline_bytes(node.inline, node.size) if len(node.extents) == 1 else None


def inline_bytes(inline: bytes | None, size: int) -> bytes | None:
    """All bytes of a file of this `size` whose one extent is `inline` data, None where it is none.

    Inline data may end before the file, which then ends in zeros.
    """
    if inline is None or len(inline) > size or size > LARGEST_INLINE:
        return None
    return inline.ljust(size, b"\0")
