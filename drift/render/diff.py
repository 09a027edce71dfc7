"""`drift diff` as lines of text, NUL-terminated fields, or JSON objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.diff.stream import Block
from drift.names import exact, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drift.model import Change


def as_text(stream: Iterable[Change | Block]) -> Iterator[str]:
    """Yield lines `STATUS<TAB>PATH`, for a rename `R<TAB>OLD<TAB>NEW`."""
    for item in stream:
        if isinstance(item, Block):
            head = f"{item.status}\t{shown(item.directory)}"
            for name in item.names:
                yield f"{head}{shown(name)}\n"
        elif item.source is not None:
            yield f"{item.status}\t{shown(item.source)}\t{shown(item.path)}\n"
        else:
            yield f"{item.status}\t{shown(item.path)}\n"


def as_nul(stream: Iterable[Change | Block]) -> Iterator[bytes]:
    """Yield the same with raw names, every field ended by NUL."""
    for item in stream:
        if isinstance(item, Block):
            head = item.status.encode() + b"\0" + item.directory
            yield b"".join(b"%s%s\0" % (head, name) for name in item.names)
        elif item.source is not None:
            yield b"%s\0%s\0%s\0" % (item.status.encode(), item.source, item.path)
        else:
            yield b"%s\0%s\0" % (item.status.encode(), item.path)


def as_json(
    stream: Iterable[Change | Block], hidden_by: Callable[[bytes], bytes | None]
) -> Iterator[str]:
    """Yield one JSON object a line; `hidden_by` tells which mount point covers a path."""
    import json

    for item in stream:
        for change in item.changes() if isinstance(item, Block) else (item,):
            entry: dict[str, object] = {
                "status": change.status,
                "path": exact(change.path),
                "type": change.kind,
                "size": change.size,
                "mode": f"{change.mode:04o}",
                "uid": change.uid,
                "gid": change.gid,
            }
            if change.source is not None:
                entry["from"] = exact(change.source)
                if change.modified:
                    entry["modified"] = True
            over = hidden_by(change.path)
            if over is not None:
                entry["hidden_by"] = exact(over)
            # Lone surrogates have no UTF-8 form, so all that is not ASCII is escaped. A float
            # would lose nanoseconds, so the number is written out.
            yield f'{json.dumps(entry)[:-1]}, "mtime": {seconds(change.mtime)}}}\n'


def seconds(nanoseconds: int) -> str:
    """Nanoseconds since the epoch as decimal seconds, exact."""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{rest:09d}"
