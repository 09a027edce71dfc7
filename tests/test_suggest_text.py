"""`drift suggest` for people, compared as whole texts."""

from hypothesis import given, settings
from hypothesis import strategies as st
from test_scan_text import entry

from drift.model import Kind, Verdict
from drift.render.suggest_text import WIDTH, notes, render
from drift.suggestion import (
    Advice,
    Owner,
    SuggestedDirectory,
    SuggestedFile,
    Suggestion,
    UserSuggestion,
)

ROOT = Owner("root", "root", 0o755)


def directory(path, owner=ROOT, *, title="A service", why="its state"):
    return SuggestedDirectory(path, owner, "service", title, why, 1, 1)


def file(path, parent=ROOT, *, title="A service", why="its key"):
    return SuggestedFile(path, parent, "auto", "service", title, why, 1, owner=parent)


def suggestion(**values):
    empty = {
        "persist": b"/persist",
        "directories": (),
        "files": (),
        "users": (),
        "review": (),
        "advice": (),
    }
    return Suggestion(**empty | values)


FULL = suggestion(
    directories=(
        directory(b"/var/lib/nixos", why="the numbers of users and groups"),
        directory(b"/var/lib/postgresql", Owner("postgres", "postgres", 0o750)),
    ),
    files=(file(b"/etc/machine-id", Owner("root", "root", 0o700)),),
    users=(
        UserSuggestion(
            "alice",
            b"/home/alice",
            (directory(b".ssh", Owner("alice", "users", 0o700)),),
            (file(b".bash_history\n"),),
            "users",
        ),
    ),
    review=(
        entry(
            b"/opt/scanner",
            "not recognised, and this is a long reason that goes on to the next line of text",
            verdict=Verdict.REVIEW,
            kind=Kind.DIRECTORY,
        ),
    ),
    advice=(Advice(b"/etc/localtime", "declare time.timeZone instead"),),
)


def test_everything():
    assert render(FULL) == (
        """\
To add to environment.persistence."/persist":

directories
  /var/lib/nixos
      A service: the numbers of users and groups
  /var/lib/postgresql  (postgres:postgres 0750)
      A service: its state

files
  /etc/machine-id
      A service: its key

users.alice.directories
  .ssh  (alice:users 0700)
      A service: its state

users.alice.files
  .bash_history\\n
      A service: its key

For you to look at, not suggested (--all does):
  /opt/scanner
      not recognised, and this is a long reason that goes on to the next line of
      text

Mind:
  /etc/localtime
      declare time.timeZone instead
"""
    )


def test_nothing():
    assert render(suggestion(persist=b"/nix/persist")) == (
        'Nothing to add to environment.persistence."/nix/persist".\n'
    )


def test_only_what_is_for_review():
    assert render(suggestion(review=FULL.review)).startswith(
        'Nothing to add to environment.persistence."/persist".\n\nFor you to look at'
    )


def test_notes_give_advice_only_where_the_form_has_no_room_for_it():
    assert notes(FULL, with_advice=True).startswith(
        "\nMind:\n  /etc/localtime\n      declare time.timeZone instead\n\nNext:\n  1. "
    )
    assert notes(FULL, with_advice=False).startswith(
        "\nNext:\n  1. Copy the data into /persist first"
    )
    assert notes(suggestion(), with_advice=True) == ""


TEXTS = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=90)
PATHS = st.binary(max_size=60).map(lambda name: b"/" + name)
OWNERS = st.builds(Owner, TEXTS, TEXTS, st.integers(0, 0o7777))
DIRECTORIES = st.builds(
    lambda *a: directory(*a[:2], title=a[2], why=a[3]), PATHS, OWNERS, TEXTS, TEXTS
)
FILES = st.builds(lambda *a: file(*a[:2], title=a[2], why=a[3]), PATHS, OWNERS, TEXTS, TEXTS)


@settings(max_examples=60, deadline=None)
@given(
    PATHS,
    st.lists(DIRECTORIES, max_size=2),
    st.lists(FILES, max_size=2),
    TEXTS,
    st.lists(st.builds(Advice, PATHS, TEXTS), max_size=2),
    st.lists(st.builds(entry, PATHS, TEXTS, verdict=st.just(Verdict.REVIEW)), max_size=2),
)
def test_no_control_character_of_the_input_is_emitted(
    persist, directories, files, name, advice, review
):
    one = suggestion(
        persist=persist,
        directories=tuple(directories),
        files=tuple(files),
        users=(UserSuggestion(name, b"/home/x", tuple(directories), tuple(files), "users"),),
        review=tuple(review),
        advice=tuple(advice),
    )
    lines = (render(one) + notes(one, with_advice=True)).split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= WIDTH for line in lines if line.startswith("      "))
