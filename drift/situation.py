"""What of a suggestion depends on the machine: what is in the way, and what is in the store."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from drift.suggestion import SuggestedFile
from drift.system.mounts import join, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.pipeline import Scan
    from drift.suggestion import SuggestedDirectory, Suggestion


class Situation(NamedTuple):
    """Facts for the next steps; paths are absolute, as the live system sees them.

    `running` says that the live root is the root of this machine. `blocking` are files at which
    activation would stop, `saved` what the stores hold already, `unsaved` what is declared but in
    no store. Of the stores, `unmounted` are on no filesystem that outlives the root, and from
    `unused` nothing is mounted yet. `added` says that the configuration has the entries.
    """

    running: bool
    blocking: tuple[bytes, ...]
    saved: tuple[bytes, ...]
    unsaved: tuple[bytes, ...]
    unmounted: tuple[bytes, ...]
    unused: tuple[bytes, ...]
    added: bool = False


def read_situation(found: Scan, suggestion: Suggestion, *, added: bool = False) -> Situation:
    root = found.live_directory
    blocking, saved = [], []
    stores = stores_of(suggestion)
    for store in stores:
        for path, wanted in absolute_paths(store):
            if isinstance(wanted, SuggestedFile) and _is_file(join(root, path)):
                blocking.append(path)
            if _holds_something(join(root, join(store.persist, path))):
                saved.append(path)
    names = [store.persist for store in stores]
    lasting = [point.path for point in found.mounts if point.survives]
    lasting += [kept.path for kept in found.report.kept]
    origins = [point.origin for point in found.mounts if point.origin is not None]
    origins += [one.store for one in found.declarations if one.store]
    return Situation(
        running=root == b"/",
        added=added,
        blocking=tuple(sorted(blocking)),
        saved=tuple(sorted(saved)),
        unsaved=tuple(sorted(entry.path for entry in found.pending)),
        unmounted=tuple(
            name for name in names if not any(within(name, point) for point in lasting)
        ),
        unused=tuple(name for name in names if not any(within(origin, name) for origin in origins)),
    )


def stores_of(suggestion: Suggestion) -> list[Suggestion]:
    return [suggestion] if suggestion.cache is None else [suggestion, suggestion.cache]


def absolute_paths(
    suggestion: Suggestion,
) -> Iterator[tuple[bytes, SuggestedDirectory | SuggestedFile]]:
    """Everything suggested for one store, those of users below their homes."""
    yield from ((one.path, one) for one in suggestion.directories)
    yield from ((one.path, one) for one in suggestion.files)
    for user in suggestion.users:
        yield from ((user.home + b"/" + one.path, one) for one in user.directories)
        yield from ((user.home + b"/" + one.path, one) for one in user.files)


def _is_file(path: bytes) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _holds_something(path: bytes) -> bool:
    """Whether there is a file, or a directory that isn't empty."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return True
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
