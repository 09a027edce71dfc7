"""What has to be said about a suggestion besides its lists; no I/O."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from humanize import naturalsize

from drift.live_root import is_dynamic
from drift.model import Kind, Severity
from drift.names import exact, shown
from drift.places import PRIVATE, ancestors, cached, in_private
from drift.suggestion import Advice, Owner
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.live_root import LiveRoot
    from drift.report import Finding


class Wanted(NamedTuple):
    """One absolute path to persist, with the owner that the live root gives it."""

    path: bytes
    directory: bool
    owner: Owner
    uid: int
    finding: Finding
    files: int
    bytes: int
    method: str = "auto"


DELETED = "deleted here, but the blank still has it: the reboot brings it back"
SUBVOLUME = (
    "a Btrfs subvolume inside the root: the rollback deletes it with all it holds;"
    " in persistent storage its content lives in a plain directory"
)
SHARED = "many programs keep their files here: persist what is worth keeping in it by name"
FILLED = (
    "NixOS puts files of its own here, which a bind mount of the whole would hide:"
    " persist what is yours in it by name"
)
STORE_ON_ROOT = (
    "persistent storage lies on the root itself, so the reboot deletes it as well:"
    " it has to be a subvolume that is mounted here"
)
REPLACED = (
    "its program replaces this file when it saves, which fails on a bind mount and undoes a link:"
    " let the program keep it in a directory of its own, and persist that"
)
SEEN_REPLACED = (
    "a new file took its place since the blank was made: if its program does that whenever it"
    " saves, a mounted file would make saving fail; if it happened once, add it to files by hand"
)


def written_beside(name: bytes) -> str:
    return (
        f"{shown(name)} beside it looks like its program's next version of it: a mounted file can't"
        " be replaced, so see how it is saved before adding it to files by hand"
    )


def not_persistable(kind: Kind) -> str:
    if kind is Kind.SYMLINK:
        return "a symlink can't be persisted: declare it, or persist what it points to"
    return f"a {kind} can't be persisted: its program makes it again"


def not_private(twin: bytes) -> str:
    """About a real directory where a DynamicUser= service has a link to `twin`."""
    return (
        f"a real directory here, though its service usually keeps it in {shown(twin)}:"
        " if its unit has DynamicUser=yes, start it once and look again before persisting this"
    )


def about(
    wanted: Sequence[Wanted], root: LiveRoot, persist: bytes, *, one_store: bool = True
) -> Iterator[Advice]:
    """Everything that could surprise whoever pastes the suggestion.

    `persist` is where it goes; `one_store` says that caches have no store of their own.
    """
    for want in wanted:
        for say in (
            _size(want, persist, movable=one_store and is_cache(want, root)),
            _owner(want),
            _name(want),
            _openness(want, root),
        ):
            if say is not None:
                yield Advice(want.path, say)
    yield from _parents(wanted, root, persist)


_SURPRISING = 1 << 30


def _size(want: Wanted, persist: bytes, *, movable: bool) -> str | None:
    if want.bytes <= _SURPRISING:
        return None
    text = f"{naturalsize(want.bytes, binary=True)}: {shown(persist)} needs room for it"
    return text + ("; as a cache it can go to a second store, with --cache PATH" * movable)


def is_cache(want: Wanted, root: LiveRoot) -> bool:
    """Rules call a cache in name only, or one that takes more than time to lose, at least normal."""
    return want.finding.severity is Severity.LOW and cached(want.path, root.people)


def _owner(want: Wanted) -> str | None:
    if in_private(want.path):
        return None
    if is_dynamic(want.uid):
        return (
            f"its owner {want.owner.user} is nobody in particular:"
            " see which service it belongs to before persisting it"
        )
    for kind, name in (("user", want.owner.user), ("group", want.owner.group)):
        if name.isdigit():
            return f"its {kind} {name} has no name here: it is written as a number"
    return None


# systemd takes a mount's unit name from its path, and NixOS escapes only ASCII there; `%` in
# Where= begins a specifier, and a space or a backslash at the end of the line is not kept.
_MOUNTABLE = re.compile(rb"[\x20-\x24\x26-\x7e]*[\x21-\x24\x26-\x5b\x5d-\x7e]")
_ESCAPED_IN_UNIT_NAMES = re.compile(rb"[ !\"#$%&'()*+,;<=>=@\[\\\]^`{|}~-]")


def _name(want: Wanted) -> str | None:
    if not is_utf8(want.path):
        return "left out of the Nix text: its name is not UTF-8; rename it"
    if not want.directory:
        return None
    if _MOUNTABLE.fullmatch(want.path) is None:
        return (
            "NixOS can't name a mount unit for these characters, so it stays unmounted and is"
            " lost: rename it, or bind-mount it through fileSystems with nofail"
        )
    if len(_ESCAPED_IN_UNIT_NAMES.sub(rb"\\x00", want.path)) + len(".mount") > 255:
        return "its path is too long for a mount unit's name: persist a directory above it"
    return None


def is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


# Names that hold private keys or passwords by convention.
_SECRET = re.compile(
    rb"ssh_host_\w+_key|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|credential\.secret|.*\.kdbx|.*\.key"
    rb"|\.ssh|\.gnupg|keyrings|\.password-store|\.pki|secrets|system-connections"
)


def _openness(want: Wanted, root: LiveRoot) -> str | None:
    """Flag a secret that others may read, and what is open wider than its rule says."""
    expected = None
    if _SECRET.fullmatch(want.path.rpartition(b"/")[2]):
        expected = 0o700 if want.directory else 0o600
    elif want.finding.anchor == want.path and not _in_closed_home(want.path, root):
        expected = want.finding.mode
    if expected is None or not want.owner.mode & ~expected & 0o077:
        return None
    return (
        f"open to others (mode {want.owner.mode:04o}, where {expected:04o} is usual)"
        " and kept as it is: close it first"
    )


def _in_closed_home(path: bytes, root: LiveRoot) -> bool:
    home = root.home_of(path)
    ids = None if home is None else root.directory_ids(home[1])
    return ids is not None and not ids[2] & 0o077


def _parents(wanted: Sequence[Wanted], root: LiveRoot, persist: bytes) -> Iterator[Advice]:
    """Directories above, which the module makes root:root 0755 and then opens in the live root."""
    # A file's own parent has its `parentDirectory`, and a wanted directory its owner.
    settled = {want.path for want in wanted if want.directory}
    settled |= {
        ancestors(want.path)[-1] for want in wanted if not want.directory and ancestors(want.path)
    }
    above = {place for want in wanted for place in ancestors(want.path)}
    for directory in sorted(above - settled):
        if within_any_home(directory, root) or root.directory_ids(directory) is None:
            continue
        owner = root.owner_of_directory(directory)
        if directory in PRIVATE:
            owner = Owner("root", "root", 0o700)
        if owner == Owner("root", "root", 0o755):
            continue
        stored = persist.rstrip(b"/") + directory
        why = (
            f"unless {shown(stored)} exists, impermanence makes it root:root 0755 and this one too"
        )
        if (ids := root.directory_ids(stored)) is not None:
            there = root.owner(directory, ids)
            if there == owner:
                continue
            why = (
                f"{shown(stored)} is {there.user}:{there.group} {there.mode:04o}, and impermanence"
                " makes this one the same"
            )
        command = shlex.join(
            ["install", "-d", "-m", f"{owner.mode:04o}", "-o", owner.user, "-g", owner.group]
        )
        yield Advice(
            directory,
            f"{why}: first run {command} {shlex.quote(exact(stored))}",
        )


def within_any_home(directory: bytes, root: LiveRoot) -> bool:
    """Whether it is a home or in one: these the module makes 0700, and nobody looks inside."""
    return any(within(directory, home) for home in root.people)


def renumbering(wanted: Sequence[Wanted], root: LiveRoot) -> Iterator[Advice]:
    """Ids that NixOS allocated by itself mean nothing without its map of them."""
    ids_map = b"/var/lib/nixos"
    covered = {want.path for want in wanted if want.directory}
    if root.is_kept(ids_map) or not covered.isdisjoint((*ancestors(ids_map), ids_map)):
        return
    names = sorted({want.owner.user for want in wanted if 400 <= want.uid <= 999})
    if names:
        yield Advice(
            ids_map,
            "persist it as well: without it NixOS may give other numbers to "
            + ", ".join(names)
            + " after the reboot, and files keep the old ones",
        )
