"""The nouns of a suggestion: what `drift suggest` and `drift save` are about; no I/O.

They stand apart from `drift.model` because a scan does without them and is to start quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drift.report import Entry


@dataclass(frozen=True, slots=True)
class Owner:
    """Names and permission bits as Nix wants them (`"root"`, `"root"`, `0o755`)."""

    user: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True)
class SuggestedDirectory:
    """`path` is absolute, or relative to the home for an entry below `users`."""

    path: bytes
    owner: Owner
    service: str
    title: str
    why: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SuggestedFile:
    """`parent` is the owner of the parent directory; `method` is `auto` or `symlink`.

    `owner` is the file's own, which preservation sets and impermanence leaves.
    """

    path: bytes
    parent: Owner
    method: str
    service: str
    title: str
    why: str
    bytes: int
    owner: Owner


@dataclass(frozen=True, slots=True)
class UserSuggestion:
    """What to persist below one user's home; paths are relative to it.

    `group` is the user's primary one, which the modules give by default.
    """

    name: str
    home: bytes
    directories: tuple[SuggestedDirectory, ...]
    files: tuple[SuggestedFile, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a path that can't or should not be persisted as it is."""

    path: bytes
    say: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to add to `environment.persistence."<persist>"`.

    `review` holds what was not recognised: printed as commented-out lines, never suggested. `cache`
    is what goes to a second store, without review and advice of its own.
    """

    persist: bytes
    directories: tuple[SuggestedDirectory, ...]
    files: tuple[SuggestedFile, ...]
    users: tuple[UserSuggestion, ...]
    review: tuple[Entry, ...]
    advice: tuple[Advice, ...]
    cache: Suggestion | None = None
