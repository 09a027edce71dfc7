"""What is new or changed since the last review, and how that is remembered."""

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from suggest_lab import entry
from syscalls import opened

from drift.errors import DriftError
from drift.model import Kind, Severity, Status, Verdict
from drift.report import Group, Kept
from drift.review import Change, Fate, Standing, fate, only, review, to_review
from drift.reviewing.fingerprint import (
    MOST_BYTES,
    MOST_FILES,
    Fingerprint,
    differences,
    fingerprints,
)
from drift.reviewing.opened import open_reviewed
from drift.reviewing.rules import PRIVATE
from drift.reviewing.state import (
    NAME,
    REMEMBERED,
    SCHEMA,
    Decision,
    Record,
    Reviewed,
    State,
    read_state,
    write_state,
)
from drift.saving.manifest import DIRECTORY_NAME
from drift.saving.targets import Destination

NOW = 1_800_000_000 * 10**9
ROOT = Reviewed(b"\x01" * 16, 20, NOW)
PRINT = Fingerprint(Kind.FILE, 0, 0, 0o600, 1, 10, NOW, "ab")


def group(verdict, *entries, service="x"):
    return Group(service, service, verdict, Severity.NORMAL, list(entries))


# What differs.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ()),
        ({"kind": Kind.SYMLINK}, ("kind",)),
        ({"uid": 1}, ("owner",)),
        ({"gid": 1}, ("owner",)),
        ({"mode": 0o644}, ("mode",)),
        ({"content": "cd"}, ("content",)),
        ({"files": 2, "bytes": 20, "newest": 0}, ()),
        ({"content": None}, ()),
        ({"content": None, "files": 2}, ("number of files",)),
        ({"content": None, "bytes": 11}, ("size",)),
        ({"content": None, "newest": NOW + 10**9}, ("time",)),
        ({"content": None, "newest": NOW + 1}, ()),
        ({"mode": 0o644, "content": None, "bytes": 1}, ("mode", "size")),
    ],
)
def test_known_content_counts_and_else_what_is_known_of_it(change, said):
    assert differences(PRINT, PRINT._replace(**change)) == said


def printed(root, *entries):
    return fingerprints(entries, os.fsencode(root))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/a").write_text("aa")
    (tmp_path / "d/e/b").write_text("b")
    os.symlink("a", tmp_path / "d/link")
    return tmp_path


def whole(**values):
    """The directory d with all that lies in it."""
    return entry(b"/d", files=3, bytes=3, **values)


def test_touching_a_file_of_few_changes_nothing_and_writing_it_does(tree):
    first = printed(tree, whole())
    os.utime(tree / "d/a", (0, 0))
    assert printed(tree, whole()) == first
    (tree / "d/a").write_text("ax")
    assert differences(first[b"/d"], printed(tree, whole())[b"/d"]) == ("content",)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "d/a").rename(tree / "d/c"),
        lambda tree: (tree / "d/e/b").chmod(0o600),
        lambda tree: (tree / "d/link").unlink() or os.symlink("b", tree / "d/link"),
    ],
    ids=["renamed", "opened", "linked"],
)
def test_names_modes_and_links_inside_are_content(tree, change):
    first = printed(tree, whole())[b"/d"]
    change(tree)
    assert first.content is not None
    assert differences(first, printed(tree, whole())[b"/d"]) == ("content",)


@pytest.mark.parametrize(
    "other",
    [
        {"files": 2},
        {"bytes": 4},
        {"files": MOST_FILES + 1},
        {"bytes": MOST_BYTES + 1},
        {"path": b"/missing"},
    ],
    ids=str,
)
def test_what_is_large_or_not_all_of_the_directory_has_no_content(tree, other):
    path = other.pop("path", b"/d")
    values = {"files": 3, "bytes": 3} | other
    assert printed(tree, entry(path, **values))[path].content is None


def test_the_one_file_that_an_entry_stands_for_is_its_content(tree):
    one = replace(entry(b"/d", files=1, bytes=2), sole=b"/d/a")
    first = printed(tree, one)[b"/d"]
    (tree / "d/e/b").write_text("of another entry")
    assert printed(tree, one)[b"/d"] == first
    (tree / "d/a").write_text("xx")
    assert differences(first, printed(tree, one)[b"/d"]) == ("content",)


def test_no_link_is_followed_to_a_content(tree):
    os.symlink("d", tree / "other")
    assert (
        printed(tree, entry(b"/other/a", kind=Kind.FILE, files=1, bytes=2))[b"/other/a"].content
        is None
    )


