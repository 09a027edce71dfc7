"""Read /etc/fstab: what will be mounted at boot, for a root that isn't running now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drift.report import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.system.rooted import Rooted


class FstabEntry(NamedTuple):
    source: bytes
    point: bytes
    fstype: str
    options: tuple[str, ...]

    @property
    def bind(self) -> bool:
        return "bind" in self.options or "rbind" in self.options

    @property
    def subvolume(self) -> str:
        """The Btrfs subvolume without slashes around it; empty if none is named."""
        named = [option[7:] for option in self.options if option.startswith("subvol=")]
        return named[-1].strip("/") if named else ""


def read_fstab(rooted: Rooted, path: bytes = b"/etc/fstab") -> list[FstabEntry]:
    """The entries with a mount point; none where the file can't be read."""
    try:
        return list(parse_fstab(rooted.read(path)))
    except OSError:
        return []


def parse_fstab(text: bytes) -> Iterator[FstabEntry]:
    for line in text.split(b"\n"):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith(b"#") or not fields[1].startswith(b"/"):
            continue
        options = _text(fields[3]).split(",") if len(fields) > 3 else []
        yield FstabEntry(
            source=_unescape(fields[0]),
            point=_normal(_unescape(fields[1])),
            fstype=_text(fields[2]),
            options=tuple(options),
        )


def planned_mounts(entries: list[FstabEntry]) -> list[Kept]:
    """What outlives the root because something else will be mounted there, sorted by path."""
    root = next((entry for entry in reversed(entries) if entry.point == b"/"), None)
    kept = {
        entry.point: f"{_describe(entry)}, by /etc/fstab"
        for entry in entries
        if entry.point != b"/" and entry.fstype not in _VOLATILE and not _is_root(entry, root)
    }
    return [Kept(point, by) for point, by in sorted(kept.items())]


_VOLATILE = frozenset(("devpts", "devtmpfs", "overlay", "proc", "ramfs", "swap", "sysfs", "tmpfs"))
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def _is_root(entry: FstabEntry, root: FstabEntry | None) -> bool:
    if root is None or entry.bind:
        return False
    return entry.source == root.source and entry.subvolume == root.subvolume


def _describe(entry: FstabEntry) -> str:
    if entry.bind:
        return f"bind mount from {_text(entry.source)}"
    if entry.fstype == "btrfs" and entry.subvolume:
        return f"subvolume {entry.subvolume}"
    return f"{entry.fstype} on {_text(entry.source)}"


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _normal(path: bytes) -> bytes:
    return b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def _text(field: bytes) -> str:
    return field.decode(errors="surrogateescape")
