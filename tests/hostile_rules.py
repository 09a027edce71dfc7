"""What must hold for a rule file of any bytes: rules that answer, or faults that can be read."""

from __future__ import annotations

from drift.model import Kind
from drift.rulebook import Layer, RuleBook
from drift.rulebook.checking import example_faults, repeated_patterns
from drift.rulebook.faults import RuleFilesError
from drift.rulebook.reading import read_rules

PATHS = (b"/", b"/etc/machine-id", b"/home/u/.cache/x/y", b"/var/lib/a/b/c/d/e/f/g", b"/\xff\n/ ")


def try_bytes(data: bytes) -> None:
    """Load a rule file of these bytes and ask its rules; AssertionError for what must not be."""
    rows, faults = read_rules(data, "given.toml", Layer.GIVEN)
    if faults:
        _assert_readable(RuleFilesError(faults))
        return
    book = RuleBook(rows)
    assert len(book.rules) == len(rows)
    for path in PATHS:
        for kind in (Kind.FILE, Kind.DIRECTORY, None):
            book.decide(path, kind)
    wrong = [*example_faults(book.rules, book), *repeated_patterns(book.rules)]
    if wrong:
        _assert_readable(RuleFilesError(wrong))


def _assert_readable(error: RuleFilesError) -> None:
    assert error.faults
    for text in (error.message, error.hint):
        assert all(line.isprintable() for line in text.split("\n")), text
    text = str(error)
    text.encode()
