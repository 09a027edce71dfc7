"""What one run moved into quarantine, as it is noted beside it: one JSON file, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.errors import DriftError
from drift.model import Kind
from drift.names import exact
from drift.saving.beneath import exists, open_beneath

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = "drift.quarantine/1"
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(-\d+)?")
_ENDING = b".json"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Moved(NamedTuple):
    """`path` from the top of the store; it lies under the same name in the batch's directory."""

    path: bytes
    kind: Kind
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One dated directory of the quarantine, and what is noted to be in it."""

    date: str
    entries: tuple[Moved, ...]

    @property
    def directory(self) -> bytes:
        return self.date.encode()


def new_date(now: int, taken: Iterable[str]) -> str:
    """The time `now` in UTC as a name of a directory, one that is not `taken`."""
    first = made = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now // 10**9))
    taken, count = set(taken), 1
    while made in taken:
        count += 1
        made = f"{first}-{count}"
    return made


def names_of(folder: int) -> list[bytes]:
    """The names of the batches noted in the open directory, oldest first."""
    found = {os.fsencode(name).removesuffix(_ENDING) for name in os.listdir(folder)}
    return sorted(
        (name for name in found if _DATE.fullmatch(name)),
        key=lambda name: (name[:19], int(name[20:] or 1)),
    )


def read_batch(folder: int, name: bytes) -> Batch:
    """DriftError where the note is damaged or missing."""
    try:
        fd = open_beneath(folder, name + _ENDING, os.O_RDONLY | os.O_NOFOLLOW)
        with open(fd, "rb") as file:
            return _from_json(name.decode(), json.load(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriftError(
            f"what is in the quarantine {name.decode()} is not noted in a way drift can read",
            "move its entries back by hand: they lie there under their old names",
        ) from error


def write_batch(folder: int, batch: Batch) -> None:
    """Note a batch, so that a cut leaves the whole note or none."""
    name = batch.directory + _ENDING
    new = name + b".new"
    if exists(new, folder):
        os.unlink(new, dir_fd=folder)
    fd = os.open(new, _WRITE, 0o600, dir_fd=folder)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(_to_json(batch), file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(fd)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def forget_batch(folder: int, batch: Batch) -> None:
    os.unlink(batch.directory + _ENDING, dir_fd=folder)


def _to_json(batch: Batch) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "date": batch.date,
        "entries": [
            {
                "path": exact(one.path),
                "kind": str(one.kind),
                "files": one.files,
                "bytes": one.bytes,
            }
            for one in batch.entries
        ],
    }


def _from_json(date: str, made: Any) -> Batch:
    if made["schema"] != SCHEMA or made["date"] != date:
        raise ValueError
    entries = tuple(
        Moved(
            one["path"].encode("utf-8", "surrogateescape"),
            Kind(one["kind"]),
            int(one["files"]),
            int(one["bytes"]),
        )
        for one in made["entries"]
    )
    if any(not _is_plain(one.path) for one in entries):
        raise ValueError
    return Batch(date, entries)


def _is_plain(path: bytes) -> bool:
    """Whether `path` leads to something below the top, and nowhere else."""
    names = path.split(b"/")
    return names[0] == b"" and len(names) > 1 and not {b"", b".", b".."} & set(names[1:])
