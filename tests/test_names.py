"""Names for people and for JSON."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drift.names import exact, printable, shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"/etc/machine-id", "/etc/machine-id"),
        ("/home/zoë/Müll 🦊".encode(), "/home/zoë/Müll 🦊"),
        (b"/a\nb\tc", "/a\\nb\\tc"),
        (b"/\x1b[31mred\x07", "/\\x1b[31mred\\x07"),
        (b"/back\\slash", "/back\\\\slash"),
        (b"/not-utf8-\xff\xc3", "/not-utf8-\\xff\\xc3"),
        ("/right\u202eleft\u00a0\u200b".encode(), "/right\\u202eleft\\u00a0\\u200b"),
        (b"/\xed\xb2\x80", "/\\xed\\xb2\\x80"),
    ],
)
def test_a_name_is_shown_escaped(name, text):
    assert shown(name) == text


@given(st.binary())
def test_what_is_shown_is_printable(name):
    assert shown(name).isprintable()


@given(st.binary(), st.binary())
@example(b"\x80", "\u0080".encode())
@example(b"\x80", b"\\x80")
def test_different_names_are_shown_differently(one, other):
    assert (shown(one) == shown(other)) == (one == other)


@given(st.binary())
def test_exact_names_survive_json(name):
    assert json.loads(json.dumps(exact(name))).encode("utf-8", "surrogateescape") == name


@given(st.text(st.characters(exclude_categories=[])))
def test_a_sentence_is_printable_whatever_it_quotes(text):
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text
