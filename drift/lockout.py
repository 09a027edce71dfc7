"""Say before the reboot which passwords it takes back; no hash leaves this module."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.model import Severity, Verdict
from drift.names import printable
from drift.persistence import survives
from drift.report import Finding
from drift.system.etc_trees import CURRENT, NEXT
from drift.system.mounts import within
from drift.system.rooted import Rooted
from drift.system.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drift.locate import Located
    from drift.system.mounts import MountPoint

SHADOW = b"/etc/shadow"


class Fate(StrEnum):
    """What the reboot does to a password that is set now."""

    KEPT = "as it is"
    OLDER = "an older password again"
    DECLARED = "the declared password again"
    LOCKED = "no password: the account is locked"
    GONE = "the account itself is gone"
    FILE_LOST = "no password: the file it comes from is on this root"
    UNKNOWN = "set by hand, and nothing shows that it is declared"


class Line(NamedTuple):
    """A line of /etc/shadow. Its password field is a secret: it is compared, and never shown."""

    secret: bytes
    changed: bytes

    @property
    def usable(self) -> bool:
        """Whether somebody can log in with it; `!` and `*` lock an account."""
        return self.secret != b"" and self.secret[:1] not in b"!*"

    @property
    def by_activation(self) -> bool:
        """NixOS dates what it writes to the first day there is; passwd(1) dates it to today."""
        return self.changed == b"1"

    def __repr__(self) -> str:
        return "Line(...)"


@dataclass(frozen=True, slots=True)
class Login:
    """How one user is declared; `file` is hashedPasswordFile, `initial` a password without hash."""

    secret: bytes | None = field(default=None, repr=False)
    file: bytes | None = None
    in_clear: bool = False


@dataclass(frozen=True, slots=True)
class Users:
    """The users that activation makes; `mutable` is users.mutableUsers."""

    mutable: bool
    logins: Mapping[str, Login]


def fates(
    live: Mapping[str, Line],
    blank: Mapping[str, Line],
    users: Users | None,
    read_hash: Mapping[bytes, bytes | None],
) -> dict[str, Fate]:
    """What becomes of each usable password; `users` None where the configuration isn't seen.

    `read_hash` has the content of each hashedPasswordFile that outlives the root, None for one
    that doesn't; a file that it lacks can't be known.
    """
    return {
        name: _fate(name, line, blank.get(name), users, read_hash)
        for name, line in sorted(live.items())
        if line.usable
    }


def _fate(
    name: str,
    line: Line,
    older: Line | None,
    users: Users | None,
    read_hash: Mapping[bytes, bytes | None],
) -> Fate:
    if older is not None and (users is None or users.mutable):
        # What the blank brings back, activation leaves alone.
        if older.secret == line.secret:
            return Fate.KEPT
        return Fate.OLDER if older.usable else Fate.LOCKED
    if users is None:
        return Fate.KEPT if line.by_activation else Fate.UNKNOWN
    login = users.logins.get(name)
    if login is None:
        return Fate.GONE
    if login.file is not None:
        if login.file not in read_hash:
            return Fate.KEPT if line.by_activation else Fate.DECLARED
        content = read_hash[login.file]
        if content is None:
            return Fate.FILE_LOST
        return Fate.KEPT if content == line.secret else Fate.DECLARED
    if login.secret is not None:
        if login.secret == line.secret:
            return Fate.KEPT
        return Fate.DECLARED if Line(login.secret, b"").usable else Fate.LOCKED
    if login.in_clear:
        return Fate.KEPT if line.by_activation else Fate.DECLARED
    return Fate.LOCKED


def finding_of(fates: Mapping[str, Fate]) -> Finding | None:
    """The finding for /etc/shadow; None where every password outlives the reboot."""
    lost = {name: fate for name, fate in fates.items() if fate is not Fate.KEPT}
    if not lost:
        return None
    said = "; ".join(f"{printable(name)}: {fate}" for name, fate in lost.items())
    return Finding(
        service="users",
        title="Users and passwords",
        verdict=Verdict.PERSIST,
        severity=Severity.CRITICAL,
        why=f"passwords that the reboot takes back ({said})",
        rule="heuristic: lock-out",
        anchor=SHADOW,
        replaced=True,
        advice="give each user hashedPasswordFile on persistent storage (neededForBoot), or you may"
        " be locked out: this file can't be persisted itself. mkpasswd makes the hash",
    )


def read_lockouts(located: Located, points: Sequence[MountPoint]) -> dict[bytes, Finding]:
    """The finding for the live root's /etc/shadow, if there is one to be made.

    What can't be read is as if it were not there: without the live file there is nothing to say.
    """
    if any(within(SHADOW, point.path) for point in points):
        return {}
    rooted = Rooted(located.live_directory)
    try:
        if rooted.resolve(SHADOW) != SHADOW:
            # A link into persistent storage, or where userborn keeps it.
            return {}
        live = parse_shadow(rooted.read(SHADOW))
    except OSError:
        return {}
    if not any(line.usable for line in live.values()):
        return {}
    users = read_users(rooted)
    found = finding_of(
        fates(live, parse_shadow(_of_blank(located)), users, _files(rooted, users, points))
    )
    return {} if found is None else {SHADOW: found}


def parse_shadow(text: bytes) -> dict[str, Line]:
    found: dict[str, Line] = {}
    for row in text.split(b"\n"):
        fields = row.split(b":")
        if len(fields) >= 3 and fields[0]:
            name = fields[0].decode(errors="surrogateescape")
            found.setdefault(name, Line(fields[1], fields[2]))
    return found


# Activation's script names what it gives to its program; userborn's unit does.
_SPEC = re.compile(rb"/nix/store/[0-9a-z]{32}-(?:users-groups|userborn)\.json")


def read_users(rooted: Rooted) -> Users | None:
    """The users of the next system, else the running one; None where they aren't seen."""
    for system in (NEXT, CURRENT):
        for path, mutable in (
            (b"/activate", None),
            (b"/etc/systemd/system/userborn.service", False),
        ):
            text = _read(rooted, system + path)
            spec = _SPEC.search(text)
            if spec is None:
                continue
            if mutable is not None:
                unit = parse_unit("userborn.service", text)
                settings = unit.words("Service", "Environment")
                mutable = "USERBORN_MUTABLE_USERS=true" in settings
            return parse_users(_read(rooted, spec[0]), mutable)
    return None


