"""Which paths go into which persistent storage, and where that storage is; no writing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError, UsageError
from drift.names import shown
from drift.persistence import read_persistence, survives
from drift.saving.manifest import Origin
from drift.system.mounts import join, mount_of, relative, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drift.locate import Located
    from drift.pipeline import Scan
    from drift.suggestion import Suggestion

# Paths by the store they go to, as the live system calls it.
Targets = dict[bytes, list[bytes]]


class Destination(NamedTuple):
    """A store: `path` as the live system sees it, `host` where this process finds it.

    `shared` says that copies in it can share their extents with the live root.
    """

    path: bytes
    host: bytes
    shared: bool


def suggested(found: Scan, suggestion: Suggestion) -> Targets:
    """What is suggested, and what is declared already while its data is on the root alone.

    Not the stores themselves, which are a part of a root that is a plain directory.
    """
    targets: Targets = {}
    for part in (suggestion, suggestion.cache):
        if part is None:
            continue
        paths = targets.setdefault(part.persist, [])
        paths += [item.path for item in part.directories]
        paths += [item.path for item in part.files]
        for user in part.users:
            paths += [user.home + b"/" + item.path for item in user.directories]
            paths += [user.home + b"/" + item.path for item in user.files]
    stores = {one.path: one.store for one in found.declarations if one.store}
    for entry in found.pending:
        declared = next((path for path in stores if within(entry.path, path)), None)
        if declared is not None:
            targets.setdefault(stores[declared], []).append(declared)
    stores_used = tuple(targets)
    for store, paths in targets.items():
        targets[store] = [
            path
            for path in paths
            if not any(within(path, one) or within(one, path) for one in stores_used)
        ]
    return {store: paths for store, paths in targets.items() if paths}


def rooted(paths: Iterable[bytes], live: bytes) -> list[bytes]:
    """The user's paths as the live root sees them; UsageError where one can't be meant."""
    found = []
    for path in paths:
        absolute = path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)
        absolute = os.path.normpath(absolute).replace(b"//", b"/")
        if live != b"/" and within(absolute, live):
            absolute = relative(absolute, live)
        if absolute == b"/":
            raise UsageError("the whole root can't be saved", "name what is worth keeping in it")
        found.append(absolute)
    return found


def main_store(located: Located, given: Sequence[bytes]) -> bytes:
    """Where new entries go: the user's store, else the one that is found."""
    return read_persistence(located.mounts, located.live_directory, given=given).stores[0]


def destination(located: Located, store: bytes) -> Destination:
    """Where the store is; DriftError where it would be lost with the root."""
    live = located.live_directory
    host = os.path.realpath(join(live, store))
    if not os.path.isdir(host):
        raise DriftError(
            f"there is no persistent storage at {shown(store)}",
            "mount it, or say where it is with --persist PATH",
        )
    mounts = located.mounts
    mount, root = mount_of(mounts, host), mount_of(mounts, live)
    if root.point == live:
        points = read_persistence(mounts, live).points
        inside = relative(host, live) if within(host, live) else None
        if mount is root or (inside is not None and not survives(points, inside)):
            raise DriftError(
                f"{shown(store)} is a part of the live root and would be lost with it",
                "mount the persistent storage there, or say where it is with --persist PATH",
            )
    shared = (
        located.live_subvolume is not None
        and mount.fstype == "btrfs"
        and mount.device == root.device
    )
    return Destination(store, host, shared)


def kept_by(located: Located) -> Mapping[bytes, str]:
    """What keeps the paths that are on no part of the live root."""
    persistence = read_persistence(located.mounts, located.live_directory)
    return {point.path: point.describe for point in persistence.points if point.survives}


def origin_of(located: Located) -> Origin:
    """Which root this is, and of which boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    live = located.live_subvolume
    return Origin(b"" if live is None else live.uuid, boot)
