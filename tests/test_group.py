"""Entries by service: a partition, the most severe first."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.group import SINGLES, complete, group
from drift.model import Kind, Severity, Status, Verdict
from drift.report import Entry, Finding

HOMES = (b"/home/alice", b"/root")


def entry(path, service="x", verdict=Verdict.PERSIST, severity=Severity.NORMAL, **values):
    finding = Finding(service, service.title(), verdict, severity, "why", "rule", path)
    values = {"files": 1, "bytes": 10, "newest": 5, "changes": 1} | values
    return Entry(path, Kind.FILE, Status.ADDED, finding, **values)


def unknown(path, service="unrecognised", **values):
    return entry(path, service, Verdict.REVIEW, **values)


def told(groups):
    return [
        (one.service, one.verdict.value, one.severity.value, [entry.path for entry in one.entries])
        for one in groups
    ]


def test_groups_come_by_severity_verdict_and_service():
    groups = group(
        [
            entry(b"/low", "a", severity=Severity.LOW),
            entry(b"/b", "b"),
            entry(b"/cache", "b", Verdict.EPHEMERAL),
            entry(b"/c", "C", severity=Severity.HIGH),
            unknown(b"/new"),
            entry(b"/a", "A"),
        ],
        HOMES,
    )
    assert told(groups) == [
        ("C", "persist", "high", [b"/c"]),
        ("A", "persist", "normal", [b"/a"]),
        ("b", "persist", "normal", [b"/b"]),
        ("unrecognised", "review", "normal", [b"/new"]),
        ("b", "ephemeral", "normal", [b"/cache"]),
        ("a", "persist", "low", [b"/low"]),
    ]


def test_a_group_is_as_severe_as_its_worst_entry_which_comes_first():
    (one,) = group(
        [
            entry(b"/a", severity=Severity.LOW),
            entry(b"/b-", severity=Severity.CRITICAL),
            entry(b"/b/c", severity=Severity.CRITICAL),
        ],
        HOMES,
    )
    assert told([one]) == [("x", "persist", "critical", [b"/b/c", b"/b-", b"/a"])]
    assert (one.files, one.bytes, one.newest) == (3, 30, 5)


def test_many_unrecognised_entries_of_one_directory_are_one():
    singles = [unknown(b"/opt/app/%03d" % number, newest=number) for number in range(SINGLES + 1)]
    others = [unknown(b"/opt/app/theirs", "git"), unknown(b"/opt/other/one")]
    groups = group([*singles, *others], HOMES)
    assert told(groups) == [
        ("git", "review", "normal", [b"/opt/app/theirs"]),
        ("unrecognised", "review", "normal", [b"/opt/app", b"/opt/other/one"]),
    ]
    merged = groups[1].entries[0]
    assert (merged.kind, merged.status, merged.files, merged.bytes, merged.newest) == (
        Kind.DIRECTORY,
        Status.MODIFIED,
        SINGLES + 1,
        10 * (SINGLES + 1),
        SINGLES,
    )
    assert merged.finding.why == f"{SINGLES + 1} entries, why"
    assert merged.finding.anchor == b"/opt/app"


@pytest.mark.parametrize("directory", [b"/etc", b"/home/alice/.config", b"/var/lib", b"/root"])
def test_entries_of_a_shared_directory_stay_apart(directory):
    singles = [unknown(b"%s/%03d" % (directory, number)) for number in range(SINGLES + 5)]
    (one,) = group(singles, HOMES)
    assert len(one.entries) == SINGLES + 5


def test_the_one_file_of_an_unrecognised_directory_is_named():
    (one,) = group([unknown(b"/opt/new", sole=b"/opt/new/a\n/file")], HOMES)
    assert one.entries[0].finding.why == "why: holds only /opt/new/a\\n/file"


@pytest.mark.parametrize(
    "plain",
    [
        unknown(b"/opt/new", sole=b"/opt/new"),
        unknown(b"/opt/new"),
        entry(b"/opt/x", sole=b"/opt/x/y"),
    ],
    ids=["itself", "many", "known"],
)
def test_nothing_is_said_of_a_file_where_it_tells_nothing(plain):
    (one,) = group([plain], HOMES)
    assert one.entries == [plain]


def test_completing_asks_only_for_what_did_not_change_itself():
    seen = entry(b"/seen", seen=True, mode=0o600)
    unseen, gone = entry(b"/unseen"), entry(b"/gone")
    before = replace(gone)
    complete(
        [seen, unseen, gone],
        lambda path: (Kind.DIRECTORY, 1, 2, 0o750) if path == b"/unseen" else None,
    )
    assert (unseen.kind, unseen.uid, unseen.gid, unseen.mode) == (Kind.DIRECTORY, 1, 2, 0o750)
    assert (seen.mode, gone) == (0o600, before)


PATHS = st.lists(
    st.sampled_from([b"etc", b"opt", b"a", b"b", b"\xff"]), min_size=1, max_size=4
).map(lambda parts: b"/" + b"/".join(parts))
ENTRIES = st.builds(
    entry,
    PATHS,
    st.sampled_from(["one", "two", "Two"]),
    st.sampled_from(Verdict),
    st.sampled_from(Severity),
    files=st.integers(0, 9),
    bytes=st.integers(0, 999),
    changes=st.integers(1, 9),
    newest=st.integers(0, 9),
)


@settings(max_examples=200)
@given(st.lists(ENTRIES, max_size=60), st.randoms())
def test_groups_partition_the_entries_in_whatever_order_they_come(entries, chance):
    groups = group([replace(one) for one in entries], HOMES)
    for key in ("files", "bytes", "changes"):
        assert sum(getattr(e, key) for one in groups for e in one.entries) == sum(
            getattr(e, key) for e in entries
        )
    keys = [(one.service, one.verdict) for one in groups]
    assert (
        len(keys)
        == len(set(keys))
        == len({(e.finding.service, e.finding.verdict) for e in entries})
    )
    for one in groups:
        assert {(e.finding.service, e.finding.verdict) for e in one.entries} == {
            (one.service, one.verdict)
        }
    chance.shuffle(entries)
    assert told(group(entries, HOMES)) == told(groups)
