"""Which numbers of users and groups somebody has: accounts, and what is handed out by ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.live_root import is_dynamic
from drift.storage.survey import Ids

if TYPE_CHECKING:
    from collections.abc import Container

    from drift.system.accounts import Accounts
    from drift.system.rooted import Rooted

# For a reading that is not about owners.
NOBODY_ASKS = Ids(None, None)

# What systemd gives to containers (systemd.io/UIDS-GIDS).
_CONTAINERS = range(524288, 1879048192)


class _Known:
    """Numbers of accounts, of subordinate ranges, and those that systemd makes up."""

    def __init__(self, numbers: set[int], ranges: list[range]) -> None:
        self._numbers = numbers
        self._ranges = (*ranges, _CONTAINERS)

    def __contains__(self, number: object) -> bool:
        if number in self._numbers:
            return True
        if not isinstance(number, int):
            return False
        return is_dynamic(number) or any(number in one for one in self._ranges)


def known_ids(rooted: Rooted, accounts: Accounts) -> Ids:
    uids = {user.uid for user in accounts.users.values()}
    gids = set(accounts.groups.values())
    return Ids(
        uids=_known(uids, rooted, b"/etc/subuid"),
        gids=_known(gids, rooted, b"/etc/subgid"),
    )


def _known(numbers: set[int], rooted: Rooted, ranges: bytes) -> Container[int] | None:
    return _Known(numbers, _ranges(rooted, ranges)) if numbers else None


def _ranges(rooted: Rooted, path: bytes) -> list[range]:
    """The ranges of a file as in subuid(5); none where it can't be read."""
    try:
        lines = rooted.read(path).split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split(b":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            first = int(fields[1][:10])
            found.append(range(first, first + int(fields[2][:10])))
    return found
