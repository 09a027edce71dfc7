"""Know what NixOS and systemd make again by themselves, at boot or activation."""

from __future__ import annotations

import base64
import binascii
import re
import stat
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind, Skipped
from drift.system.etc_trees import find_etc_trees
from drift.system.fstab import read_fstab
from drift.system.home_manager import read_home_links
from drift.system.rooted import Rooted
from drift.system.tmpfiles import expand, read_tmpfiles, unescape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from os import stat_result

    from drift.system.tmpfiles import Line


class Known(NamedTuple):
    """What is made again at one path: an entry of one of these kinds, and why.

    A directory is made empty: `reason` says nothing about what lies in it. A symlink is meant
    only if it points to `target`, where that is given.
    """

    kinds: frozenset[Kind]
    reason: str
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class Regenerated:
    """What comes back by itself.

    `known` holds the few thousand paths that something makes; of all others only symlinks need
    asking, by `store_link`. `edited` are files that NixOS will overwrite although they are not as
    it made them, each with the reason.
    """

    known: Mapping[bytes, tuple[Known, ...]]
    edited: Mapping[bytes, str]
    skipped: tuple[Skipped, ...]

    def reason(self, path: bytes, kind: Kind, target: bytes | None = None) -> str | None:
        for known in self.known.get(path, ()):
            if kind not in known.kinds:
                continue
            if kind is not Kind.SYMLINK or known.target in (None, target):
                return known.reason
        if kind is Kind.SYMLINK and target is not None:
            return store_link(target, path)
        return None

    def candidates(self) -> frozenset[bytes]:
        """Every path that isn't a symlink and may have a reason."""
        return frozenset(self.known)


def read_regenerated(root: bytes) -> Regenerated:
    """Read the running and the next system of the root at the directory `root`.

    Where its /nix is not mounted, less is known and more is left for review; nothing goes unread.
    """
    rooted = Rooted(root)
    found = find_etc_trees(rooted)
    trees = found.all
    lines, skipped = read_tmpfiles(
        rooted, [tree + b"/tmpfiles.d" for tree in dict.fromkeys([*trees, b"/etc"])]
    )
    known: dict[bytes, tuple[Known, ...]] = {path: (entry,) for path, entry in _FIXED.items()}
    edited: dict[bytes, str] = {}
    sources = [
        *(_from_etc(rooted, tree) for tree in trees),
        _from_tmpfiles(rooted, lines),
        _from_home_manager(rooted, trees),
        _from_fstab(rooted, trees),
    ]
    for path, entry in chain.from_iterable(sources):
        if isinstance(entry, str):
            edited.setdefault(path, entry)
        else:
            known[path] = (*known.get(path, ()), entry)
    for path in sorted(known):
        for parent in _parents(path):
            known.setdefault(parent, (_PARENT,))
    # What one of the two systems makes is no edit of the other's.
    for path in edited.keys() & known.keys():
        if any(Kind.FILE in entry.kinds for entry in known[path]):
            del edited[path]
    return Regenerated(known, edited, tuple(skipped))


def store_link(target: bytes, path: bytes = b"") -> str | None:
    """Why a symlink to `target` is no loss; None if it may be somebody's own."""
    if target.startswith(b"/nix/store/"):
        if _HOME_MANAGER.match(target):
            return "a link that home-manager makes"
        # `nix profile` and `nix-env` keep what the user installed in such links.
        if _GENERATION.search(path):
            return None
        return "a link into the Nix store"
    for place, reason in _LINKS:
        if target == place or target.startswith(place + b"/"):
            return reason
    return None


_LINKS = (
    (b"/etc/static", "a link that NixOS makes at activation"),
    (b"/run/current-system", "a link into the running system"),
    (b"/run/booted-system", "a link into the running system"),
    (b"/run/wrappers", "a link into the running system"),
    (b"/run/opengl-driver", "a link into the running system"),
    (b"/run/secrets", "a link to a secret that is decrypted at each boot"),
    (b"/run/secrets.d", "a link to a secret that is decrypted at each boot"),
    (b"/run/secrets-for-users", "a link to a secret that is decrypted at each boot"),
    (b"/run/agenix", "a link to a secret that is decrypted at each boot"),
    (b"/run/agenix.d", "a link to a secret that is decrypted at each boot"),
)
_HOME_MANAGER = re.compile(rb"/nix/store/[0-9a-z]{32}-(home-manager-files|hm_|home-manager-)")
_GENERATION = re.compile(rb"/nix/.*-[0-9]+-link$", re.DOTALL)

