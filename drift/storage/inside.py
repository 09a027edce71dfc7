"""What of a store is reached from elsewhere: through links, and through mounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drift.names import shown
from drift.system.mounts import mount_of, path_inside, relative, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drift.system.mounts import Mount
    from drift.system.rooted import Rooted


class Place(NamedTuple):
    """Where a store is: as the configuration calls it, free of links, and for this process."""

    path: bytes
    real: bytes
    host: bytes


# As many links as the kernel follows in one path (linux/namei.h).
_MAX_LINKS = 40


def trail_of(rooted: Rooted, place: Place, source: bytes) -> list[bytes]:
    """`source` as paths of the store: as it is named, each link on its way, its own place last.

    Empty where it isn't in the store.
    """
    names = [name for name in source.split(b"/") if name]
    found = [relative(source, place.path)] if within(source, place.path) else []
    done: list[bytes] = []
    links = 0
    while names:
        name = names.pop(0)
        if name == b"..":
            del done[-1:]
            continue
        path = b"/" + b"/".join([*done, name])
        try:
            target = rooted.target(path)
        except OSError:
            done.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            break
        if within(path, place.real) and path != place.real:
            found.append(relative(path, place.real))
        if target.startswith(b"/"):
            done.clear()
        names[:0] = [part for part in target.split(b"/") if part not in (b"", b".")]
    else:
        real = b"/" + b"/".join(done)
        if within(real, place.real):
            found.append(relative(real, place.real))
    return list(dict.fromkeys(path for path in found if path != b"/"))


def mounted_from(place: Place, mounts: Sequence[Mount], live: bytes) -> dict[bytes, str]:
    """What is mounted from the store elsewhere, by its path in the store."""
    store = mount_of(mounts, place.host)
    top = path_inside(store, place.host)
    found: dict[bytes, str] = {}
    for mount in mounts:
        sources = []
        if mount.device == store.device:
            sources = [relative(mount.root, top)] if within(mount.root, top) else []
        elif mount.fstype == "overlay" or mount.fstype.startswith("fuse"):
            # bindfs calls its source by name, and an overlay its layers.
            options = mount.super_options.encode(errors="surrogateescape")
            sources = [
                relative(name, place.host)
                for name in (mount.source, *re.split(b"[,:=]", options))
                if within(name, place.host)
            ]
        at = relative(mount.point, live) if within(mount.point, live) else mount.point
        for path in sources:
            if path != b"/":
                found.setdefault(path, f"is mounted at {shown(at)}")
    return found
