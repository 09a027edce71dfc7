"""Words and numbers as people read them: paths, sizes, ages, counts."""

from __future__ import annotations

from unicodedata import combining, east_asian_width

# Sizes and ages are humanize's, which is imported where a report is made: it takes a while.


def columns(text: str) -> int:
    """How many columns of a terminal printable `text` takes: wide letters two, accents none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, shortened in the middle."""
    if columns(text) <= width:
        return text
    room = width - 1
    left = _fitting(text, room // 2)
    return left + "…" + _fitting(text[::-1], room - columns(left))[::-1]


def size(count: int) -> str:
    from humanize import naturalsize

    return str(naturalsize(count, format="%.1f")).replace(" Bytes", " B").replace(" Byte", " B")


def age(newest: int, now: int) -> str:
    """How long ago `newest` was, both in nanoseconds; `-` where nothing is known."""
    if newest <= 0:
        return "-"
    seconds = (now - newest) // 1_000_000_000
    if seconds < 0:
        return "future"
    for length, unit in _UNITS:
        if seconds >= length:
            number = seconds // length
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "now"


def plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


_UNITS = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def _fitting(text: str, width: int) -> str:
    for end, letter in enumerate(text):
        width -= _columns(letter)
        if width < 0:
            return text[:end]
    return text


def _columns(letter: str) -> int:
    if combining(letter):
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1
