"""Find the links that home-manager makes in each home."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from drift.system.accounts import read_accounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.system.rooted import Rooted


def read_home_links(rooted: Rooted, trees: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each path that the homes' current generations make, and whether it is a directory.

    `trees` are the trees of /etc files whose units may start home-manager.
    """
    by_unit = dict(_units(rooted, trees))
    for name, home in sorted(read_accounts(rooted.root).homes.items()):
        places = [place.format(name=name, home=_text(home)) for place in _PLACES]
        generations = [place.encode(errors="surrogateescape") for place in places]
        generations += [by_unit[name]] if name in by_unit else []
        files = {real for generation in generations if (real := _files(rooted, generation))}
        for tree in sorted(files):
            for path, status in rooted.walk(tree):
                yield home + path[len(tree) :], stat.S_ISDIR(status.st_mode)


# Where a generation is remembered: by home-manager as of 23.05, and before.
_PLACES = (
    "{home}/.local/state/home-manager/gcroots/current-home",
    "{home}/.local/state/nix/profiles/home-manager",
    "/nix/var/nix/profiles/per-user/{name}/home-manager",
    "/nix/var/nix/gcroots/per-user/{name}/current-home",
)
_UNIT = re.compile(rb"home-manager-(.+)\.service")
_GENERATION = re.compile(rb"/nix/store/[0-9a-z]{32}-home-manager-generation")


def _units(rooted: Rooted, trees: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """By user name the generation that the NixOS module's unit activates at boot."""
    for tree in trees:
        directory = tree + b"/systemd/system"
        try:
            names = rooted.names(directory)
        except OSError:
            continue
        for name in names:
            if (unit := _UNIT.fullmatch(name)) is None:
                continue
            try:
                text = rooted.read(directory + b"/" + name)
            except OSError:
                continue
            if generation := _GENERATION.search(text):
                yield _text(unit[1]), generation[0]


def _files(rooted: Rooted, generation: bytes) -> bytes | None:
    try:
        return rooted.resolve(generation + b"/home-files")
    except OSError:
        return None


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