def test_entries_of_one_path_are_added_up(tree):
    parts = entry(b"/d", files=1, bytes=2), entry(b"/d", files=2, bytes=1)
    assert printed(tree, *parts) == printed(tree, whole())


# What is shown.


def compared(groups, records, *, last=ROOT, uuid=ROOT.uuid, **values):
    prints = {one.path: PRINT for group in groups for one in group.entries}
    return review(groups, prints, State(last, records), uuid, **values)


FOO, BAR = (
    entry(path, Kind.FILE, Verdict.REVIEW, files=1, bytes=10) for path in (b"/foo", b"/bar")
)
OTHER = PRINT._replace(content="cd")


def test_everything_is_new_at_the_first_review():
    told = compared([group(Verdict.REVIEW, FOO, BAR)], {}, last=None)
    assert told.unreviewed == [b"/foo", b"/bar"]
    assert [one.path for one in told.groups[0].entries] == [b"/foo", b"/bar"]
    assert (told.last, told.anew) == (None, False)
    assert {standing.change for standing in told.standings.values()} == {Change.NEW}


def test_only_what_is_new_or_changed_is_shown():
    records = {b"/foo": Record(Decision.ACCEPT, NOW, PRINT)}
    told = compared([group(Verdict.REVIEW, FOO), group(Verdict.PERSIST, BAR)], records)
    assert [(one.verdict, [one.path for one in one.entries]) for one in told.groups] == [
        (Verdict.PERSIST, [b"/bar"])
    ]
    records[b"/bar"] = Record(Decision.ACCEPT, NOW, OTHER)
    told = compared([group(Verdict.REVIEW, FOO, BAR)], records, uuid=b"\x02" * 16)
    assert told.unreviewed == [b"/bar"]
    assert told.standings[b"/bar"] == Standing(Change.CHANGED, ("content",), Decision.ACCEPT)
    assert (told.count(Change.SAME), told.anew) == (1, True)


def test_everything_adds_what_is_the_same_and_what_waits_to_be_saved():
    records = {b"/foo": Record(Decision.ACCEPT, NOW, PRINT)}
    waiting = entry(b"/var/x", verdict=Verdict.KEPT)
    at_stake = [group(Verdict.REVIEW, FOO)]
    assert compared(at_stake, records, pending=[waiting]).groups == ()
    told = compared(at_stake, records, pending=[waiting], everything=True)
    assert [one.path for one in told.groups for one in one.entries] == [b"/foo", b"/var/x"]
    assert told.unreviewed == []
    assert fate(told.groups[1].entries[0]) is Fate.KEPT
    assert told.standing(waiting) == Standing(Change.SAME)
    assert told.count(Change.SAME) == 1


def test_a_decision_to_persist_stands_while_the_content_goes_on():
    records = {b"/foo": Record(Decision.PERSIST, NOW, OTHER)}
    told = compared([group(Verdict.REVIEW, FOO)], records)
    assert (told.unreviewed, told.to_persist) == ([], [b"/foo"])


def test_what_was_ignored_is_asked_about_once_its_rule_has_expired():
    records = {
        path: Record(decision, NOW, PRINT, "2027-01-31")
        for path, decision in ((b"/foo", Decision.IGNORE), (b"/bar", Decision.ACCEPT))
    }
    state = State(ROOT, records)
    assert state.expired("2027-01-30") == set()
    assert state.expired("2027-01-31") == {b"/foo", b"/bar"}
    at_stake = [group(Verdict.REVIEW, FOO, BAR)]
    assert compared(at_stake, records).unreviewed == []
    told = compared(at_stake, records, expired={b"/foo", b"/bar"})
    assert told.unreviewed == [b"/foo"]
    assert told.standings[b"/foo"].differs == ("its rule has expired",)


@pytest.mark.parametrize(
    ("status", "verdict", "expected"),
    [
        (Status.ADDED, Verdict.REVIEW, Fate.LOST),
        (Status.RENAMED, Verdict.PERSIST, Fate.LOST),
        (Status.MODIFIED, Verdict.PERSIST, Fate.REVERTED),
        (Status.TYPE, Verdict.PERSIST, Fate.REVERTED),
        (Status.PROPERTIES, Verdict.REVIEW, Fate.REVERTED),
        (Status.ADDED, Verdict.KEPT, Fate.KEPT),
    ],
)
def test_the_second_column_is_what_the_reboot_does(status, verdict, expected):
    assert fate(entry(b"/x", verdict=verdict, status=status)) is expected


