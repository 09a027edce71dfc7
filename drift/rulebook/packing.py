"""Plain values as compact bytes, to be unpacked only where they are asked for; no I/O.

Whoever unpacks must know that the bytes are whole: marshal may crash on what it didn't write.
"""

from __future__ import annotations

import marshal
import zlib
from typing import Any

_MARSHAL = 2
"""Every Python reads this version of marshal, and it writes equal values as equal bytes."""


def pack(value: Any) -> bytes:
    return zlib.compress(marshal.dumps(value, _MARSHAL))


def unpack(data: bytes) -> Any:
    return marshal.loads(zlib.decompress(data))


def plain(value: Any) -> bytes:
    """Like `pack` for what holds mostly packed values: nothing is compressed."""
    return marshal.dumps(value, _MARSHAL)
