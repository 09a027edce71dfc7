"""Changes in their order, with those held back that need a look at contents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.diff import stream
from drift.diff.stream import Pending, settle
from drift.model import Change, Kind, Status


def change(status, path):
    return Change(status, path, Kind.FILE, 1, 0o644, 0, 0, 0)


def pending(path, *, properties=False):
    return Pending(
        path,
        1,
        path,
        1,
        1,
        change(Status.PROPERTIES, path) if properties else None,
        change(Status.MODIFIED, path),
    )


def settled(events, equal):
    """Lines of what `settle` gives; `equal` maps paths to answers, and True is the default."""
    asked = []

    def compare(pairs):
        asked.append([pair.live_path for pair in pairs])
        return [equal.get(pair.live_path, True) for pair in pairs]

    return [(one.status.value, one.path) for one in settle(events, compare)], asked


@pytest.mark.parametrize(
    ("properties", "answer", "wanted"),
    [
        (False, True, []),
        (False, False, [("M", b"/a")]),
        (False, None, [("M", b"/a")]),
        (True, True, [("P", b"/a")]),
        (True, False, [("M", b"/a")]),
        (True, None, [("M", b"/a")]),
    ],
)
def test_a_pending_change_becomes_what_its_content_says(properties, answer, wanted):
    assert settled([pending(b"/a", properties=properties)], {b"/a": answer})[0] == wanted


def test_changes_that_wait_for_none_come_at_once():
    source = iter([change(Status.ADDED, b"/a"), pending(b"/b"), change(Status.ADDED, b"/c")])
    out = settle(source, lambda pairs: [False] * len(pairs))
    assert next(out).path == b"/a"
    assert len(list(source)) == 2


def test_nothing_is_asked_where_nothing_waits():
    assert settled([change(Status.ADDED, b"/a")], {}) == ([("A", b"/a")], [])


@given(st.lists(st.sampled_from("aspq")), st.integers(1, 4), st.integers(1, 6))
def test_the_order_is_kept_however_much_is_held_back(kinds, pairs, held):
    events, equal, wanted = [], {}, []
    for number, kind in enumerate(kinds):
        path = b"/%06d" % number
        if kind == "a":
            events.append(change(Status.ADDED, path))
            wanted.append(("A", path))
        else:
            events.append(pending(path, properties=kind == "p"))
            equal[path] = kind != "q"
            if kind != "s":
                wanted.append(("P" if kind == "p" else "M", path))
    before = stream.PAIRS_AT_ONCE, stream.HELD_AT_ONCE
    stream.PAIRS_AT_ONCE, stream.HELD_AT_ONCE = pairs, held
    try:
        said, asked = settled(events, equal)
    finally:
        stream.PAIRS_AT_ONCE, stream.HELD_AT_ONCE = before
    assert said == wanted
    assert sorted(path for some in asked for path in some) == sorted(equal)
    assert all(0 < len(some) <= pairs for some in asked)
