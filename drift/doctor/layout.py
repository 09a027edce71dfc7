"""Check the root, its blank and what lies in it; no I/O."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from drift.doctor.check import Check, fail, ok, warn
from drift.model import Lineage
from drift.names import exact, shown
from drift.render.text import plural, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.doctor.machine import Blank, Machine

# Where the README of impermanence moves a root when the next one is made.
OLD_ROOT = re.compile(rb"(^|/)[@._]?old[_-]?roots?(/|$)", re.IGNORECASE)


def live_root(machine: Machine) -> Iterator[Check]:
    name = "live root"
    at = shown(machine.live)
    if machine.subvolume is None:
        yield fail(
            name,
            f"{at} is no Btrfs subvolume",
            "drift can only compare directories here: give --live and --blank",
        )
        return
    subvolume = shown(machine.subvolume)
    if OLD_ROOT.search(machine.subvolume):
        yield fail(
            name,
            f"{at} is {subvolume}, an old root that was moved away",
            "give --live the root that is in use, or reboot into it",
        )
    elif machine.expected is not None and machine.expected != machine.subvolume:
        yield fail(
            name,
            f"{at} is {subvolume}, but /etc/fstab mounts {shown(machine.expected)} there",
            "reboot, or give --live the root that the next boot resets",
        )
    else:
        yield ok(name, f"{at} is the subvolume {subvolume}")


def blank_found(machine: Machine) -> Iterator[Check]:
    if machine.blank is not None:
        yield ok("blank", f"{shown(machine.blank.path)} is the blank")
    elif machine.old_roots:
        yield ok(
            "blank",
            "there is none: the root is new and empty at each boot, and"
            f" {plural(machine.old_roots, 'earlier one is', 'earlier ones are')} kept",
        )
    elif machine.problem is not None:
        message, cure = machine.problem
        yield fail("blank", message.replace("\n", " "), cure)
    else:
        yield warn(
            "blank",
            "there is none to compare with: everything counts as new",
            "where the root is a new, empty subvolume at each boot, that is right",
        )


def blank_read_only(machine: Machine) -> Iterator[Check]:
    blank = machine.blank
    if blank is None:
        return
    if blank.read_only:
        yield ok("blank is read-only", f"{shown(blank.path)} can't change")
        return
    yield warn(
        "blank is read-only",
        f"{shown(blank.path)} can be written to, and what is written comes back at each boot",
        f"mount the top level (subvolid=5) on /mnt and run {_property(blank)}",
    )


def blank_is_blank(machine: Machine) -> Iterator[Check]:
    blank = machine.blank
    if blank is None:
        return
    if not blank.files:
        yield ok("blank is blank", f"{shown(blank.path)} holds no file")
        return
    yield warn(
        "blank is blank",
        f"{shown(blank.path)} holds {plural(blank.files, 'file')}, such as {shown(blank.sample)},"
        " which come back old at each boot",
        "look through it with drift diff --blank none, and take a blank of an empty root if it is"
        " not meant so",
    )


def blank_holds_no_subvolume(machine: Machine) -> Iterator[Check]:
    """The guide's trap: where /root-blank exists already, the snapshot lands inside of it."""
    blank = machine.blank
    if blank is None:
        return
    if not blank.inside:
        yield ok("blank holds no snapshot", f"no subvolume lies in {shown(blank.path)}")
        return
    inner = blank.inside[0]
    top, held = (b"/mnt/" + path for path in (blank.path, inner))
    aside = b"/mnt/" + blank.path.rpartition(b"/")[2] + b"-new"
    steps = (
        f"mv {_quoted(held)} {_quoted(aside)}, btrfs subvolume delete {_quoted(top)},"
        f" mv {_quoted(aside)} {_quoted(top)}"
    )
    yield fail(
        "blank holds no snapshot",
        f"{shown(inner)} lies inside of {shown(blank.path)}: the snapshot that was to become the"
        " blank was made in a subvolume of that name, and the boot restores the outer one",
        f"mount the top level (subvolid=5) on /mnt, look which of both is meant, and if it is the"
        f" inner one: {steps}",
    )


def lineage(machine: Machine) -> Iterator[Check]:
    if machine.blank is None:
        return
    since = "" if machine.base is None else f"; they parted at generation {machine.base}"
    match machine.lineage:
        case Lineage.LIVE_FROM_BLANK:
            yield ok("lineage", f"the root is a snapshot of the blank{since}")
        case Lineage.BLANK_FROM_LIVE:
            yield ok("lineage", f"the blank was taken from the root, not yet rolled back{since}")
        case Lineage.COMMON_ANCESTOR:
            yield ok("lineage", f"root and blank come from one ancestor{since}")
        case _:
            yield warn(
                "lineage",
                "root and blank are not related by snapshots, so every entry is compared",
                "after the next rollback they are; if they aren't then, the boot does not restore"
                " this blank",
            )


# The clock may be set after the initrd made the root.
_CLOCK_SKEW = 86400


def was_reset(machine: Machine) -> Iterator[Check]:
    if machine.lineage is not Lineage.LIVE_FROM_BLANK or None in (machine.made, machine.booted):
        return
    assert machine.made is not None
    assert machine.booted is not None
    if machine.made >= machine.booted - _CLOCK_SKEW:
        yield ok("reset at boot", "the root was made anew at the last boot")
        return
    days = int((machine.booted - machine.made) // 86400)
    yield warn(
        "reset at boot",
        f"the root is {plural(days, 'day')} older than the last boot: that did not reset it",
        "see journalctl -b for the unit or script of the initrd that rolls back",
    )


def nested_subvolumes(machine: Machine) -> Iterator[Check]:
    held = [nested for nested in machine.nested if nested.files]
    if not held:
        empty = plural(len(machine.nested), "empty subvolume") if machine.nested else "no subvolume"
        yield ok("nested subvolumes", f"{empty} in the root")
    for nested in held:
        least = "at least " if nested.more else ""
        yield warn(
            "nested subvolumes",
            f"{shown(nested.path)} ({nested.service}) holds {least}{plural(nested.files, 'file')},"
            f" {least}{size(nested.bytes)}, and the rollback deletes it",
            "persist it as a directory, or make it a subvolume of the top level and mount it",
        )


def hidden_data(machine: Machine) -> Iterator[Check]:
    if not machine.hidden:
        yield ok("hidden data", "the root has no data below a mount point")
    for hidden in machine.hidden:
        yield warn(
            "hidden data",
            f"{plural(hidden.files, 'file')} ({size(hidden.bytes)}) of the root lie below the mount"
            f" point {shown(hidden.path)}, out of sight, and the reboot deletes them",
            "look at them with drift diff; drift save --hidden copies them",
        )


def passwords(machine: Machine) -> Iterator[Check]:
    if machine.lockout is None:
        yield ok("passwords", "no password is lost with /etc/shadow")
        return
    yield fail(
        "passwords",
        machine.lockout,
        "give each user hashedPasswordFile on persistent storage (neededForBoot)",
    )


def _property(blank: Blank) -> str:
    return f"btrfs property set -ts {_quoted(b'/mnt/' + blank.path)} ro true"


def _quoted(path: bytes) -> str:
    return shlex.quote(exact(path))


CHECKS = (
    live_root,
    blank_found,
    blank_read_only,
    blank_is_blank,
    blank_holds_no_subvolume,
    lineage,
    was_reset,
    nested_subvolumes,
    hidden_data,
    passwords,
)
