"""What the entries of two trees under one name come to, from what is known of them; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.diff.stream import Pending
from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from drift.diff.unequal import Settled


def outcome(
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


def settled_outcome(path: bytes, one: Settled) -> tuple[Change | Pending, ...]:
    """What there is to say of a file that was settled where it was read."""
    _, _, inode, other, replaced, size, mode, uid, gid, mtime, content, properties = one
    status = Status.DELETED if inode is None else Status.MODIFIED
    change = Change(
        status, path, Kind.FILE, size, mode & 0o7777, uid, gid, mtime, None, False, None, replaced
    )
    if inode is None or content is False:
        return (change,)
    event = outcome(change, content, properties, inode, other)
    return () if event is None else (event,)
