"""`drift verify`: what was saved against what is in the store and in place."""

import os

import pytest
from save_lab import ORIGIN, opened_tree, run_save

from drift.btrfs.subvolumes import Subvolume
from drift.model import Kind
from drift.old_roots import old_roots
from drift.render.verify_text import render
from drift.saving.manifest import Manifest, Origin, open_private, read_manifest
from drift.system.declared import Declaration, State
from drift.verify import Standing, verify

LATER = Origin(b"\x02" * 16, "another boot")


@pytest.fixture
def root(tmp_path):
    """A live root with its store below it, from which /state is saved."""
    live = tmp_path / "live"
    (live / "persist").mkdir(parents=True)
    (live / "state").mkdir(mode=0o750)
    (live / "state/db").write_bytes(b"data")
    (live / "state/log").write_bytes(b"line\n")
    run_save(live, live / "persist", [b"/state"])
    return live


def check(root, origin=LATER, declarations=(), search=lambda _: ()):
    with opened_tree(root / "persist") as store:
        manifest = Manifest()
        try:
            private = open_private(store.top, make=False)
        except FileNotFoundError:
            pass
        else:
            manifest = read_manifest(private)
            os.close(private)
        live = os.fsencode(root)
        return verify(manifest, store, b"/persist", live, origin, declarations, search)


def reboot(root):
    """The root is new, and the store is linked to where it was saved from."""
    for name in ("db", "log"):
        (root / "state" / name).unlink()
    (root / "state").rmdir()
    (root / "state").symlink_to("/persist/state")


def only(result):
    (one,) = result.checks
    return str(one.standing), [(detail.path, detail.why) for detail in one.details]


def test_before_the_reboot_it_waits(root):
    assert only(check(root, ORIGIN)) == (Standing.WAITING, [])


def test_after_the_reboot_it_is_back(root):
    reboot(root)
    result = check(root)
    assert only(result) == (Standing.BACK, [])
    assert not result.at_stake


def test_after_the_reboot_it_has_to_be_in_place(root):
    result = check(root)
    assert only(result) == (Standing.NOT_IN_PLACE, [])
    assert result.at_stake


def test_what_its_service_changed_since_is_no_problem(root):
    reboot(root)
    (root / "persist/state/log").write_bytes(b"line\nline\n")
    result = check(root)
    assert only(result) == (Standing.CHANGED, [])
    assert not result.at_stake


def test_what_changed_before_anything_could_use_it_is_a_problem(root):
    (root / "persist/state/log").write_bytes(b"line\nline\n")
    assert only(check(root, ORIGIN)) == (
        Standing.DAMAGED,
        [(b"/state/log", "its content differs")],
    )


