"""Save entries of the live root into persistent storage, each whole and verified or not at all."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from drift.errors import DriftError
from drift.saving.beneath import (
    exists,
    remove_tree,
    rename_new,
    status,
    sync_filesystem,
)
from drift.saving.copying import Copier, Links
from drift.saving.manifest import Saved
from drift.saving.plan import Action, Item, Plan, reason
from drift.saving.reading import read_records
from drift.saving.records import difference
from drift.saving.source import ChangedError, Place
from drift.saving.store import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.saving.manifest import Origin
    from drift.saving.records import Record
    from drift.saving.source import Tree
    from drift.saving.store import Store

# How often an entry that changes under the reader is begun anew.
TRIES = 3
# Writing a large manifest after each of many small entries would take longer than copying them.
BETWEEN_MANIFESTS = 5.0


def save(
    plan: Plan,
    source: Tree,
    store: Store,
    origin: Origin,
    *,
    now: int,
    progress: Callable[[bytes, int], None] = lambda _path, _bytes: None,
) -> list[Item]:
    """Do what `plan` says; return its items with what became of them.

    An item that is COPY or REPLACE afterwards was copied, verified and put in its place; FAILED
    says why not, and nothing of it is in the store. `progress` is told of the path and of bytes as
    they are copied and as they are verified. DriftError where the plan needs more room than there
    is, before anything is written.
    """
    plan.require_room(store.path)
    store.clean()
    links = Links(store.top)
    done: list[Item] = []
    written = time.monotonic()
    to_copy = plan.to_copy
    store.expect(item.path for item in to_copy)
    manifest = store.manifest
    try:
        for item in sorted(plan.items, key=lambda item: item.action is not Action.SAME):
            became, records = _one(item, source, store, links, now, progress)
            done.append(became)
            if records:
                manifest = manifest.with_saved(Saved(item.path, now, origin, records))
            if time.monotonic() - written > BETWEEN_MANIFESTS:
                store.write(manifest)
                written = time.monotonic()
    except BaseException:
        with suppress(DriftError, OSError):
            store.write(manifest)
        raise
    store.write(manifest.with_pending(()))
    return sorted(done, key=lambda item: item.path.split(b"/"))


def _one(
    item: Item,
    source: Tree,
    store: Store,
    links: Links,
    now: int,
    progress: Callable[[bytes, int], None],
) -> tuple[Item, tuple[Record, ...]]:
    """What became of an item, and the records of what the store now has of it."""
    try:
        match item.action:
            case Action.SAME:
                for device, inode, relative in item.contents.linked:
                    links.add((device, inode), item.path, relative)
                links.at[item.path] = item.path
                with store.tree.place(item.path) as place:
                    return item, tuple(read_records(store.tree, place))
            case Action.COPY | Action.REPLACE:
                return item, _save_one(item, source, store, links, now, progress)
            case _:
                return item, ()
    except (OSError, RecursionError) as error:
        return replace(item, action=Action.FAILED, why=_why(error)), ()


def _save_one(
    item: Item,
    source: Tree,
    store: Store,
    links: Links,
    now: int,
    progress: Callable[[bytes, int], None],
) -> tuple[Record, ...]:
    def advance(count: int) -> None:
        progress(item.path, count)

    with store.parent(source, item.path) as parent:
        name = item.path.rpartition(b"/")[2]
        temporary = temporary_name(item.path)
        beside = item.path.rpartition(b"/")[0] + b"/" + temporary
        remove_tree(temporary, parent)
        try:
            for attempt in range(1, TRIES + 1):
                try:
                    links.at[item.path] = beside
                    with source.place(item.path) as place:
                        Copier(source, links, advance).copy(place, parent, temporary)
                        sync_filesystem(parent)
                        records = _verified(source, place, store, parent, beside, advance)
                    break
                except ChangedError:
                    links.forget(item.path)
                    remove_tree(temporary, parent)
                    if attempt == TRIES:
                        raise
            copied = status(temporary, parent)
            _put_in_place(temporary, name, parent, item, now)
            links.at[item.path] = item.path
            found = status(name, parent)
            if copied is None or found is None or copied.st_ino != found.st_ino:
                raise ChangedError(item.path)
        except BaseException:
            if links.at.get(item.path) != item.path:
                links.forget(item.path)
            with suppress(OSError):
                remove_tree(temporary, parent)
            raise
        os.fsync(parent)
    return records


def _verified(
    source: Tree,
    place: Place,
    store: Store,
    parent: int,
    beside: bytes,
    advance: Callable[[int], None],
) -> tuple[Record, ...]:
    """The records of the copy, once it is seen to be equal to the source in everything."""
    copy = Place(parent, beside.rpartition(b"/")[2], beside)
    made = read_records(store.tree, copy, progress=advance, from_disk=True)
    records = []
    for one in read_records(source, place):
        other = next(made, None)
        if other is None or one.path != other.path or difference(one, other, times=True):
            raise ChangedError(place.path + (b"/" + one.path if one.path else b""))
        records.append(other)
    if next(made, None) is not None:
        raise ChangedError(place.path)
    return tuple(records)


def _put_in_place(temporary: bytes, name: bytes, parent: int, item: Item, now: int) -> None:
    there = status(name, parent)
    if there is not None and item.action is Action.REPLACE:
        rename_new(name, aside(name, parent, now), parent)
        os.fsync(parent)
    elif there is not None and stat.S_ISDIR(there.st_mode):
        # Only an empty directory gives way: with anything in it the kernel refuses.
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        return
    rename_new(temporary, name, parent)


def aside(name: bytes, parent: int, now: int) -> bytes:
    """A free name beside `name` for what was there before."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now // 1_000_000_000)).encode()
    # A name has at most 255 bytes.
    made = first = name[:200] + b".before-" + stamp
    count = 1
    while exists(made, parent):
        count += 1
        made = first + b"-%d" % count
    return made


def _why(error: OSError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "its directories are nested too deep"
    return reason(error)
