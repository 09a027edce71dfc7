"""`drift review` for people and for programs, compared as whole texts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from suggest_lab import DAY, NOW, FakeAccounts, entry
from test_scan_text import NOTHING

from drift.model import Kind, Severity, Skipped, Status, Verdict
from drift.render.review_json import render as render_json
from drift.render.review_text import details, reason, render, subject
from drift.render.scan_text import Style
from drift.report import Group
from drift.review import Change, Standing, review
from drift.reviewing.fingerprint import Fingerprint
from drift.reviewing.state import Decision, Record, Reviewed, State

LAST = Reviewed(b"\x01" * 16, 12, NOW - 3 * DAY)
PRINT = Fingerprint(Kind.FILE, 0, 0, 0o600, 1, 10, NOW)

KEY = entry(
    b"/etc/ssh/key",
    Kind.FILE,
    bytes=411,
    severity=Severity.CRITICAL,
    why="the keys that prove who this machine is",
    service="openssh",
    title="SSH server",
    advice="keep it",
)
FOO = entry(b"/var/lib/foo", verdict=Verdict.REVIEW, files=3, status=Status.MODIFIED)
BAR = entry(b"/opt/bar\n", Kind.FILE, Verdict.REVIEW, files=1, status=Status.RENAMED)
WAITING = entry(
    b"/var/x", verdict=Verdict.KEPT, why="declared, not active yet", severity=Severity.LOW
)
GROUPS = [
    Group("openssh", "SSH server", Verdict.PERSIST, Severity.CRITICAL, [KEY]),
    Group("unrecognised", "Not recognised", Verdict.REVIEW, Severity.NORMAL, [BAR, FOO]),
]


def told(records=None, *, last=LAST, groups=GROUPS, uuid=LAST.uuid, **values):
    prints = {one.path: PRINT for group in groups for one in group.entries}
    return review(groups, prints, State(last, records or {}), uuid, **values)


def text(*args, **values):
    return render(told(*args, **values), NOW, Style(60))


def test_the_first_review_shows_all():
    assert (
        text(last=None)
        == """\
Never reviewed before: 3 files and directories at stake.

    SERVICE       VERDICT      FILES    SIZE     AGE
    openssh       persist          1   411 B  2 days
AD  /etc/ssh/key
        the keys that prove who this machine is
    unrecognised  review           4  2.0 kB  2 days
AD  /opt/bar\\n (renamed)
        not recognised
AM  /var/lib/foo/
        not recognised

1st column, since the last review: A new
2nd column, at the next reboot: D lost, M put back to what the blank has
"""
    )


RECORDS = {
    b"/etc/ssh/key": Record(Decision.PERSIST, NOW, PRINT),
    b"/var/lib/foo": Record(Decision.ACCEPT, NOW, PRINT._replace(bytes=9, mode=0)),
    b"/opt/bar\n": Record(Decision.ACCEPT, NOW, PRINT),
}


def test_later_ones_show_what_has_changed_and_remind_of_what_is_to_be_persisted():
    assert (
        text(RECORDS, uuid=b"\x02")
        == """\
Last review 3 days ago, at generation 12 of an earlier root: since then 0 new and 1 changed.

    SERVICE       VERDICT      FILES    SIZE     AGE
    unrecognised  review           3  1.0 kB  2 days
MM  /var/lib/foo/
        not recognised
        changed: mode, size

1st column, since the last review: M changed
2nd column, at the next reboot: M put back to what the blank has

Decided to be persisted, but declared nowhere yet, and so lost at the next reboot:
  /etc/ssh/key
"""
    )


def test_everything_shows_what_is_the_same_and_what_is_to_be_saved():
    records = {path: one._replace(fingerprint=PRINT) for path, one in RECORDS.items()}
    assert (
        text(records, groups=GROUPS[:1], pending=[WAITING], everything=True)
        == """\
Last review 3 days ago, at generation 12: nothing at stake is new or changed.

    SERVICE    VERDICT      FILES    SIZE     AGE
    openssh    persist          1   411 B  2 days
 D  /etc/ssh/key
        the keys that prove who this machine is
    persisted  kept             1  1.0 kB  2 days
 K  /var/x/
        declared, not active yet

2nd column, at the next reboot: D lost, K declared, and kept once drift save has copied it

Decided to be persisted, but declared nowhere yet, and so lost at the next reboot:
  /etc/ssh/key