def test_what_is_safe_to_lose_leads_to_what_is_kept_or_is_the_store_is_not_asked_about(report):
    ssh = entry(b"/etc/ssh", files=0)
    closed = entry(b"/etc/a", files=0, status=Status.PROPERTIES)
    full = entry(b"/etc/b", files=1)
    told = replace(
        report,
        groups=[
            group(Verdict.PERSIST, ssh, closed, full),
            group(Verdict.PERSIST, ssh, service="y"),
            group(Verdict.REVIEW, entry(b"/persist"), entry(b"/persist/.drift")),
            group(Verdict.EPHEMERAL, entry(b"/tmp/x", verdict=Verdict.EPHEMERAL)),
        ],
        kept=[Kept(b"/etc/ssh/key", "x"), Kept(b"/etc/a/b", "x"), Kept(b"/etc/b/c", "x")],
    )
    assert to_review(told, b"/persist") == [group(Verdict.PERSIST, closed, full)]


@pytest.fixture
def report():
    from test_scan_text import NOTHING

    return NOTHING


def test_only_what_was_chosen_is_suggested_and_its_surroundings_stay():
    made = entry(b"/made", verdict=Verdict.REGENERATED)
    keep = entry(b"/keep")
    kept = only(
        [
            group(Verdict.REVIEW, FOO, BAR),
            group(Verdict.PERSIST, keep),
            group(Verdict.REGENERATED, made),
        ],
        {b"/foo"},
    )
    beside = replace(BAR, finding=replace(BAR.finding, verdict=Verdict.EPHEMERAL))
    assert kept == [
        group(Verdict.REVIEW, FOO, beside),
        group(Verdict.PERSIST),
        group(Verdict.REGENERATED, made),
    ]


prints = st.builds(
    Fingerprint,
    st.sampled_from(list(Kind)),
    *[st.integers(0, 2**40)] * 5,
    st.integers(-(2**62), 2**62),
    st.none() | st.text("0123456789abcdef", max_size=32),
)
records = st.builds(
    Record,
    st.sampled_from(list(Decision)),
    st.integers(0, 2**62),
    prints,
    st.none() | st.dates().map(str),
)
paths = st.binary(min_size=1, max_size=8).map(lambda name: b"/" + name)
states = st.builds(
    State,
    st.none()
    | st.builds(Reviewed, st.binary(max_size=16), st.integers(0, 2**63), st.integers(0, 2**62)),
    st.dictionaries(paths, records, max_size=5),
)


@given(states)
def test_what_was_accepted_is_not_shown_again_until_it_changes(state):
    accepted = {
        path: record._replace(decision=Decision.ACCEPT) for path, record in state.records.items()
    }
    at_stake = [group(Verdict.REVIEW, *(entry(path, verdict=Verdict.REVIEW) for path in accepted))]
    now = {path: record.fingerprint for path, record in accepted.items()}
    told = review(at_stake, now, State(ROOT, accepted), ROOT.uuid)
    assert told.unreviewed == []
    other = {path: one._replace(mode=one.mode ^ 1) for path, one in now.items()}
    assert review(at_stake, other, State(ROOT, accepted), ROOT.uuid).unreviewed == list(accepted)


# How it is kept.


@given(states)
def test_any_state_comes_back_as_it_was_written(tmp_path_factory, state):
    with opened(tmp_path_factory.getbasetemp()) as directory:
        write_state(directory, state)
        assert read_state(directory) == state


OLD = {
    "schema": "drift.reviewed/1",
    "uuid": "01" * 16,
    "generation": 12,
    "when": 5,
    "entries": {"/etc/x\udcff": ["file", 1, 2, 0o600, 1, 10, 99]},
}


def test_a_state_of_version_1_is_migrated_and_then_written_as_version_2(tmp_path):
    (tmp_path / NAME.decode()).write_text(json.dumps(OLD))
    with opened(tmp_path) as directory:
        state = read_state(directory)
        assert state == State(
            Reviewed(b"\x01" * 16, 12, 5),
            {
                b"/etc/x\xff": Record(
                    Decision.ACCEPT, 5, Fingerprint(Kind.FILE, 1, 2, 0o600, 1, 10, 99)
                )
            },
        )
        write_state(directory, state)
        assert read_state(directory) == state
    assert json.loads((tmp_path / NAME.decode()).read_text())["schema"] == SCHEMA


