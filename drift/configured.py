"""Read the declared persistence that --config names: a .nix file or a flake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError, UsageError
from drift.model import Kind
from drift.names import shown
from drift.system.declared import Claim
from drift.system.mounts import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from drift.nixfile import Store


class Configured(NamedTuple):
    """What the configurations declare, and a sentence for each part that can't be told."""

    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()


def read_configured(
    given: Sequence[bytes],
    homes: Mapping[str, bytes],
    flake: Callable[[str], tuple[list[Claim], list[str]]] | None = None,
) -> Configured:
    """Read each FILE or FLAKE#HOST; `homes` are those of the live root, by user name.

    DriftError where one can't be read or evaluated, UsageError where it is neither.
    """
    claims: list[Claim] = []
    notes: list[str] = []
    for name in given:
        if os.path.isfile(name):
            more, said = _of_file(name, homes)
        elif b"#" in name:
            more, said = (flake or _flake)(os.fsdecode(name))
        elif os.path.isdir(name):
            raise UsageError(
                f"--config {shown(name)} is a directory",
                f"name a .nix file, or a flake's host as in {shown(name)}#HOST",
            )
        else:
            raise UsageError(
                f"--config {shown(name)}: there is no such file",
                "give a .nix file, or a flake and its host as in FLAKE#HOST",
            )
        claims += more
        notes += said
    return Configured(tuple(claims), tuple(notes))


def _flake(reference: str) -> tuple[list[Claim], list[str]]:
    from drift.system.flake import read_flake

    return read_flake(reference)


def _of_file(name: bytes, homes: Mapping[str, bytes]) -> tuple[list[Claim], list[str]]:
    from drift.nixfile import read_declared

    try:
        with open(name, "rb") as file:
            text = file.read()
    except OSError as error:
        raise DriftError(f"{shown(name)} can't be read: {error.strerror}") from error
    declared = read_declared(text)
    by = shown(name)
    claims = [
        claim
        for path, store in declared.stores.items()
        for claim in _claims(path, store, homes, by)
    ]
    notes = [
        f"{by}:{unresolved.line}: only Nix can tell what this declares: {unresolved.what}"
        for unresolved in declared.unresolved
    ]
    return claims, notes


def _claims(store: bytes, listed: Store, homes: Mapping[str, bytes], by: str) -> Iterator[Claim]:
    parts = [(b"/", listed.directories, listed.files)]
    for user, paths in listed.users.items():
        home = homes.get(user, b"/home/" + user.encode(errors="surrogateescape"))
        parts.append((home, paths.directories, paths.files))
    for base, directories, files in parts:
        for kind, group in ((Kind.DIRECTORY, directories), (Kind.FILE, files)):
            for path in group:
                whole = join(base, b"/" + path.strip(b"/"))
                if whole != b"/":
                    yield Claim(whole, join(store, whole), kind, by)
