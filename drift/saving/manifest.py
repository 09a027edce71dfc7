"""What was saved, as it is kept in the store: one JSON file, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from drift.errors import DriftError
from drift.names import exact
from drift.saving.beneath import DIRECTORY, exists, open_beneath
from drift.saving.records import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.saving.records import Record

SCHEMA = "drift.saved/1"
DIRECTORY_NAME = b".drift"
NAME = b"saved.json"
_NEW = b"saved.json.new"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Origin:
    """Which root a save read: the subvolume's uuid (empty where it is none) and the boot's id."""

    uuid: bytes
    boot: str


@dataclass(frozen=True, slots=True)
class Saved:
    """One saved path, when (nanoseconds since the epoch), and all its records, itself first."""

    path: bytes
    when: int
    origin: Origin
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that was saved into one store, by path.

    `pending` are the temporary names, relative to the store, that an unfinished run may have left.
    """

    saved: tuple[Saved, ...] = ()
    pending: tuple[bytes, ...] = ()

    def with_saved(self, one: Saved) -> Manifest:
        others = (saved for saved in self.saved if saved.path != one.path)
        return replace(self, saved=tuple(sorted((*others, one), key=lambda one: one.path)))

    def with_pending(self, names: Iterable[bytes]) -> Manifest:
        return replace(self, pending=tuple(sorted(set(names))))


def open_private(store: int, *, make: bool) -> int:
    """The directory of the manifest in the store open at `store`, root's alone.

    FileNotFoundError where it isn't there and is not to be made.
    """
    if make and not exists(DIRECTORY_NAME, store):
        os.mkdir(DIRECTORY_NAME, 0o700, dir_fd=store)
    try:
        fd = open_beneath(store, DIRECTORY_NAME, DIRECTORY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DriftError(
            f"{exact(DIRECTORY_NAME)} in the persistent storage is no directory",
            "drift keeps there what it saved; move away what is in its place",
        ) from error
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise DriftError(
            f"{exact(DIRECTORY_NAME)} in the persistent storage may be written by others",
            "drift keeps there what it saved; give it to root with mode 0700",
        )
    return fd


def read_manifest(private: int) -> Manifest:
    """The manifest in its directory; an empty one if nothing was saved yet."""
    try:
        fd = open_beneath(private, NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Manifest()
    with open(fd, "rb") as file:
        try:
            made = json.load(file)
            return _manifest(made)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DriftError(
                "the manifest of what was saved can't be read",
                "move .drift/saved.json in the persistent storage away, and save again",
            ) from error


def write_manifest(private: int, manifest: Manifest) -> None:
    """Replace the manifest, so that a cut leaves the old or the new one."""
    if exists(_NEW, private):
        os.unlink(_NEW, dir_fd=private)
    fd = os.open(_NEW, _WRITE, 0o600, dir_fd=private)
    try:
        with open(fd, "wb") as file:
            file.write(_text(manifest).encode())
            file.flush()
            os.fsync(fd)
    except OSError as error:
        os.unlink(_NEW, dir_fd=private)
        raise DriftError(
            f"the manifest of what is saved can't be written: {error.strerror}",
            "make room in the persistent storage, then save again",
        ) from error
    os.rename(_NEW, NAME, src_dir_fd=private, dst_dir_fd=private)
    os.fsync(private)


def _text(manifest: Manifest) -> str:
    """One saved entry a line, for those who look into it."""
    saved = []
    for one in manifest.saved:
        head = {
            "path": exact(one.path),
            "when": one.when,
            "uuid": one.origin.uuid.hex(),
            "boot": one.origin.boot,
        }
        lines = ",\n   ".join(json.dumps(to_json(record)) for record in one.records)
        saved.append(json.dumps(head)[:-1] + ', "entries": [\n   ' + lines + "]}")
    pending = json.dumps([exact(name) for name in manifest.pending])
    listed = ",\n  ".join(saved)
    return f'{{"schema": "{SCHEMA}",\n "pending": {pending},\n "saved": [{listed}]}}\n'


def _manifest(made: Any) -> Manifest:
    if made["schema"] != SCHEMA:
        raise DriftError(
            f"the manifest of what was saved is of another form: {made['schema']}",
            "it was written by another version of drift; use that one",
        )
    return Manifest(
        saved=tuple(
            Saved(
                path=_bytes(one["path"]),
                when=int(one["when"]),
                origin=Origin(bytes.fromhex(one["uuid"]), str(one["boot"])),
                records=tuple(from_json(record) for record in one["entries"]),
            )
            for one in made["saved"]
        ),
        pending=tuple(_bytes(name) for name in made["pending"]),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
