"""Earlier roots that a machine keeps beside the live one: `old_roots`, or snapshots of the root."""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drift.btrfs.items import FS_TREE_OBJECTID
from drift.btrfs.subvolumes import BLANK_NAME, NO_UUID, relate
from drift.saving.beneath import DIRECTORY, names_in, open_beneath
from drift.saving.snapshot import SNAPSHOT_NAME, nested_in
from drift.saving.source import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drift.btrfs.subvolumes import Subvolume

# old_roots/2025-01-31_08:00:00, @old_roots/3, old-root; the impermanence README's and others'.
_OLD = re.compile(rb"(^|/)[@._]?old[-_]?roots?([-_./]|$)", re.IGNORECASE)
_CONTAINER = re.compile(rb"[@._]?old[-_]?roots?", re.IGNORECASE)
# root-2025-01-31, snapshots/@root.3, .snapshots/17/snapshot
_SNAPSHOT = re.compile(
    rb"(^|/)@?(root|rootfs)[-_.@][^/]*\d[^/]*$"
    rb"|(^|/)[@._]?snapshots?/(.*/)?@?root(fs)?([-_.@/]|$)"
    rb"|(^|/)[@._]?snapshots/\d+/snapshot$",
    re.IGNORECASE,
)


def old_roots(live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> list[Subvolume]:
    """The earlier roots on this filesystem, the newest first.

    Named as old roots are, or as snapshots are and related to the live root by lineage.
    """
    inside = {subvolume.id for subvolume in nested_in(live, subvolumes).values()}
    others = [
        one
        for one in subvolumes.values()
        if one.id not in (FS_TREE_OBJECTID, live.id)
        and one.id not in inside
        and not BLANK_NAME.search(one.path)
        and not SNAPSHOT_NAME.fullmatch(one.path)
        and one.uuid != live.parent_uuid
    ]
    found = [
        one
        for one in others
        if _OLD.search(one.path) or (_SNAPSHOT.search(one.path) and _of_root(one, live, subvolumes))
    ]
    # A subvolume `old_roots` that holds them is none itself; what is nested in one is a part of it.
    found = [one for one in found if not _is_container(one, found)]
    tops = tuple(one.path + b"/" for one in found)
    found = [one for one in found if not one.path.startswith(tops)]
    return sorted(found, key=lambda one: (-one.generation, one.path))


@contextmanager
def old_tree(top: int, old: Subvolume) -> Iterator[Tree]:
    """An old root as a tree to copy from, below the top level open at `top`."""
    fd = open_beneath(top, old.path, DIRECTORY)
    try:
        yield Tree(fd)
    finally:
        os.close(fd)


def _of_root(one: Subvolume, live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> bool:
    if relate(live, one, subvolumes.values()).base is not None:
        return True
    # A snapshot of a root that was deleted since: its parent is nowhere, like all the others'.
    known = {subvolume.uuid for subvolume in subvolumes.values()}
    return one.parent_uuid != NO_UUID and one.parent_uuid not in known


def _is_container(one: Subvolume, found: Sequence[Subvolume]) -> bool:
    name = one.path.rpartition(b"/")[2]
    return _CONTAINER.fullmatch(name) is not None and any(
        other.path.rpartition(b"/")[0] == one.path for other in found
    )


def holds(top: int, old: Subvolume, path: bytes) -> bool:
    """Whether an old root has something at `path`: a file with content, a directory that isn't empty."""
    try:
        with old_tree(top, old) as tree, tree.place(path) as place:
            status = place.status()
            if not stat.S_ISDIR(status.st_mode):
                return not stat.S_ISREG(status.st_mode) or status.st_size > 0
            fd = place.open_directory()
            try:
                return bool(names_in(fd))
            finally:
                os.close(fd)
    except OSError:
        return False
