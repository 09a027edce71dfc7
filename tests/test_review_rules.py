"""Rules that reviews write: their dates, their expiry, their place, and the text that is written."""

import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.errors import DriftError, UsageError
from drift.model import Kind, Verdict
from drift.reviewing.rules import FILE, expired_notes, with_reviewed
from drift.reviewing.ruling import Ignored, until, why_not_ruled, with_rule, write_rule
from drift.rulebook import Layer, RuleBook, RuleFilesError
from drift.rulebook.loading import load_cached
from drift.rulebook.reading import read_rules

RULE = '[[rule]]\ndirectory = "{}"\nverdict = "ephemeral"\nwhy = "x"\n'
PROJECT = Path(__file__).parents[1]
TODAY = date(2026, 11, 22)


def faults(line):
    text = 'service = "x"\n' + RULE.format("/x") + line
    return [str(fault) for fault in read_rules(text.encode(), "f.toml", Layer.GIVEN)[1]]


@pytest.mark.parametrize("value", ["2027-01-31", '"2027-01-31"'])
def test_a_rule_may_carry_dates(tmp_path, value):
    file = tmp_path / "x.toml"
    text = 'service = "x"\n' + RULE.format("/x")
    file.write_text(text + f"reviewed = {value}\nexpires = {value.replace('2027', '2999')}\n")
    (rule,) = load_cached([(Layer.GIVEN, file)], None).rules
    assert (rule.reviewed, rule.expires) == ("2027-01-31", "2999-01-31")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "expires = '31.1.2027'",
            "expires: '31.1.2027' is no date (write it as in \"2027-01-31\")",
        ),
        ("expires = '20270131'", "expires: '20270131' is no date (write it as in \"2027-01-31\")"),
        ("expires = '2027-02-30'", "expires: '2027-02-30' is no date (write it as in"),
        ("reviewed = 2027", "reviewed: must be a string, not a number"),
        ("reviewed = 2027-01-31T10:00:00", "reviewed: must be a string, not a date or time"),
    ],
)
def test_what_is_no_date_is_a_fault(line, fault):
    (found,) = faults(line)
    assert found.startswith(f"f.toml:6: {fault}")


@pytest.fixture
def aging(tmp_path, monkeypatch):
    """Rules of which one expires, loaded through a cache on any date."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.toml").write_text(
        'service = "a"\n'
        + RULE.format("/a/b")
        + 'expires = "2027-01-31"\n'
        + RULE.format("/a").replace("ephemeral", "persist")
    )
    cache = tmp_path / "run" / "drift"
    cache.parent.mkdir()
    time.sleep(0.12)

    def on(day, layer):
        with monkeypatch.context() as patched:
            patched.setattr("drift.rulebook.loading.time.strftime", lambda _: day)
            return load_cached([(layer, rules)], cache)

    return on


@pytest.mark.parametrize("layer", [Layer.SYSTEM, Layer.GIVEN], ids=["cached", "given"])
def test_a_rule_decides_until_it_expires_whenever_it_was_compiled(aging, layer):
    def decided(book):
        return book.decide(b"/a/b/c", Kind.FILE).rule.verdict

    for _ in range(2):
        before, after = aging("2027-01-30", layer), aging("2027-01-31", layer)
        assert (decided(before), before.expired) == (Verdict.EPHEMERAL, ())
        assert decided(after) is Verdict.PERSIST
        assert [rule.pattern for rule in after.rules] == ["/a"]
        (expired,) = after.expired
        assert expired_notes([expired]) == (
            f"the rule {expired.origin} expired on 2027-01-31 and no longer decides about /a/b",
        )


def test_a_book_keeps_its_expired_rules_when_more_are_added(aging):
    book = aging("2030-01-01", Layer.SYSTEM)
    assert book.with_rules([]).expired == book.expired != ()


def test_checking_a_file_says_which_of_its_rules_have_expired(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('service = "x"\n' + RULE.format("/x") + 'expires = "2020-01-31"\n')
    done = subprocess.run(
        [sys.executable, "-m", "drift", "rules", "check", str(file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 file, 1 rule: no fault\n"
    assert done.stderr == (
        f"drift: the rule {file}:2 expired on 2020-01-31 and no longer decides about /x\n"
    )


def reviewed_book(root):
    return with_reviewed(RuleBook(), bytes(root), [b"/persist"])


@pytest.fixture
def store(tmp_path):
    directory = tmp_path / "persist/.drift/rules.d"
    directory.mkdir(parents=True, mode=0o700)
    (tmp_path / "persist/.drift").chmod(0o700)
    return tmp_path / "persist"


def test_the_rules_in_the_store_are_read_as_the_systems(tmp_path, store):
    assert reviewed_book(tmp_path).rules == ()
    file = store / FILE.decode()
    write_rule(bytes(file), Ignored(b"/var/x", Kind.FILE, "scratch", "2026-11-22"))
    (rule,) = reviewed_book(tmp_path).rules
    assert (rule.pattern, rule.layer, rule.origin) == ("/var/x", Layer.SYSTEM, f"{file}:4")
    assert reviewed_book(tmp_path).decide(b"/var/x", Kind.FILE).rule is not None


@pytest.mark.parametrize("directory", [".drift", ".drift/rules.d"])
def test_rules_that_others_could_have_written_are_not_read(tmp_path, store, directory):
    write_rule(bytes(store / FILE.decode()), Ignored(b"/x", Kind.FILE, "x", "2026-11-22"))
    (store / directory).chmod(0o777)
    assert reviewed_book(tmp_path).rules == ()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("", None),
        (" 30d ", date(2026, 12, 22)),
        ("2w", date(2026, 12, 6)),
        ("6m", date(2027, 5, 21)),
        ("1y", date(2027, 11, 22)),
        ("2027-01-31", date(2027, 1, 31)),
    ],
)
def test_an_expiry_is_a_time_from_now_or_a_date(text, day):
    assert until(text, TODAY) == day


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "soon is no date"),
        ("30", "30 is no date"),
        ("99999y", "99999y is no date"),
        ("0d", "2026-11-22 is not in the future"),
        ("2026-11-22", "2026-11-22 is not in the future"),
    ],
)
def test_no_other_expiry_is_taken(text, message):
    with pytest.raises(UsageError) as caught:
        until(text, TODAY)
    assert caught.value.message == message


FIRST = """\
service = "reviewed"
title   = "Decided in drift review"