_FILE = frozenset((Kind.FILE,))
_DIRECTORY = frozenset((Kind.DIRECTORY, Kind.SUBVOLUME))
_SYMLINK = frozenset((Kind.SYMLINK,))
_LEAF = _FILE | _SYMLINK

_PARENT = Known(_DIRECTORY, "made at boot for what lies below it")
_HOME_LINK = Known(_SYMLINK, "a link that home-manager makes")
_HOME_DIRECTORY = Known(_DIRECTORY, "made by home-manager for the links below it")

_USERS = "written at activation from the users and groups of the configuration"
_COPY = "left behind by the last change of users"
_TOP = "a directory that every NixOS has"
_FIXED: dict[bytes, Known] = {
    b"/bin/sh": Known(_SYMLINK, "a link that NixOS makes at activation"),
    b"/usr/bin/env": Known(_SYMLINK, "a link that NixOS makes at activation"),
    b"/lib64/ld-linux-x86-64.so.2": Known(_SYMLINK, "a link that NixOS makes at activation"),
    b"/etc/static": Known(_SYMLINK, "points to the configuration; made at activation"),
    b"/etc/NIXOS": Known(_FILE, "marks the system as NixOS; made at activation"),
    b"/etc/.clean": Known(_FILE, "lists the files that NixOS copied; written at activation"),
    b"/etc/.updated": Known(_FILE, "says when systemd last updated /etc; written at boot"),
    b"/var/.updated": Known(_FILE, "says when systemd last updated /var; written at boot"),
    b"/etc/mtab": Known(_LEAF, "shows what is mounted; made at boot"),
    b"/etc/resolv.conf": Known(_LEAF, "written when the network comes up"),
    b"/etc/passwd": Known(_LEAF, _USERS),
    b"/etc/group": Known(_LEAF, _USERS),
    # Not shadow and gshadow: they are written as well, but a password set with passwd lives only
    # there.
    b"/etc/subuid": Known(_LEAF, _USERS),
    b"/etc/subgid": Known(_LEAF, _USERS),
    b"/etc/.pwd.lock": Known(_FILE, _COPY),
    b"/etc/passwd-": Known(_FILE, _COPY),
    b"/etc/group-": Known(_FILE, _COPY),
    b"/etc/shadow-": Known(_FILE, _COPY),
    b"/etc/gshadow-": Known(_FILE, _COPY),
    b"/etc/subuid-": Known(_FILE, _COPY),
    b"/etc/subgid-": Known(_FILE, _COPY),
    b"/var/lib/systemd/catalog/database": Known(
        _FILE, "the index of journal messages, built at boot"
    ),
    b"/var/run": Known(_SYMLINK, "a link to /run, made at boot"),
    b"/var/lock": Known(_SYMLINK, "a link to /run/lock, made at boot"),
} | {
    path: Known(_DIRECTORY, _TOP)
    for path in b"""/bin /dev /etc /home /lib64 /nix /proc /root /run /srv /sys /tmp /usr /usr/bin
    /var /var/cache /var/db /var/empty /var/lib /var/lib/systemd /var/lib/systemd/catalog /var/log
    /var/spool /var/tmp""".split()
}


def _from_etc(rooted: Rooted, tree: bytes) -> Iterator[tuple[bytes, Known | str]]:
    """What activation makes of a tree of /etc files, and which of them are no longer so."""
    if tree == b"/etc":
        return
    entries = dict(rooted.walk(tree))
    copied = {path[:-5] for path in entries if path.endswith(b".mode")} | {
        tree + b"/" + name for name in _clean_list(rooted)
    }
    for source, status in entries.items():
        path = b"/etc" + source[len(tree) :]
        if stat.S_ISDIR(status.st_mode):
            yield path, Known(_DIRECTORY, "made at activation for the files below it")
        elif source in copied:
            yield from _copied(rooted, source, path)
        elif stat.S_ISLNK(status.st_mode):
            yield path, Known(_SYMLINK, "a link that NixOS makes at activation", _static(path))
            if _is_file(rooted, path):
                yield path, "a file of its own where NixOS makes a link: activation replaces it"


def _static(path: bytes) -> bytes:
    return b"/etc/static" + path[len(b"/etc") :]


def _clean_list(rooted: Rooted) -> list[bytes]:
    return (_read(rooted, b"/etc/.clean") or b"").split(b"\n")


def _copied(rooted: Rooted, source: bytes, path: bytes) -> Iterator[tuple[bytes, Known | str]]:
    mode = _read(rooted, source + b".mode") or b""
    if mode.strip() == b"direct-symlink":
        reason = "a link that NixOS makes at activation"
        yield path, Known(_SYMLINK, reason, _target(rooted, source))
    elif _same_content(rooted, source, path):
        yield path, Known(_FILE, "copied from the configuration at activation")
    elif _is_file(rooted, path):
        yield path, "edited after NixOS copied it from the configuration: activation replaces it"


