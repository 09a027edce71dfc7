"""Who owns what: the users, groups and homes that the root itself declares."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from drift.model import Skipped
from drift.system.mounts import within
from drift.system.rooted import Rooted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Key = TypeVar("Key")
Value = TypeVar("Value")


class Account(NamedTuple):
    """A line of /etc/passwd; never its password field."""

    name: str
    uid: int
    gid: int
    home: bytes
    shell: bytes


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users and groups of one root.

    `homes` are those of people and root, by user name; a service's state directory is none.
    `skipped` says which of the two files could not be read, and why.
    """

    users: Mapping[str, Account]
    groups: Mapping[str, int]
    homes: Mapping[str, bytes]
    skipped: tuple[Skipped, ...]
    _user_names: Mapping[int, str]
    _group_names: Mapping[int, str]
    _owners: Mapping[bytes, str]

    def user_name(self, uid: int) -> str:
        """The first user with this uid; the number itself where there is none."""
        return self._user_names.get(uid, str(uid))

    def group_name(self, gid: int) -> str:
        return self._group_names.get(gid, str(gid))

    def home_of(self, path: bytes) -> tuple[str, bytes] | None:
        """The user and the home that `path` is or lies in; of nested homes the inner one."""
        home = path
        while home not in (b"", b"/"):
            if (name := self._owners.get(home)) is not None:
                return name, home
            home = home[: home.rfind(b"/")]
        return None

    @property
    def home_directories(self) -> tuple[bytes, ...]:
        return tuple(sorted(self._owners))


def read_accounts(root: bytes) -> Accounts:
    """The accounts of the root at the directory `root`; no damage to its files is an error.

    Without a readable /etc/passwd, the directories in /home and /root stand for the homes.
    """
    rooted = Rooted(root)
    skipped: list[Skipped] = []
    entries = list(_users(_lines(rooted, b"/etc/passwd", skipped)))
    users = _first((user.name, user) for user in entries)
    groups = _first(_groups(_lines(rooted, b"/etc/group", skipped)))
    homes = {
        user.name: user.home for user in sorted(users.values(), key=_precedence) if _lives_in(user)
    }
    if not users:
        homes = dict(_found_homes(rooted))
    if b"/root" not in homes.values():
        homes = {"root": b"/root"} | homes
    return Accounts(
        users=users,
        groups=groups,
        homes=homes,
        skipped=tuple(skipped),
        _user_names=_first((user.uid, user.name) for user in entries),
        _group_names=_first((gid, name) for name, gid in groups.items()),
        _owners=_first((home, name) for name, home in homes.items()),
    )


# Where only services have their homes, or nobody has one.
_NO_HOMES = (
    b"/dev",
    b"/etc",
    b"/nix",
    b"/proc",
    b"/run",
    b"/sys",
    b"/tmp",
    b"/usr",
    b"/var/cache",
    b"/var/db",
    b"/var/empty",
    b"/var/lib",
    b"/var/log",
    b"/var/run",
    b"/var/spool",
    b"/var/tmp",
)
# Where NixOS begins to number people.
_FIRST_PERSON = 1000
_NOBODY = 65534


def _lives_in(user: Account) -> bool:
    if user.home in (b"", b"/", b"/home") or user.uid == _NOBODY:
        return False
    if user.uid == 0:
        return not any(within(user.home, place) for place in _NO_HOMES)
    if user.uid < _FIRST_PERSON:
        return within(user.home, b"/home")
    return not any(within(user.home, place) for place in _NO_HOMES)


def _precedence(user: Account) -> tuple[int, str]:
    return user.uid, user.name


def _lines(rooted: Rooted, path: bytes, skipped: list[Skipped]) -> list[bytes]:
    try:
        return rooted.read(path).split(b"\n")
    except FileNotFoundError:
        # A root that was never booted has no accounts yet; nothing is left unread.
        return []
    except OSError as error:
        skipped.append(Skipped(path, error.strerror or "can't be read"))
        return []


def _users(lines: list[bytes]) -> Iterator[Account]:
    for line in lines:
        fields = line.split(b":")
        if len(fields) < 6 or not _is_name(fields[0]):
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is None or gid is None:
            continue
        shell = fields[6] if len(fields) > 6 else b""
        yield Account(_text(fields[0]), uid, gid, _home(fields[5]), shell)


def _groups(lines: list[bytes]) -> Iterator[tuple[str, int]]:
    for line in lines:
        fields = line.split(b":")
        if len(fields) < 3 or not _is_name(fields[0]):
            continue
        gid = _number(fields[2])
        if gid is not None:
            yield _text(fields[0]), gid


def _is_name(field: bytes) -> bool:
    # Comments, and the lines that once asked NIS for more.
    return field != b"" and field[:1] not in b"#+-" and b"/" not in field


def _number(field: bytes) -> int | None:
    return int(field) if field.isdigit() and len(field) <= 10 else None


def _home(field: bytes) -> bytes:
    """The home without needless slashes; empty if it names no place."""
    parts = [part for part in field.split(b"/") if part not in (b"", b".")]
    if not field.startswith(b"/") or b".." in parts or b"\0" in field:
        return b""
    return b"/" + b"/".join(parts)


def _found_homes(rooted: Rooted) -> Iterator[tuple[str, bytes]]:
    try:
        names = rooted.names(b"/home")
    except OSError:
        return
    for name in names:
        home = b"/home/" + name
        try:
            if stat.S_ISDIR(rooted.status(home).st_mode):
                yield _text(name), home
        except OSError:
            continue


def _text(field: bytes) -> str:
    return field.decode(errors="surrogateescape")


def _first(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, Value]:
    """Of several values for a key the first, as getpwuid(3) has it."""
    result: dict[Key, Value] = {}
    for key, value in pairs:
        result.setdefault(key, value)
    return result
