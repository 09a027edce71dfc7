"""A manual page as roff, in the macros of man(7); no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Item(NamedTuple):
    """A term and what it means, if anything; `term` is set in bold and italic, in turn."""

    term: Sequence[str]
    text: str


class Verbatim(NamedTuple):
    """Lines as they are, as of a command line."""

    lines: Sequence[str]


Part = str | Item | Verbatim


class Section(NamedTuple):
    """`parts` are paragraphs, items of a list, and blocks of lines, in their order."""

    title: str
    parts: Sequence[Part]


class Page(NamedTuple):
    """`name` is the page's (`drift-scan`), `summary` one line without a full stop."""

    name: str
    summary: str
    source: str
    sections: Sequence[Section]


def render_page(page: Page) -> str:
    lines = [
        # No date: one and the same drift has one and the same page.
        f'.TH "{_text(page.name.upper())}" "1" "" "{_text(page.source)}" "drift"',
        ".SH NAME",
        f"{_text(page.name)} \\- {_text(page.summary)}",
    ]
    for section in page.sections:
        lines.append(f".SH {_text(section.title)}")
        lines += _body(section.parts)
    return "\n".join(lines) + "\n"


def _body(parts: Iterable[Part]) -> Iterator[str]:
    for number, part in enumerate(parts):
        if isinstance(part, Item):
            term = "".join(_font("BI"[index % 2], text) for index, text in enumerate(part.term))
            yield from (".TP", term, _line(part.text)) if part.text else (term,)
        elif isinstance(part, Verbatim):
            yield from (".PP", ".RS 4", ".nf") if number else (".RS 4", ".nf")
            yield from map(_line, part.lines)
            yield from (".fi", ".RE")
        else:
            if number:
                yield ".PP"
            yield _line(part)


def _font(letter: str, text: str) -> str:
    return f"\\f{letter}{_text(text)}\\fR" if text else ""


def _line(text: str) -> str:
    """Text that begins a line, where a dot or quote would begin a request."""
    escaped = _text(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    # In prose they would be turned to typographic ones, and what is pasted would not work.
    escaped = escaped.replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")
    escaped = escaped.replace("~", "\\(ti")
    return re.sub(r"[^\x00-\x7f]", lambda letter: f"\\[u{ord(letter[0]):04X}]", escaped)
