"""What tells whether an entry has changed since it was reviewed."""

from __future__ import annotations

import os
import stat
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from drift.diff.content import open_file
from drift.saving.beneath import DIRECTORY, names_in, open_beneath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drift.model import Kind
    from drift.report import Entry

# Entries with more than this are told by their counts, sizes and times alone.
MOST_FILES = 64
MOST_BYTES = 1 << 20

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Fingerprint(NamedTuple):
    """All entries at one path, added up.

    `content` is a hash of what they hold, None where that is much or can't be read. It may stand
    for a secret, so it is kept only where root alone can read it.
    """

    kind: Kind
    uid: int
    gid: int
    mode: int
    files: int
    bytes: int
    newest: int
    content: str | None = None


def differences(before: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """What has changed, in words; where the content of both is known, times and counts are not."""
    found = []
    if before.kind is not now.kind:
        found.append("kind")
    if (before.uid, before.gid) != (now.uid, now.gid):
        found.append("owner")
    if before.mode != now.mode:
        found.append("mode")
    if before.content is not None and now.content is not None:
        return (*found, "content") if before.content != now.content else tuple(found)
    if before.files != now.files:
        found.append("number of files")
    if before.bytes != now.bytes:
        found.append("size")
    # Of many files at once, a scan tells no more than seconds.
    if before.newest // 10**9 != now.newest // 10**9:
        found.append("time")
    return tuple(found)


def fingerprints(entries: Iterable[Entry], root: bytes) -> dict[bytes, Fingerprint]:
    """By path, with the content of what is small, read below the live root's directory `root`."""
    by_path: dict[bytes, list[Entry]] = {}
    for entry in entries:
        by_path.setdefault(entry.path, []).append(entry)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return {path: _fingerprint(members, fd) for path, members in by_path.items()}
    finally:
        os.close(fd)


def _fingerprint(members: list[Entry], root: int) -> Fingerprint:
    first = members[0]
    files = sum(entry.files for entry in members)
    size = sum(entry.bytes for entry in members)
    made = Fingerprint(
        first.kind,
        first.uid,
        first.gid,
        first.mode,
        files,
        size,
        max(entry.newest for entry in members),
    )
    if files > MOST_FILES or size > MOST_BYTES:
        return made
    sole = first.sole if files == 1 else None
    return made._replace(content=_content(root, first.path, sole or first.path, made))


def _content(root: int, entry: bytes, path: bytes, expected: Fingerprint) -> str | None:
    """A hash of what lies at `path`, if that is just what the entry at `entry` stands for."""
    digest = blake2b(digest_size=16)
    files = size = 0
    try:
        for name, status, content in _leaves(root, path, expected.files):
            files += 1
            size += len(content) if stat.S_ISREG(status.st_mode) else 0
            if size > MOST_BYTES:
                return None
            # The entry's own are told apart.
            whose = b"" if name == entry else _whose(status)
            for part in (name, whose, content):
                digest.update(len(part).to_bytes(8, "little") + part)
    except OSError:
        return None
    return digest.hexdigest() if (files, size) == (expected.files, expected.bytes) else None


def _whose(status: os.stat_result) -> bytes:
    return b"%o %d %d" % (status.st_mode, status.st_uid, status.st_gid)


def _leaves(root: int, path: bytes, most: int) -> Iterator[tuple[bytes, os.stat_result, bytes]]:
    """Yield path, status and content of what is no directory, sorted, at most one above `most`."""
    waiting, found = [path], 0
    while waiting and found <= most:
        path = waiting.pop()
        parent, _, name = path.rpartition(b"/")
        directory = open_beneath(root, parent or b"/", _STEP)
        try:
            status = os.lstat(name, dir_fd=directory)
            if stat.S_ISDIR(status.st_mode):
                inside = _open_directory(name, directory)
                try:
                    waiting += (path + b"/" + below for below in reversed(names_in(inside)))
                finally:
                    os.close(inside)
                continue
            found += 1
            yield path, status, _read(name, directory, status.st_mode)
        finally:
            os.close(directory)


def _read(name: bytes, directory: int, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.readlink(name, dir_fd=directory)
    if not stat.S_ISREG(mode):
        return b""
    with open(open_file(name, directory), "rb") as file:
        return file.read(MOST_BYTES + 1)


def _open_directory(name: bytes, directory: int) -> int:
    """Without leaving a trace in its atime, where that can be."""
    try:
        return os.open(name, DIRECTORY | os.O_NOATIME, dir_fd=directory)
    except PermissionError:
        return os.open(name, DIRECTORY, dir_fd=directory)
