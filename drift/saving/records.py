"""What an entry is, as it is compared and kept in the manifest: no content, only its digest."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from drift.btrfs.items import kind_of
from drift.model import Kind
from drift.names import exact

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class Record(NamedTuple):
    """One entry of a saved tree.

    `path` is relative to the saved path, `b""` for itself. `digest` is the XXH3 128-bit digest of a
    file's content, `xattrs` that of all its extended attributes; both empty where there are none.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int = 0
    mtime: int = 0
    digest: bytes = b""
    target: bytes = b""
    device: int = 0
    xattrs: bytes = b""


def record(
    path: bytes,
    status: os.stat_result,
    *,
    xattrs: Mapping[bytes, bytes],
    digest: bytes = b"",
    target: bytes = b"",
) -> Record:
    kind = kind_of(status.st_mode)
    return Record(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind is Kind.FILE else 0,
        mtime=status.st_mtime_ns,
        digest=digest,
        target=target,
        device=status.st_rdev if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
        xattrs=xattr_digest(xattrs),
    )


def xattr_digest(xattrs: Mapping[bytes, bytes]) -> bytes:
    """One digest of all attributes but those that are a filesystem's own settings."""
    wanted = {name: value for name, value in xattrs.items() if is_portable(name)}
    if not wanted:
        return b""
    from xxhash import xxh3_128

    state = xxh3_128()
    for name in sorted(wanted):
        state.update(b"%d %s %d " % (len(name), name, len(wanted[name])) + wanted[name])
    return state.digest()


def is_portable(name: bytes) -> bool:
    """Whether an attribute is the file's own; `btrfs.compression` is a setting of its storage."""
    return not name.startswith(b"btrfs.")


def difference(left: Record, right: Record, *, times: bool) -> str:
    """The gravest thing in which two records of one path differ; empty if in none.

    Modification times count with `times` only.
    """
    if left.kind is not right.kind:
        return f"one is a {left.kind}, the other a {right.kind}"
    if (left.size, left.digest, left.device) != (right.size, right.digest, right.device):
        return "its content differs"
    if left.target != right.target:
        return "it links elsewhere"
    if (left.uid, left.gid) != (right.uid, right.gid):
        return "it has another owner"
    # The mode of a symlink means nothing, and not every filesystem keeps it.
    if left.kind is not Kind.SYMLINK and left.mode != right.mode:
        return f"its mode is {right.mode:04o}, not {left.mode:04o}"
    if left.xattrs != right.xattrs:
        return "its attributes differ"
    if times and left.mtime != right.mtime:
        return "its time differs"
    return ""


def to_json(one: Record) -> dict[str, Any]:
    made: dict[str, Any] = {
        "path": exact(one.path),
        "kind": str(one.kind),
        "mode": f"{one.mode:04o}",
        "uid": one.uid,
        "gid": one.gid,
        "mtime": one.mtime,
    }
    if one.kind is Kind.FILE:
        made |= {"size": one.size, "xxh3": one.digest.hex()}
    if one.kind is Kind.SYMLINK:
        made["target"] = exact(one.target)
    if one.device:
        made["device"] = one.device
    if one.xattrs:
        made["xattrs"] = one.xattrs.hex()
    return made


def from_json(made: Mapping[str, Any]) -> Record:
    """The inverse of `to_json`; KeyError, ValueError or TypeError where it is none of drift's."""
    return Record(
        path=_bytes(made["path"]),
        kind=Kind(made["kind"]),
        mode=int(made["mode"], 8),
        uid=int(made["uid"]),
        gid=int(made["gid"]),
        size=int(made.get("size", 0)),
        mtime=int(made["mtime"]),
        digest=bytes.fromhex(made.get("xxh3", "")),
        target=_bytes(made.get("target", "")),
        device=int(made.get("device", 0)),
        xattrs=bytes.fromhex(made.get("xattrs", "")),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
