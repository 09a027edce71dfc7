"""A change to a file as a unified diff."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from drift.names import exact, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def render_patch(
    name: bytes,
    before: bytes,
    after: bytes,
    *,
    paint: Callable[[str, str], str] | None = None,
) -> Iterator[bytes]:
    """The lines of the diff; nothing where the texts are equal.

    They are the files' own bytes, as patch(1) wants them. With `paint`, which colours a text of a
    kind (`file`, `hunk`, `+`, `-` or a blank), they are for eyes: what a terminal would act on is
    escaped.
    """
    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _lines(before),
        _lines(after),
        _quoted(name),
        _quoted(name),
    )
    for number, line in enumerate(lines):
        bare = line.removesuffix(b"\n")
        ended = bare != line
        # Headers come first, and end in a newline whatever the file's lines do.
        kind = "file" if number < 2 else "hunk" if bare.startswith(b"@@ ") else exact(bare[:1])
        yield (bare if paint is None else paint(_visible(bare), kind).encode()) + b"\n"
        if not ended:
            yield b"\\ No newline at end of file\n"


def _lines(text: bytes) -> list[bytes]:
    """Lines as patch(1) counts them: a carriage return ends none."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1].removesuffix(b"\n")
    return lines if lines[-1] else lines[:-1]


def _quoted(name: bytes) -> bytes:
    """As git quotes names that would end the line or hide in it."""
    if all(byte >= 0x20 and byte not in b'"\\\x7f' for byte in name):
        return name
    escaped = b"".join(
        b"\\%03o" % byte
        if byte < 0x20 or byte == 0x7F
        else b"\\" * (byte in b'"\\') + bytes([byte])
        for byte in name
    )
    return b'"' + escaped + b'"'


def _visible(line: bytes) -> str:
    return "\t".join(printable(part) for part in exact(line.removesuffix(b"\r")).split("\t"))