def test_other_content_with_the_same_time_is_damage(root):
    reboot(root)
    before = os.stat(root / "persist/state/db")
    (root / "persist/state/db").write_bytes(b"dat?")
    os.utime(root / "persist/state/db", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert only(check(root)) == (Standing.DAMAGED, [(b"/state/db", "its content differs")])


def test_another_owner_or_mode_is_a_problem(root):
    reboot(root)
    (root / "persist/state").chmod(0o755)
    result = check(root)
    assert only(result) == (
        Standing.OTHER_OWNER,
        [(b"/state", "its mode is 0755, not 0750")],
    )
    assert result.at_stake


def test_what_is_missing_is_looked_for_elsewhere(root):
    reboot(root)
    (root / "persist/state/db").unlink()
    (root / "persist/state.before-20240101-000000").mkdir()
    result = check(root, search=lambda path: [f"{path.decode()} in the old root old_roots/1"])
    assert only(result) == (Standing.MISSING, [(b"/state/db", "missing")])
    assert render(result, b"/persist") == (
        "/state: missing\n"
        "    /state/db: missing\n"
        "    still at /state.before-20240101-000000 in the store\n"
        "    still at /state in the old root old_roots/1\n"
        "    drift lost --restore brings it back from an old root\n"
        "\n"
        "1 entry missing\n"
    )


def test_users_of_the_moment_are_no_other_owners(tmp_path):
    if os.geteuid():
        pytest.skip("needs root")
    live = tmp_path / "live"
    (live / "persist").mkdir(parents=True)
    state = live / "var/lib/private/app"
    state.mkdir(parents=True)
    os.chown(state, 63105, 63105)
    run_save(live, live / "persist", [b"/var/lib/private/app"])
    os.chown(live / "persist/var/lib/private/app", 61200, 61200)
    state.rmdir()
    state.symlink_to("/persist/var/lib/private/app")
    assert only(check(live)) == (Standing.BACK, [])


def declared(path):
    return Declaration(
        path, b"/persist", Kind.DIRECTORY, State.ACTIVE, "impermanence", b"/persist" + path
    )


def test_declared_and_never_saved_is_told_where_nothing_was_saved(tmp_path):
    live = tmp_path / "live"
    (live / "persist/empty").mkdir(parents=True)
    (live / "persist/full").mkdir()
    (live / "persist/full/file").touch()
    result = check(live, declarations=[declared(b"/empty"), declared(b"/full")])
    assert [(one.path, one.standing) for one in result.checks] == [(b"/empty", Standing.EMPTY)]


def test_declared_and_empty_is_told_where_an_old_root_has_it(root):
    reboot(root)
    (root / "persist/empty").mkdir()
    (root / "persist/lost").mkdir()
    result = check(
        root,
        declarations=[declared(b"/empty"), declared(b"/lost")],
        search=lambda path: ["somewhere"] if path == b"/lost" else [],
    )
    assert [(one.path, one.standing) for one in result.checks] == [
        (b"/lost", Standing.EMPTY),
        (b"/state", Standing.BACK),
    ]


def test_nothing_saved_and_nothing_declared_is_said(tmp_path):
    (tmp_path / "persist").mkdir()
    assert render(check(tmp_path), b"/persist") == (
        "Nothing was saved into /persist, and nothing declared is empty.\n"
    )


# --- old roots


def subvolume(number, path, generation=10, parent=bytes(16)):
    return Subvolume(
        id=number,
        parent_id=5,
        directory=256,
        path=path,
        uuid=bytes([number - 200]) * 16,
        parent_uuid=parent,
        generation=generation,
        otransid=5,
        otime=0.0,
        read_only=False,
    )


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ([b"old_roots/2025-01-31_08:00:00", b"home"], [b"old_roots/2025-01-31_08:00:00"]),
        ([b"@old_roots/1", b"@old_roots/2"], [b"@old_roots/2", b"@old_roots/1"]),
        ([b"old_roots", b"old_roots/1"], [b"old_roots/1"]),
        ([b"old_roots/1", b"old_roots/1/var/lib/machines"], [b"old_roots/1"]),
        ([b"root-old", b"old-root"], [b"old-root"]),
        ([b"home", b"persist", b"root-blank", b"old_roots/blank"], []),
        ([b"root/srv", b"drift-save-snapshot-256"], []),
    ],
    ids=["guide", "at", "container", "nested", "one", "others", "own"],
)
def test_old_roots_are_known_by_name(paths, found):
    live = subvolume(256, b"root")
    others = [subvolume(300 + n, path, 20 + n) for n, path in enumerate(paths)]
    subvolumes = {one.id: one for one in (live, *others)}
    assert [one.path for one in old_roots(live, subvolumes)] == found


def test_snapshots_are_old_roots_if_they_are_of_the_root():
    live = subvolume(256, b"root")
    mine = subvolume(300, b"snapshots/root-2025-01-31", parent=live.uuid)
    other = subvolume(301, b".snapshots/3/snapshot", parent=bytes(16))
    gone = subvolume(302, b".snapshots/4/snapshot", 30, parent=b"\xee" * 16)
    subvolumes = {one.id: one for one in (live, mine, other, gone)}
    assert [one.path for one in old_roots(live, subvolumes)] == [
        b".snapshots/4/snapshot",
        b"snapshots/root-2025-01-31",
    ]
