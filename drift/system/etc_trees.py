"""Find what the running system and the next boot's have for /etc."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from drift.system.rooted import Rooted

CURRENT = b"/run/current-system"
NEXT = b"/nix/var/nix/profiles/system"
STATIC = b"/etc/static"


class EtcTrees(NamedTuple):
    """The resolved directories that hold the files of /etc, in the store where NixOS is.

    `running` is what was activated last, `upcoming` what the next boot activates; they are the
    same after `nixos-rebuild switch`. A root that isn't running shows its last by /etc/static.
    """

    running: bytes | None
    upcoming: bytes | None

    @property
    def all(self) -> tuple[bytes, ...]:
        """Each tree once, the running system's first; /etc itself where NixOS left none."""
        return tuple(dict.fromkeys(filter(None, self))) or (b"/etc",)


def find_etc_trees(rooted: Rooted) -> EtcTrees:
    running = _directory(rooted, CURRENT + b"/etc") or _directory(rooted, STATIC)
    upcoming = _directory(rooted, NEXT + b"/etc") or running
    return EtcTrees(running, upcoming)


def _directory(rooted: Rooted, path: bytes) -> bytes | None:
    try:
        real = rooted.resolve(path)
        return real if stat.S_ISDIR(rooted.status(real).st_mode) else None
    except OSError:
        return None
