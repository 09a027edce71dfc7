"""Check the declared entries: what is missing, needless, too broad, or bound to fail; no I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from drift.doctor.check import Check, fail, ok, warn
from drift.model import Kind, Verdict
from drift.names import shown
from drift.places import ancestors
from drift.system.declared import State
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.doctor.machine import Machine
    from drift.system.declared import Declaration

# What the NixOS manual calls necessary state, and what its loss does.
NECESSARY = (
    (b"/var/lib/nixos", "users and groups get other numbers"),
    (b"/etc/machine-id", "the machine gets another identity and the old journal is hidden"),
    (b"/var/lib/systemd", "timers, the random seed and rfkill states start anew"),
    (b"/var/log", "the journal is gone"),
)


def necessary_state(machine: Machine) -> Iterator[Check]:
    name = "necessary state"
    missing = [(path, loss) for path, loss in NECESSARY if not _is_kept(machine, path)]
    if not missing:
        yield ok(name, "what NixOS itself needs is kept")
    for path, loss in missing:
        level = fail if path == b"/var/lib/nixos" else warn
        yield level(name, f"{shown(path)} is not kept: {loss}", f"persist {shown(path)}")


def _is_kept(machine: Machine, path: bytes) -> bool:
    above = [point for point in machine.points if within(path, point.path)]
    if above and max(above, key=lambda point: len(point.path)).survives:
        return True
    if any(within(path, place) for place in machine.planned):
        return True
    if any(within(path, one.path) for one in _wanted(machine)):
        return True
    found = machine.found.get(path)
    # A link leads to the configuration or to a store.
    return found is not None and found.kind is Kind.SYMLINK


def duplicates(machine: Machine) -> Iterator[Check]:
    twice = sorted(path for path, times in Counter(machine.listed).items() if times > 1)
    if not twice:
        yield ok("duplicate entries", "none")
    for path in twice:
        yield fail(
            "duplicate entries",
            f"{shown(path)} is listed more than once, which impermanence refuses to build",
            "leave it in one place",
        )


def nested(machine: Machine) -> Iterator[Check]:
    directories = {one.path for one in _wanted(machine) if one.kind is Kind.DIRECTORY}
    inside = [
        (one.path, above)
        for one in _wanted(machine)
        for above in ancestors(one.path)[::-1]
        if above in directories
    ]
    if not inside:
        yield ok("nested entries", "none")
    for path, above in inside:
        yield warn(
            "nested entries",
            f"{shown(path)} lies in {shown(above)}, which is persisted whole",
            f"leave {shown(path)} out, or name the parts of {shown(above)} instead",
        )


_BROAD = {
    b"/": "everything is kept, and nothing is reset",
    b"/etc": "activation writes there, and what it once wrote stays when the configuration changes",
    b"/var": "caches, logs and locks are kept with the state",
    b"/usr": "NixOS makes what is in it",
    b"/nix": "the store is no state of the root",
}


def over_broad(machine: Machine) -> Iterator[Check]:
    broad = [one for one in _wanted(machine) if one.path in _BROAD]
    if not broad:
        yield ok("over-broad entries", "none")
    for one in broad:
        level = warn if one.path == b"/var" else fail
        yield level(
            "over-broad entries",
            f"{shown(one.path)} is persisted whole: {_BROAD[one.path]}",
            "name what is worth keeping in it: drift suggest does",
        )


def dead(machine: Machine) -> Iterator[Check]:
    """Entries with nothing in the store and nothing in the live root."""
    empty = [one for one in _wanted(machine) if _is_dead(machine, one)]
    if not empty:
        yield ok("dead entries", "every entry holds something")
    for one in empty:
        yield warn(
            "dead entries",
            f"{shown(one.path)} holds nothing, here or in {shown(one.source)}",
            "leave it out if its program is gone",
        )


def _is_dead(machine: Machine, one: Declaration) -> bool:
    for path in (one.source, one.path):
        found = machine.found.get(path)
        if found is not None and not found.empty and not (path == one.path and _is_link(found)):
            return False
    return True


def _is_link(found: object) -> bool:
    return getattr(found, "kind", None) is Kind.SYMLINK


def kept_already(machine: Machine) -> Iterator[Check]:
    """Entries on a path that is on another subvolume without them."""
    whole = [point for point in machine.points if point.survives and point.origin is None]
    needless = []
    for one in _wanted(machine):
        above = [point for point in whole if within(one.path, point.path)]
        if above:
            needless.append((one.path, max(above, key=lambda point: len(point.path))))
    if not needless:
        yield ok("needless entries", "none")
    for path, point in needless:
        yield warn(
            "needless entries",
            f"{shown(path)} is kept without it: {shown(point.path)} is {point.describe}",
            "leave it out; where its data is in the store already, move that back first",
        )


def redundant(machine: Machine) -> Iterator[Check]:
    """Entries for what is made again at each boot anyway."""
    again = [
        one
        for one in _wanted(machine)
        if (rule := machine.rules.get(one.path)) is not None and rule.verdict is Verdict.REGENERATED
    ]
    if not again:
        yield ok("redundant entries", "none")
    for one in again:
        yield warn(
            "redundant entries",
            f"{shown(one.path)} is made again at each boot: {machine.rules[one.path].why}",
            machine.rules[one.path].advice or "leave it out",
        )


def replaced_files(machine: Machine) -> Iterator[Check]:
    bound = [one for one in _wanted(machine) if _is_replaced(machine, one)]
    if not bound:
        yield ok("replaced files", "no listed file is one that its program replaces by rename")
    for one in bound:
        rule = machine.rules[one.path]
        cure = 'give it method = "symlink"' if rule.method == "symlink" else ""
        yield warn(
            "replaced files",
            f"{shown(one.path)} is replaced by rename, which fails on a bind mount and undoes a"
            " link",
            cure or "persist its directory instead",
        )


def _is_replaced(machine: Machine, one: Declaration) -> bool:
    rule = machine.rules.get(one.path)
    if one.kind is not Kind.FILE or rule is None or not rule.replaced:
        return False
    found = machine.found.get(one.path)
    linked = found is not None and found.kind is Kind.SYMLINK
    return not (linked and rule.method == "symlink")


def existing_files(machine: Machine) -> Iterator[Check]:
    """impermanence mounts or links a file only where none is in the way."""
    blocked = [one for one in _wanted(machine) if _is_blocked(machine, one)]
    if not blocked:
        yield ok("files in the way", "none")
    for one in blocked:
        stored = one.source in machine.found
        copy = "" if stored else f"copy it to {shown(one.source)} first (drift save), then "
        yield fail(
            "files in the way",
            f"{shown(one.path)} exists: switching to the configuration fails with"
            ' "A file already exists"',
            f"{copy}use nixos-rebuild boot and reboot, instead of switching",
        )


def _is_blocked(machine: Machine, one: Declaration) -> bool:
    found = machine.found.get(one.path)
    if one.state is not State.PENDING or one.kind is not Kind.FILE or found is None:
        return False
    if found.kind is not Kind.FILE:
        return False
    return not found.empty or one.source not in machine.found


def unsaved(machine: Machine) -> Iterator[Check]:
    if not machine.unsaved:
        yield ok("saved data", "all that is declared has its data in the storage")
    for path in sorted(machine.unsaved):
        yield fail(
            "saved data",
            f"{shown(path)} is declared, and its data, or the newest of it, is on the root alone: the"
            " modules move none",
            f"run drift save {shown(path)} before the reboot",
        )


def undeclared(machine: Machine) -> Iterator[Check]:
    gone = [one for one in machine.declarations if one.state is State.UNDECLARED]
    if not gone:
        yield ok("declared mounts", "all that is mounted from the storage is declared")
    for one in gone:
        yield warn(
            "declared mounts",
            f"{shown(one.path)} is mounted from {shown(one.source)}, and nothing declares it for"
            " the next boot",
            "declare it, if it is still wanted: its data stays in the storage",
        )


def _wanted(machine: Machine) -> Sequence[Declaration]:
    return [one for one in machine.declarations if one.state is not State.UNDECLARED]


CHECKS = (
    necessary_state,
    unsaved,
    undeclared,
    duplicates,
    nested,
    over_broad,
    dead,
    redundant,
    kept_already,
    replaced_files,
    existing_files,
)
