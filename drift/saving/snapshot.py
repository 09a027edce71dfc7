"""A read-only snapshot of the live root and of what is nested in it, for the time of a save."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from drift.btrfs import subvolumes as btrfs
from drift.btrfs.ioctl import lock
from drift.btrfs.roots import list_subvolumes
from drift.errors import DriftError
from drift.saving.beneath import DIRECTORY, open_beneath, proc_path
from drift.saving.source import Tree
from drift.system.mounts import mount_of, mounts_below, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drift.btrfs.subvolumes import Subvolume
    from drift.locate import Located

# On the top level, beside the live root: drift-save-snapshot-256, with the subvolume's id.
PREFIX = b"drift-save-snapshot-"
SNAPSHOT_NAME = re.compile(re.escape(PREFIX) + rb"\d+")


@contextmanager
def live_tree(located: Located) -> Iterator[Tree]:
    """The live root as it is now: what is mounted over it does not hide it where it is on Btrfs."""
    with ExitStack() as stack:
        filesystem, live = located.filesystem, located.live_subvolume
        if filesystem is None or live is None:
            root = os.open(located.live_directory, DIRECTORY)
            stack.callback(os.close, root)
            points = mounts_below(located.mounts, located.live_directory)
            yield Tree(root, barriers=frozenset(point.path for point in points))
            return
        from drift.compare import open_top

        top = open_top(located, stack)
        yield Tree(_opened(top, live.path, stack))


@contextmanager
def snapshot_tree(located: Located, paths: Sequence[bytes]) -> Iterator[Tree]:
    """The live root as of one instant: a snapshot, removed with the context.

    Of the subvolumes nested in it, those at, above or below one of `paths` get one too. What an
    interrupted run has left is removed first. Where the live root is no subvolume, it is read as it
    is. DriftError where no snapshot can be taken.
    """
    filesystem, live = located.filesystem, located.live_subvolume
    if filesystem is None or live is None:
        with live_tree(located) as tree:
            yield tree
        return
    with ExitStack() as stack:
        top = _writable_top(located, stack)
        remove_leftovers(top)
        nested = {
            path: subvolume
            for path, subvolume in nested_in(live, filesystem.subvolumes).items()
            if any(within(path, wanted) or within(wanted, path) for wanted in paths)
        }
        opened = {}
        # The root first: its parts are taken in the order of their paths, within milliseconds.
        for path, subvolume in [(b"/", live), *sorted(nested.items())]:
            opened[path] = _snapshot(top, subvolume, stack)
        root = opened.pop(b"/")
        yield Tree(root, nested=opened)


def remove_leftovers(top: int) -> list[bytes]:
    """Delete the snapshots that a killed run has left on the top level open at `top`."""
    found = sorted(
        subvolume.path
        for subvolume in list_subvolumes(top).values()
        if SNAPSHOT_NAME.fullmatch(subvolume.path)
        and subvolume.read_only
        and subvolume.parent_uuid != btrfs.NO_UUID
    )
    for name in found:
        btrfs.delete_subvolume(proc_path(top, name))
    return found


def remove_left_behind(located: Located) -> list[bytes]:
    """Delete what killed runs have left, if anything; their paths on the top level."""
    filesystem = located.filesystem
    if filesystem is None or not any(
        SNAPSHOT_NAME.fullmatch(one.path) for one in filesystem.subvolumes.values()
    ):
        return []
    with ExitStack() as stack:
        return remove_leftovers(_writable_top(located, stack))


def nested_in(live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> dict[bytes, Subvolume]:
    """The subvolumes inside the live root, by their path in it."""
    prefix = live.path + b"/"
    return {
        subvolume.path[len(live.path) :]: subvolume
        for subvolume in subvolumes.values()
        if subvolume.path.startswith(prefix)
    }


def _writable_top(located: Located, stack: ExitStack) -> int:
    from drift.system.private_mount import open_top_level

    assert located.filesystem is not None
    assert located.live_subvolume is not None
    if located.live_subvolume.path == b"":
        raise DriftError(
            "the live root is the top level of its filesystem: a snapshot would lie inside of it",
            "read the live root itself with --no-snapshot",
        )
    mount = mount_of(located.mounts, located.live_directory)
    if "rw" not in mount.super_options.split(","):
        # A writable mount would turn the whole filesystem writable, behind its owner's back.
        raise DriftError(
            "the live root's filesystem is mounted read-only, so no snapshot can be taken",
            "read the live root itself with --no-snapshot",
        )
    top = open_top_level(located.filesystem.device, writable=True)
    stack.callback(os.close, top)
    if not lock(top):
        raise DriftError(
            "another drift save is running on this filesystem", "wait until it has finished"
        )
    return top


def _snapshot(top: int, subvolume: Subvolume, stack: ExitStack) -> int:
    name = PREFIX + b"%d" % subvolume.id
    source = open_beneath(top, subvolume.path, DIRECTORY)
    try:
        # Registered before: an interrupt may come between the snapshot and the next line.
        stack.callback(_delete, top, name)
        btrfs.create_snapshot(source, proc_path(top, name))
    finally:
        os.close(source)
    return _opened(top, name, stack)


def _delete(top: int, name: bytes) -> None:
    if os.access(name, os.F_OK, dir_fd=top):
        btrfs.delete_subvolume(proc_path(top, name))


def _opened(top: int, path: bytes, stack: ExitStack) -> int:
    fd = open_beneath(top, path, DIRECTORY)
    stack.callback(os.close, fd)
    return fd
