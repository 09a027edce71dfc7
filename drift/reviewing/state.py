"""What was reviewed, as it is kept in the store: one JSON file, written whole or not at all."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.errors import DriftError
from drift.model import Kind
from drift.names import exact
from drift.reviewing.fingerprint import Fingerprint
from drift.reviewing.writing import write_whole
from drift.saving.beneath import open_beneath, rename_new

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SCHEMA = "drift.reviewed/2"
NAME = b"reviewed.json"

# What is gone for so long is forgotten.
REMEMBERED = 366 * 86400 * 10**9

_OLDER = "drift.reviewed/1"


class Decision(StrEnum):
    ACCEPT = "accept"
    PERSIST = "persist"
    IGNORE = "ignore"


class Record(NamedTuple):
    """What was decided about a path, when (nanoseconds since the epoch), and how it was then.

    `until` is the date from which on an ignored path is asked about again.
    """

    decision: Decision
    when: int
    fingerprint: Fingerprint
    until: str | None = None


class Reviewed(NamedTuple):
    """The live root at the last review: its subvolume's uuid (empty where it is none)."""

    uuid: bytes
    generation: int
    when: int


@dataclass(frozen=True, slots=True)
class State:
    """`last` is None before the first review."""

    last: Reviewed | None = None
    records: Mapping[bytes, Record] = field(default_factory=dict)

    def decided(self, root: Reviewed, records: Mapping[bytes, Record]) -> State:
        return State(root, {**self.records, **records})

    def expired(self, today: str) -> set[bytes]:
        """The paths that were ignored until `today` or an earlier date."""
        return {path for path, one in self.records.items() if one.until and one.until <= today}

    def without_old(self, present: Collection[bytes], now: int) -> State:
        """Without paths that are no longer there and were decided long ago."""
        kept = {
            path: record
            for path, record in self.records.items()
            if path in present or record.when > now - REMEMBERED
        }
        return replace(self, records=kept)


class DamagedError(DriftError):
    """The state can't be read, and is to be set aside."""


def read_state(private: int) -> State:
    """The state in its directory; an empty one before the first review.

    DamagedError where it can't be made out, DriftError where it is of a newer version.
    """
    try:
        fd = open_beneath(private, NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return State()
    with open(fd, "rb") as file:
        data = file.read()
    try:
        made = json.loads(data)
        schema = made["schema"]
        if schema == _OLDER:
            made = migrated(made)
        elif isinstance(schema, str) and schema != SCHEMA and schema.startswith("drift.reviewed/"):
            raise DriftError(
                f"what was reviewed is kept in a form that this drift doesn't know: {schema}",
                "it was written by a newer version of drift; use that one",
            )
        return _state(made)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError("what was reviewed can't be read: the file is damaged") from error


def write_state(private: int, state: State) -> None:
    try:
        write_whole(private, NAME, _text(state).encode())
    except OSError as error:
        raise DriftError(
            f"what was reviewed can't be written: {error.strerror}",
            "make the persistent storage writable, with some room on it",
        ) from error


def set_aside(private: int, now: int) -> bytes:
    """Rename a damaged state to the first free dated name, and return that."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now // 10**9)).encode()
    name = first = NAME + b".damaged-" + stamp
    count = 1
    while True:
        try:
            rename_new(NAME, name, private)
        except FileExistsError:
            count += 1
            name = first + b"-%d" % count
        except OSError as error:
            raise DriftError(
                f"the damaged record of what was reviewed can't be set aside: {error.strerror}",
                "make the persistent storage writable",
            ) from error
        else:
            os.fsync(private)
            return name


def migrated(made: dict[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2.

    Version 1 was `{"schema", "uuid", "generation", "when", "entries": {PATH: [kind, uid, gid,
    mode, files, bytes, newest]}}`. It knew no decision but to accept, and no content.
    """
    keys = ("kind", "uid", "gid", "mode", "files", "bytes", "newest")
    return {
        "schema": SCHEMA,
        "last": {key: made[key] for key in ("uuid", "generation", "when")},
        "entries": [
            {
                "path": path,
                "decision": Decision.ACCEPT.value,
                "when": made["when"],
                "until": None,
                **dict(zip(keys, values, strict=True)),
                "content": None,
            }
            for path, values in made["entries"].items()
        ],
    }


def _text(state: State) -> str:
    """One entry a line, for those who look into it."""
    last = None
    if state.last is not None:
        last = {**state.last._asdict(), "uuid": state.last.uuid.hex()}
    lines = [
        json.dumps(
            {
                "path": exact(path),
                "decision": record.decision,
                "when": record.when,
                "until": record.until,
                **record.fingerprint._asdict(),
            }
        )
        for path, record in sorted(state.records.items())
    ]
    listed = ",\n  ".join(lines)
    return f'{{"schema": "{SCHEMA}",\n "last": {json.dumps(last)},\n "entries": [{listed}]}}\n'


def _state(made: dict[str, Any]) -> State:
    last = made["last"]
    return State(
        last=None if last is None else _reviewed(last),
        records={
            one["path"].encode("utf-8", "surrogateescape"): Record(
                Decision(one["decision"]),
                int(one["when"]),
                _fingerprint(one),
                None if one["until"] is None else str(one["until"]),
            )
            for one in made["entries"]
        },
    )


def _reviewed(made: dict[str, Any]) -> Reviewed:
    return Reviewed(bytes.fromhex(made["uuid"]), int(made["generation"]), int(made["when"]))


def _fingerprint(made: dict[str, Any]) -> Fingerprint:
    uid, gid, mode, files, size, newest = (
        int(made[key]) for key in ("uid", "gid", "mode", "files", "bytes", "newest")
    )
    content = None if made["content"] is None else str(made["content"])
    return Fingerprint(Kind(made["kind"]), uid, gid, mode, files, size, newest, content)