"""
    )


def test_nothing_new_is_one_line():
    last = replace_when(LAST, NOW)
    assert text({}, groups=[], last=last) == (
        "Last review just now, at generation 12: nothing at stake is new or changed.\n"
    )


def replace_when(reviewed, when):
    return reviewed._replace(when=when)


def test_a_service_is_painted_by_its_severity():
    painted = render(told(), NOW, Style(60, lambda text, word: f"<{word} {text}>"))
    assert "    <critical openssh>       persist" in painted


def test_a_question_shows_whose_it_is_how_much_and_why():
    standing = Standing(Change.CHANGED, ("content",), Decision.ACCEPT)
    assert subject(KEY, standing, 40) == "MD  /etc/ssh/key"
    assert (
        reason(KEY, standing, NOW, 60)
        == """\
        openssh, SSH server: persist (critical)
        1 file, 411 B, age: 2 days
        the keys that prove who this machine is
        changed: content"""
    )


def test_details_name_the_owner_the_rule_and_what_lies_in_it():
    accounts = FakeAccounts()
    assert (
        details(KEY, accounts, [], NOW, 60, more=False)
        == """\
        file, root:root 0644
        decided by rules/key.toml:5, for /etc/ssh/key
        advice: keep it"""
    )
    below = [(b"/var/lib/foo/a", 5, NOW), (b"/var/lib/foo/b\n", 2000, NOW - DAY)]
    assert (
        details(FOO, accounts, below, NOW, 60, more=True)
        == """\
        directory, root:root 0755, the blank has one too
        decided by rules/foo.toml:5, for /var/lib/foo
           5 B    now  /var/lib/foo/a
        2.0 kB  1 day  /var/lib/foo/b\\n
        and more"""
    )


def test_json_is_the_scan_of_what_is_shown_with_the_two_columns():
    report = replace(NOTHING, groups=GROUPS, skipped=[Skipped(b"/x", "no")])
    made = json.loads(render_json(told(RECORDS, everything=True), report, b"/persist"))
    scanned = made["groups"][1]["entries"][1]
    assert scanned == {
        "path": "/var/lib/foo",
        "kind": "directory",
        "status": "M",
        "verdict": "review",
        "why": "not recognised",
        "rule": "rules/foo.toml:5",
        "files": 3,
        "bytes": 1000,
        "newest": (NOW - 2 * DAY) / 10**9,
        "uid": 0,
        "gid": 0,
        "mode": "0755",
        "change": "M",
        "fate": "M",
        "differs": ["mode", "size"],
        "decision": "accept",
    }
    assert made | {"groups": None} == {
        "schema": "drift.review/1",
        "live": {"path": "/", "subvolume": "root", "id": 256, "generation": 20},
        "store": "/persist",
        "last": {"generation": 12, "when": LAST.when / 10**9, "same_root": True},
        "counts": {"new": 0, "changed": 1, "same": 2},
        "groups": None,
        "to_persist": ["/etc/ssh/key"],
        "skipped": [{"path": "/x", "reason": "no"}],
    }
    first = json.loads(render_json(told(last=None), report, b"/persist"))
    assert (first["last"], first["counts"]["new"]) == (None, 3)
    assert first["groups"][0]["entries"][0]["decision"] is None


def test_no_hash_of_a_content_is_shown():
    prints = {KEY.path: PRINT._replace(content="ab12cd34")}
    state = State(LAST, {KEY.path: Record(Decision.ACCEPT, NOW, PRINT._replace(content="ee55"))})
    compared = review(GROUPS[:1], prints, state, b"")
    report = replace(NOTHING, groups=GROUPS[:1])
    shown = render(compared, NOW, Style(60)) + render_json(compared, report, b"/persist")
    assert "changed: content" in shown
    assert "ab12cd34" not in shown
    assert "ee55" not in shown


@given(st.binary(min_size=1, max_size=60), st.text(max_size=40), st.integers(60, 120))
def test_no_name_or_reason_reaches_the_terminal_raw(name, why, width):
    one = entry(b"/" + name, Kind.FILE, Verdict.REVIEW, why=why, service=why or "x")
    group = Group(why or "x", "", Verdict.REVIEW, Severity.LOW, [one])
    compared = told({}, groups=[group])
    lines = render(compared, NOW, Style(width)).split("\n")
    below = [(one.path, 1, NOW)]
    lines += details(one, FakeAccounts(), below, NOW, width, more=False).split("\n")
    lines += reason(one, Standing(Change.NEW), NOW, width).split("\n")
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_long_paths_are_cut_in_the_middle(width):
    one = entry(b"/" + b"x" * 200 + b"/end", Kind.FILE, Verdict.REVIEW)
    line = subject(one, Standing(Change.NEW), width)
    assert len(line) == width
    assert line.startswith("AD  /xxx")
    assert line.endswith("/end")
