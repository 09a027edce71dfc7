"""Words and numbers as people read them: paths, sizes, ages, counts."""

from __future__ import annotations

# Sizes and ages are humanize's, which is imported where a report is made: it takes a while.


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, shortened in the middle."""
    if len(text) <= width:
        return text
    if width < 5:
        return text[:width]
    left = (width - 1) // 2
    return text[:left] + "…" + text[len(text) - (width - 1 - left) :]


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
