"""Names as they are met: hostile bytes, made harmless for a terminal or kept exact for JSON."""

from __future__ import annotations


def shown(path: bytes) -> str:
    """A path for the terminal: control characters and what is no UTF-8 escaped, nothing lost."""
    text = exact(path)
    return printable(text.replace("\\", "\\\\")) if "\\" in text else printable(text)


def exact(path: bytes) -> str:
    """A path for JSON: bytes that are not UTF-8 are lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """`text` on one line, with what a terminal would act on or can't show escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if 0x80 <= code <= 0xFF:
        # `\x80` is a byte; the character has another escape.
        return f"\\u{code:04x}"
    return letter.encode("unicode_escape").decode()
