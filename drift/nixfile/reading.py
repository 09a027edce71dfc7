"""What a .nix file declares as persistent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drift.nixfile.survey import take_survey
from drift.nixfile.syntax import excerpt, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Paths:
    """Directories and files as the file lists them, without needless slashes."""

    directories: tuple[bytes, ...]
    files: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """One persistent storage; what is under `users` is relative to the user's home."""

    directories: tuple[bytes, ...]
    files: tuple[bytes, ...]
    users: Mapping[str, Paths]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A place that only evaluation could tell: its line and its text."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file declares, and all in it that could not be told."""

    stores: Mapping[bytes, Store]
    unresolved: tuple[Unresolved, ...]


def read_declared(text: bytes) -> Declared:
    """What the file declares for impermanence or preservation, conditional or not.

    DriftError where the file is no Nix. `home.persistence` of home-manager counts for its user.
    """
    survey = take_survey(text)
    found: dict[bytes, dict[str | None, dict[str, dict[bytes, None]]]] = {}
    for place in survey.lists:
        users = found.setdefault(place.store, {})
        kinds = users.setdefault(place.user, {"directories": {}, "files": {}})
        for element in place.elements:
            if element.path is not None:
                kinds[place.kind][element.path] = None
    unresolved = {
        Unresolved(line_of(node), excerpt(node, 60))
        for node in (
            *(opaque.node for opaque in survey.opaque),
            *(
                element.node
                for place in survey.lists
                for element in place.elements
                if element.path is None
            ),
        )
    }
    return Declared(
        stores={store: _store(users) for store, users in found.items()},
        unresolved=tuple(sorted(unresolved, key=lambda one: (one.line, one.what))),
    )


def _store(users: Mapping[str | None, Mapping[str, Mapping[bytes, None]]]) -> Store:
    system = users.get(None, {})
    return Store(
        directories=tuple(system.get("directories", ())),
        files=tuple(system.get("files", ())),
        users={
            user: Paths(tuple(kinds["directories"]), tuple(kinds["files"]))
            for user, kinds in users.items()
            if user is not None
        },
    )