[[rule]]
directory = "/var/lib/foo"
verdict   = "ephemeral"
severity  = "low"
why       = "a \\"test\\" of \\\\n"
reviewed  = "2026-11-22"
expires   = "2027-01-31"
"""


def test_a_new_file_has_a_head_and_one_rule(tmp_path):
    file = tmp_path / "rules.toml"
    ignored = Ignored(
        b"/var/lib/foo", Kind.SUBVOLUME, 'a "test" of \\n', "2026-11-22", "2027-01-31"
    )
    write_rule(bytes(file), ignored)
    assert file.read_text() == FIRST
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_rule_is_added_after_what_the_user_wrote(tmp_path):
    file = tmp_path / "rules.toml"
    mine = 'service = "mine"  # mine\n\n' + RULE.format("/mine") + "\n# the end\n"
    file.write_text(mine)
    write_rule(bytes(file), Ignored(b"/etc/x y", Kind.SYMLINK, "old", "2026-11-22"))
    assert file.read_text() == mine + (
        '\n[[rule]]\nfile      = "/etc/x y"\nverdict   = "ephemeral"\nseverity  = "low"\n'
        'why       = "old"\nreviewed  = "2026-11-22"\n'
    )
    assert [one.name for one in tmp_path.iterdir()] == ["rules.toml"]


def test_the_same_path_decided_anew_replaces_its_rule_and_no_comment():
    text = FIRST + "\n# of the next\n" + RULE.format("/other")
    changed = with_rule(
        text.encode(), "f", Ignored(b"/var/lib/foo", Kind.DIRECTORY, "again", "2027-02-01")
    ).decode()
    assert changed == (
        'service = "reviewed"\ntitle   = "Decided in drift review"\n\n\n# of the next\n'
        + RULE.format("/other")
        + '\n[[rule]]\ndirectory = "/var/lib/foo"\nverdict   = "ephemeral"\nseverity  = "low"\n'
        'why       = "again"\nreviewed  = "2027-02-01"\n'
    )


def test_a_faulty_file_is_left_as_it_is(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text("nonsense\n")
    with pytest.raises(RuleFilesError):
        write_rule(bytes(file), Ignored(b"/x", Kind.FILE, "x", "2026-11-22"))
    assert file.read_text() == "nonsense\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    for place in (tmp_path, tmp_path / "no/such/rules.toml"):
        with pytest.raises(DriftError) as caught:
            write_rule(bytes(place), Ignored(b"/x", Kind.FILE, "x", "2026-11-22"))
        assert str(place) in caught.value.message


names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
)


@given(
    st.lists(names, min_size=1, max_size=4),
    st.sampled_from(list(Kind)),
    st.text(min_size=1).filter(str.strip),
)
def test_what_is_written_rules_just_that_path_or_is_refused_before(parts, kind, why):
    path = b"/" + b"/".join(parts)
    if why_not_ruled(path) is not None:
        assert b"*" in path or b"?" in path or not _is_text(path)
        return
    text = with_rule(FIRST.encode(), "f", Ignored(path, kind, why, "2026-11-22"))
    rows, found = read_rules(text, "f", Layer.GIVEN)
    assert found == []
    decision = RuleBook(rows).decide(path, kind)
    assert decision is not None
    assert decision.anchor == path
    assert RuleBook(rows).decide(path + b"2", kind) is None


def _is_text(path):
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