def _from_home_manager(rooted: Rooted, trees: Iterable[bytes]) -> Iterator[tuple[bytes, Known]]:
    for path, is_directory in read_home_links(rooted, trees):
        yield path, _HOME_DIRECTORY if is_directory else _HOME_LINK


def _from_fstab(rooted: Rooted, trees: Iterable[bytes]) -> Iterator[tuple[bytes, Known]]:
    for tree in trees:
        for entry in read_fstab(rooted, tree + b"/fstab"):
            yield entry.point, Known(_DIRECTORY, "a mount point, made at boot")


def _from_tmpfiles(rooted: Rooted, lines: Iterable[Line]) -> Iterator[tuple[bytes, Known]]:
    for line in lines:
        if any(sign in line.path for sign in b"*?["):
            continue
        yield from _MAKERS.get(line.kind, _nothing)(rooted, line)


def _nothing(_rooted: Rooted, _line: Line) -> Iterator[tuple[bytes, Known]]:
    return iter(())


def _directory(_rooted: Rooted, line: Line) -> Iterator[tuple[bytes, Known]]:
    yield line.path, Known(_DIRECTORY, f"an empty directory that {line.origin} makes at boot")


def _node(_rooted: Rooted, line: Line) -> Iterator[tuple[bytes, Known]]:
    kind = {"p": Kind.FIFO, "c": Kind.CHARACTER, "b": Kind.BLOCK}[line.kind]
    yield line.path, Known(frozenset((kind,)), f"{line.origin} makes it at boot")


def _link(_rooted: Rooted, line: Line) -> Iterator[tuple[bytes, Known]]:
    target = expand(line.argument) if line.argument else b"/usr/share/factory" + line.path
    if target is not None:
        yield line.path, Known(_SYMLINK, f"a link that {line.origin} makes at boot", target)


def _file(rooted: Rooted, line: Line) -> Iterator[tuple[bytes, Known]]:
    # `f` leaves a file that is there alone, so only what it would write itself comes back.
    truncates = line.kind == "F" or "+" in line.modifiers
    content = _content(line)
    if truncates or (content is not None and content == _read(rooted, line.path)):
        yield line.path, Known(_FILE, f"{line.origin} writes it at boot")


def _copy(rooted: Rooted, line: Line) -> Iterator[tuple[bytes, Known]]:
    source = expand(line.argument) if line.argument else b"/usr/share/factory" + line.path
    if source is None:
        return
    reason = f"{line.origin} copies it from {source.decode(errors='surrogateescape')} at boot"
    try:
        top = rooted.status(rooted.resolve(source))
    except OSError:
        return
    entries: list[tuple[bytes, stat_result]] = [(source, top)]
    if stat.S_ISDIR(top.st_mode):
        entries += rooted.walk(source)
    for path, status in entries:
        place = line.path + path[len(source) :]
        if stat.S_ISDIR(status.st_mode):
            yield place, Known(_DIRECTORY, reason)
        elif stat.S_ISLNK(status.st_mode):
            yield place, Known(_SYMLINK, reason, _target(rooted, path))
        elif _same_content(rooted, path, place):
            yield place, Known(_FILE, reason)


_MAKERS = {
    **dict.fromkeys("dDvqQ", _directory),
    **dict.fromkeys("pcb", _node),
    **dict.fromkeys("fF", _file),
    "L": _link,
    "C": _copy,
}


def _content(line: Line) -> bytes | None:
    """The bytes that an `f` line writes; None if they aren't in the line."""
    if "^" in line.modifiers:
        return None
    text = expand(line.argument)
    if text is None:
        return None
    if "~" in line.modifiers:
        try:
            return base64.b64decode(text)
        except binascii.Error:
            return None
    return unescape(text)


def _same_content(rooted: Rooted, one: bytes, other: bytes) -> bool:
    content = _read(rooted, one)
    return content is not None and content == _read(rooted, other)


def _target(rooted: Rooted, path: bytes) -> bytes | None:
    try:
        return rooted.target(path)
    except OSError:
        return None


def _read(rooted: Rooted, path: bytes) -> bytes | None:
    try:
        return rooted.read(path)
    except OSError:
        return None


def _is_file(rooted: Rooted, path: bytes) -> bool:
    try:
        return stat.S_ISREG(rooted.status(path).st_mode)
    except OSError:
        return False


def _parents(path: bytes) -> Iterator[bytes]:
    position = path.rfind(b"/")
    while position > 0:
        path = path[:position]
        yield path
        position = path.rfind(b"/")