def parse_users(text: bytes, mutable: bool | None = None) -> Users | None:
    """What users-groups.json says; None where it is something else."""
    import json

    try:
        decoded = json.loads(text)
        known = decoded["mutableUsers"] if mutable is None else mutable
        return Users(bool(known), {user["name"]: _login(user) for user in decoded["users"]})
    except (ValueError, KeyError, TypeError):
        return None


def _login(user: Mapping[str, Any]) -> Login:
    file = user.get("hashedPasswordFile") or user.get("passwordFile")
    secret = user.get("hashedPassword")
    if secret is None and user.get("initialPassword") is None:
        secret = user.get("initialHashedPassword")
    return Login(
        secret=None if user.get("password") or secret is None else os.fsencode(secret),
        file=None if file is None else os.fsencode(file),
        in_clear=any(user.get(key) is not None for key in ("password", "initialPassword")),
    )


# What is decrypted at each boot, whether or not it can be read now.
_AT_BOOT = (b"/run", b"/nix/store")


def _files(
    rooted: Rooted, users: Users | None, points: Sequence[MountPoint]
) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for login in users.logins.values() if users is not None else ():
        path = login.file
        if path is None:
            continue
        try:
            real = rooted.resolve(path)
        except OSError:
            real = path
        at_boot = any(within(place, directory) for place in (path, real) for directory in _AT_BOOT)
        if not at_boot and not survives(points, real):
            found[path] = None
        elif content := _read(rooted, path):
            found[path] = content.rstrip(b"\n")
    return found


def _of_blank(located: Located) -> bytes:
    """The blank's /etc/shadow; empty where it has none that can be read."""
    if located.blank_directory is not None:
        return _read(Rooted(located.blank_directory), SHADOW)
    if located.blank_subvolume is None:
        return b""
    from drift.compare import open_top
    from drift.diff.content import open_below

    with ExitStack() as resources:
        try:
            file = open_below(open_top(located, resources), located.blank_subvolume.path + SHADOW)
        except OSError:
            return b""
        with open(file, "rb") as opened:
            return opened.read()


def _read(rooted: Rooted, path: bytes) -> bytes:
    try:
        return rooted.read(path)
    except OSError:
        return b""
