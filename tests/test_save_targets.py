"""Which paths a save takes, and into which store."""

from types import SimpleNamespace

import pytest
from suggest_lab import DAY, entry, file, suggestion

from drift.errors import UsageError
from drift.model import Kind
from drift.saving.targets import rooted, suggested
from drift.system.declared import Declaration, State


def scan(*pending, declarations=()):
    return SimpleNamespace(pending=pending, declarations=declarations)


def declared(path, store=b"/persist"):
    return Declaration(path, store, Kind.DIRECTORY, State.PENDING, "impermanence", store + path)


def test_all_that_is_suggested_goes_to_the_store_of_the_suggestion():
    made = suggestion(
        entry(b"/var/lib/app"),
        file(b"/etc/machine-id"),
        entry(b"/home/alice/.ssh", uid=1000, gid=100, mode=0o700),
        file(b"/home/alice/notes", uid=1000, gid=100),
    )
    assert {store: sorted(paths) for store, paths in suggested(scan(), made).items()} == {
        b"/persist": [
            b"/etc/machine-id",
            b"/home/alice/.ssh",
            b"/home/alice/notes",
            b"/var/lib/app",
        ]
    }


def test_what_is_declared_and_on_the_root_alone_is_saved_where_it_is_declared():
    """The module is about to mount an empty directory over it."""
    waiting = entry(b"/var/lib/app", newest=DAY)
    found = scan(
        waiting, declarations=[declared(b"/var/lib/app", b"/state"), declared(b"/var/lib/b")]
    )
    assert suggested(found, suggestion()) == {b"/state": [b"/var/lib/app"]}


def test_a_store_is_not_saved_into_itself():
    made = suggestion(entry(b"/persist/old"), entry(b"/var/lib/app"))
    assert suggested(scan(), made) == {b"/persist": [b"/var/lib/app"]}


@pytest.mark.parametrize(
    ("path", "live", "expected"),
    [
        (b"/etc/x", b"/", b"/etc/x"),
        (b"/etc//x/../y/", b"/", b"/etc/y"),
        (b"/mnt/etc/x", b"/mnt", b"/etc/x"),
        (b"/etc/x", b"/mnt", b"/etc/x"),
        (b"//etc/x", b"/", b"/etc/x"),
    ],
)
def test_paths_are_those_of_the_live_root(path, live, expected):
    assert rooted([path], live) == [expected]


@pytest.mark.parametrize(("path", "live"), [(b"/", b"/"), (b"/..", b"/"), (b"/mnt", b"/mnt")])
def test_the_whole_root_is_not_saved(path, live):
    with pytest.raises(UsageError):
        rooted([path], live)
