"""`drift scan --ncdu`: what would be lost as a tree by service, in ncdu's export format 1.2."""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from drift import __version__
from drift.model import Kind, Verdict
from drift.stakes import AT_STAKE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drift.report import Entry, Group, Report

# No path: a browser that lets one delete must find nothing by these names.
ROOT = b"drift scan"
HIDDEN = b"(hidden below mount points)"
UNREAD = b"(could not be read)"

_FORMAT = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.SUBVOLUME: stat.S_IFDIR,
}
_DIRECTORIES = (Kind.DIRECTORY, Kind.SUBVOLUME)
# ncdu takes every byte of a name as it is, but for these.
_ESCAPED = re.compile(rb'[\x00-\x1f"\\\x7f]')


class Node(NamedTuple):
    """One directory or file of the tree: its names from the top, and ncdu's words about it."""

    names: tuple[bytes, ...]
    is_directory: bool
    facts: dict[str, int | float | bool]


def render(report: Report, now: int, *, verbose: bool = False) -> bytes:
    """The export, `now` in nanoseconds; with `verbose` also what is safe to lose.

    Sizes are those of the files, for ncdu's disk usage as well. Names are the bytes that they are,
    as in ncdu's own exports, so the whole need not be UTF-8.
    """
    about = {"progname": "drift", "progver": __version__, "timestamp": now // 1_000_000_000}
    head = b"[1,2,%s,\n[%s" % (_packed(about), _info(ROOT, {}))
    return b"".join([head, *_tree(_nodes(report, verbose=verbose)), b"]]\n"])


def _nodes(report: Report, *, verbose: bool) -> list[Node]:
    """Every node that has something to say, parents before children, each path once."""
    nodes = [
        _node(group, entry)
        for group in report.groups
        if verbose or group.verdict in AT_STAKE
        for entry in group.entries
    ]
    nodes += [
        Node((HIDDEN, *_names(one.path)), is_directory=True, facts=_size(one.bytes, one.newest))
        for one in report.hidden
    ]
    nodes += [
        Node((UNREAD, *_names(one.path)), is_directory=False, facts={"read_error": True})
        for one in report.skipped
    ]
    return sorted({node.names: node for node in nodes}.values())


def _node(group: Group, entry: Entry) -> Node:
    facts = _size(entry.bytes, entry.newest)
    facts |= {
        "uid": entry.uid,
        "gid": entry.gid,
        "mode": _FORMAT[entry.kind] | entry.mode,
    }
    is_directory = entry.kind in _DIRECTORIES
    if not is_directory and entry.kind is not Kind.FILE:
        facts["notreg"] = True
    return Node((_title(group), *_names(entry.path)), is_directory, facts)


def _title(group: Group) -> bytes:
    # Whoever deletes in a browser gets a path of it: a slash would start one at the root.
    name = group.service.replace("/", " ").encode("utf-8", "surrogateescape")
    return name if group.verdict is Verdict.PERSIST else b"%s (%s)" % (name, group.verdict.encode())


def _names(path: bytes) -> tuple[bytes, ...]:
    return tuple(path.strip(b"/").split(b"/")) if path.strip(b"/") else ()


def _size(count: int, newest: int) -> dict[str, int | float | bool]:
    facts: dict[str, int | float | bool] = {"asize": count, "dsize": count} if count > 0 else {}
    if newest > 0:
        facts["mtime"] = newest // 1_000_000_000
    return facts


def _tree(nodes: Sequence[Node]) -> Iterator[bytes]:
    """The sorted nodes as nested arrays; a path may be deeper than a recursion could be."""
    opened: list[bytes] = []
    for place, (names, is_directory, facts) in enumerate(nodes):
        shared = _shared(opened, names)
        yield b"]" * (len(opened) - shared)
        del opened[shared:]
        for name in names[shared:-1]:
            yield b",\n[" + _info(name, {})
            opened.append(name)
        following = nodes[place + 1].names if place + 1 < len(nodes) else ()
        if is_directory or following[: len(names)] == names:
            yield b",\n[" + _info(names[-1], facts)
            opened.append(names[-1])
        else:
            yield b",\n" + _info(names[-1], facts)
    yield b"]" * len(opened)


def _shared(opened: Iterable[bytes], names: Iterable[bytes]) -> int:
    count = 0
    for one, other in zip(opened, names, strict=False):
        if one != other:
            break
        count += 1
    return count


def _info(name: bytes, facts: dict[str, int | float | bool]) -> bytes:
    quoted = b'{"name":"%s"' % _ESCAPED.sub(lambda found: b"\\u%04x" % ord(found[0]), name)
    return quoted + (b"," + _packed(facts)[1:] if facts else b"}")


def _packed(facts: object) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode()
