"""Check the persistent storage and the modes of what leads to it; no I/O."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from drift.doctor.check import Check, fail, ok
from drift.model import Kind
from drift.names import exact, shown
from drift.places import PRIVATE, ancestors
from drift.render.text import size
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.doctor.machine import Machine


def store_mounted(machine: Machine) -> Iterator[Check]:
    for store in machine.stores:
        path = shown(store.path)
        if store.survives:
            yield ok("persistent storage", f"{path} is on {store.describe}")
        elif store.mounted:
            yield fail(
                "persistent storage",
                f"{path} is on {store.describe}, which does not outlive the root",
                "mount a subvolume of its own there, with neededForBoot = true",
            )
        else:
            yield fail(
                "persistent storage",
                f"nothing is mounted at {path}: it is lost with the root",
                f"mount a subvolume of its own at {path}, with neededForBoot = true, or name the"
                " storage with --persist",
            )


def store_space(machine: Machine) -> Iterator[Check]:
    if not machine.stores or not machine.stores[0].survives:
        return
    store = machine.stores[0]
    path = shown(store.path)
    if store.reflinks:
        yield ok("space", f"copies to {path} take none: it is on the root's filesystem")
    elif machine.needed <= store.free:
        yield ok("space", f"{path} has {size(store.free)} for {size(machine.needed)}")
    else:
        yield fail(
            "space",
            f"{path} has {size(store.free)}, and what is suggested takes {size(machine.needed)}",
            "make room there, or leave out the largest with drift suggest",
        )


# Private keys by their usual names, wherever they lie.
SECRET = re.compile(rb"ssh_host_\w+_key|id_(rsa|ecdsa|ed25519)(_sk)?|credential\.secret")


def secret_modes(machine: Machine) -> Iterator[Check]:
    """What should be closed and isn't, in the store and so in the live root."""
    open_wide = []
    for path, usual in sorted(_closed_paths(machine).items()):
        found = machine.found.get(path)
        if found is not None and found.kind in (Kind.FILE, Kind.DIRECTORY):
            too_much = found.mode & ~usual & 0o077
            if too_much:
                open_wide.append((path, found.mode, usual))
    if not open_wide:
        yield ok("secrets in storage", "no secret is open to others")
    for path, mode, usual in open_wide:
        yield fail(
            "secrets in storage",
            f"{shown(path)} is open to others (mode {mode:04o}, where {usual:04o} is usual)",
            f"run chmod {usual:04o} {shlex.quote(exact(path))}, and give the entry this mode",
        )


def _closed_paths(machine: Machine) -> dict[bytes, int]:
    closed = {}
    for one in machine.declarations:
        rule = machine.rules.get(one.path)
        if rule is not None and rule.mode is not None and not rule.mode & 0o077:
            closed[one.source] = rule.mode
    for path in machine.found:
        stored = any(within(path, store.path) for store in machine.stores)
        if stored and SECRET.fullmatch(path.rpartition(b"/")[2]):
            closed[path] = 0o600
    return closed


def private_modes(machine: Machine) -> Iterator[Check]:
    wrong = False
    stores = [store.path for store in machine.stores]
    for place in (private for top in (b"", *stores) for private in _below(top)):
        found = machine.found.get(place)
        if found is None or found.kind is not Kind.DIRECTORY:
            continue
        if (found.uid, found.gid, found.mode & 0o7777) == (0, 0, 0o700):
            continue
        wrong = True
        path = shlex.quote(exact(place))
        yield fail(
            "private directories",
            f"{shown(place)} is {found.uid}:{found.gid} {found.mode & 0o7777:04o}; systemd starts no"
            " service with DynamicUser= unless it is root:root 0700",
            f"run chown root:root {path} and chmod 0700 {path}",
        )
    if not wrong:
        yield ok("private directories", "what systemd keeps for DynamicUser= is root:root 0700")


def _below(top: bytes) -> list[bytes]:
    return [top + private for private in PRIVATE]


def owned_by_root(machine: Machine) -> Iterator[Check]:
    """systemd-tmpfiles refuses to work below a directory of somebody else's, the root's own too."""
    wrong = False
    for path in sorted(leading_directories(store.path for store in machine.stores)):
        found = machine.found.get(path)
        if found is None or found.kind is not Kind.DIRECTORY:
            continue
        # A sticky directory like /tmp may be everybody's.
        writable = found.mode & 0o022 and not found.mode & 0o1000
        if found.uid == 0 and not writable:
            continue
        wrong = True
        name = shlex.quote(exact(path))
        reason = f"belongs to uid {found.uid}" if found.uid else "can be written by others"
        cure = f"run chown root:root {name}" if found.uid else f"run chmod go-w {name}"
        yield fail("owner of parents", f"{shown(path)} {reason}: systemd takes it for unsafe", cure)
    if not wrong:
        yield ok("owner of parents", "/ and what leads to the entries belong to root alone")


# What every system has, and what persisted paths usually lie in.
_PARENTS = (b"/", b"/etc", b"/home", b"/nix", b"/var", b"/var/lib", b"/var/log", b"/var/cache")


def leading_directories(stores: Iterable[bytes]) -> set[bytes]:
    """The directories above the stores and above the entries in them, but no service's own."""
    stores = list(stores)
    leading = {*_PARENTS, *stores, *(above for store in stores for above in ancestors(store))}
    return leading | {store + path for store in stores for path in _PARENTS if path != b"/"}


CHECKS = (store_mounted, store_space, secret_modes, private_modes, owned_by_root)