def test_what_is_gone_is_forgotten_after_a_year():
    records = {
        path: Record(Decision.ACCEPT, when, PRINT)
        for path, when in ((b"/here", 0), (b"/gone", 0), (b"/new", NOW))
    }
    state = State(ROOT, records).without_old([b"/here"], REMEMBERED + 1)
    assert set(state.records) == {b"/here", b"/new"}


def test_the_directory_is_the_one_that_saving_uses():
    assert PRIVATE == DIRECTORY_NAME


@contextmanager
def reviewing(store, *, write=True, said=None):
    place = Destination(b"/persist", os.fsencode(store), False)
    say = (lambda _: None) if said is None else said.append
    with open_reviewed(place, ROOT, say, write=write) as record:
        yield record


def names(store):
    return sorted(name for name in os.listdir(store / ".drift"))


def test_a_decision_is_kept_where_root_alone_can_read_it(tmp_path):
    with reviewing(tmp_path) as record:
        assert record.state == State()
        record.decide({b"/foo": Record(Decision.ACCEPT, NOW, PRINT)})
        with reviewing(tmp_path, write=False) as other:
            assert other.state == State(ROOT, {b"/foo": Record(Decision.ACCEPT, NOW, PRINT)})
    assert (tmp_path / ".drift").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".drift/reviewed.json").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["review.lock", "reviewed.json"]


def test_looking_writes_nothing(tmp_path):
    with reviewing(tmp_path, write=False) as record:
        assert record.state == State()
    assert os.listdir(tmp_path) == []


def test_two_reviews_at_once_are_refused(tmp_path):
    with reviewing(tmp_path), pytest.raises(DriftError) as caught, reviewing(tmp_path):
        pass
    assert caught.value.message == "another drift review writes to /persist"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"schema": 1}',
        b'{"schema": "drift.saved/1"}',
        b'{"schema": "drift.reviewed/2", "last": null, "entries": [{"path": "/x"}]}',
        b'{"schema": "drift.reviewed/2", "last": null}',
        b'{"schema": "drift.reviewed/1", "entries": {"/x": [1]}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_set_aside_and_counts_as_none(tmp_path, data):
    (tmp_path / ".drift").mkdir(mode=0o700)
    (tmp_path / ".drift/reviewed.json").write_bytes(data)
    said = []
    with reviewing(tmp_path, write=False, said=said) as record:
        assert record.state == State()
    assert said == [
        "what was reviewed can't be read: the file is damaged, so everything counts as new"
    ]
    assert names(tmp_path) == ["reviewed.json"]
    for count in (1, 2):
        (tmp_path / ".drift/reviewed.json").write_bytes(data)
        with reviewing(tmp_path, said=said) as record:
            assert record.state == State()
        (name, *_), last = [one for one in names(tmp_path) if "damaged" in one], said[-1]
        assert (tmp_path / ".drift" / name).read_bytes() == data
        assert last.startswith("what was reviewed can't be read: the file is damaged; it is kept")
        assert len(names(tmp_path)) == 1 + count
        assert "reviewed.json" not in names(tmp_path)


@given(st.binary(max_size=40), st.integers(0, 400))
def test_no_damage_raises_anything_but_a_sentence(tmp_path_factory, junk, place):
    directory = tmp_path_factory.getbasetemp()
    with opened(directory) as fd:
        write_state(fd, State(ROOT, {b"/foo": Record(Decision.ACCEPT, NOW, PRINT)}))
        file = directory / NAME.decode()
        data = file.read_bytes()
        file.write_bytes(data[:place] + junk + data[place + len(junk) :])
        with suppress(DriftError):
            assert isinstance(read_state(fd), State)


def test_a_record_of_a_newer_drift_is_left_alone(tmp_path):
    (tmp_path / ".drift").mkdir(mode=0o700)
    (tmp_path / ".drift/reviewed.json").write_text('{"schema": "drift.reviewed/3"}')
    with pytest.raises(DriftError) as caught, reviewing(tmp_path):
        pass
    assert "drift.reviewed/3" in caught.value.message
    assert caught.value.hint == "it was written by a newer version of drift; use that one"
    assert (tmp_path / ".drift/reviewed.json").read_text() == '{"schema": "drift.reviewed/3"}'


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DriftError) as caught, reviewing(tmp_path / "missing"):
        pass
    assert caught.value.message == "there is no persistent storage at /persist"
