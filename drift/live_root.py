"""What a suggestion has to know of the live root: owners, homes and what is kept; no I/O."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from drift.model import Verdict
from drift.places import ancestors, filled_by_nixos, in_private, shared
from drift.suggestion import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from drift.report import Finding, Group, Kept


class Account(Protocol):
    """A user's line in /etc/passwd."""

    @property
    def gid(self) -> int: ...


class Accounts(Protocol):
    """Who is who on the live root; the name of an id without one is its number."""

    @property
    def users(self) -> Mapping[str, Account]: ...
    @property
    def homes(self) -> Mapping[str, bytes]: ...
    def user_name(self, uid: int) -> str: ...
    def group_name(self, gid: int) -> str: ...


class LiveRoot:
    """The live root as far as suggestions depend on it.

    `directory_ids` gives uid, gid and mode of a directory, None where there is none; `names_in`
    what is in one.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        accounts: Accounts,
        kept: Sequence[Kept],
        directory_ids: Callable[[bytes], tuple[int, int, int] | None],
        names_in: Callable[[bytes], Collection[bytes]],
    ) -> None:
        self.accounts = accounts
        self.directory_ids = directory_ids
        self.names_in = cache(names_in)
        self.kept = frozenset(item.path for item in kept)
        self._above_kept = frozenset(above for path in self.kept for above in ancestors(path))
        # To the modules /root is no user's home: what it holds is written as system paths.
        self.people = {
            home: name
            for name, home in sorted(accounts.homes.items(), reverse=True)
            if home not in (b"", b"/", b"/root")
        }
        self._made_below = _above_entries(groups, Verdict.REGENERATED)
        self._mixed = self._made_below | _above_entries(
            groups, Verdict.EPHEMERAL, Verdict.REVIEW, Verdict.KEPT
        )

    def is_kept(self, path: bytes) -> bool:
        return path in self.kept or not self.kept.isdisjoint(ancestors(path))

    def is_above_kept(self, path: bytes) -> bool:
        return path in self._above_kept

    def is_shared(self, path: bytes, *, anchored: bool = False) -> bool:
        return shared(path, self.people, anchored=anchored)

    def would_hide(self, directory: bytes) -> bool:
        """Whether a bind mount of the whole would hide what activation puts into it before."""
        in_etc = directory.startswith(b"/etc/")
        return in_etc and (filled_by_nixos(directory) or directory in self._made_below)

    def is_mixed(self, directory: bytes) -> bool:
        """Whether something below it is not to be persisted."""
        return directory in self._mixed

    def home_of(self, path: bytes) -> tuple[str, bytes] | None:
        """The person in whose home `path` lies, and the home; of nested homes the inner one."""
        for above in reversed(ancestors(path)):
            if (name := self.people.get(above)) is not None:
                return name, above
        return None

    def primary_group(self, name: str, home: bytes) -> str:
        if (account := self.accounts.users.get(name)) is not None:
            return self.accounts.group_name(account.gid)
        if (ids := self.directory_ids(home)) is not None:
            return self.accounts.group_name(ids[1])
        return "users"

    def owner(self, path: bytes, ids: tuple[int, int, int]) -> Owner:
        uid, gid, mode = ids
        if in_private(path) and is_dynamic(uid):
            # systemd hands it to the service's user of the moment at each start.
            return Owner("root", "root", mode & 0o7777)
        return Owner(self.accounts.user_name(uid), self.accounts.group_name(gid), mode & 0o7777)

    def owner_of_directory(self, path: bytes, finding: Finding | None = None) -> Owner:
        """The owner in the live root; where there is none, what the rule says or the default."""
        if (ids := self.directory_ids(path)) is not None:
            return self.owner(path, ids)
        default = self.default_owner(path)
        if finding is None:
            return default
        return Owner(
            finding.user or default.user,
            finding.group or default.group,
            default.mode if finding.mode is None else finding.mode,
        )

    def default_owner(self, path: bytes) -> Owner:
        """What the modules give to a directory that they make at `path`, if not told otherwise."""
        home = self.home_of(path)
        if home is None:
            return Owner("root", "root", 0o755)
        return Owner(home[0], self.primary_group(*home), 0o755)


def _above_entries(groups: Sequence[Group], *verdicts: Verdict) -> frozenset[bytes]:
    """All directories that hold an entry of one of these verdicts."""
    return frozenset(
        above
        for group in groups
        for entry in group.entries
        if entry.finding.verdict in verdicts
        for above in ancestors(entry.path)
    )


def is_dynamic(uid: int) -> bool:
    """Whether systemd allocates this uid for DynamicUser=, or it is nobody's."""
    return uid == 65534 or 61184 <= uid <= 65519
