"""`drift stale --quarantine`: what moves, what never does, and that nothing is lost whenever it ends."""

import errno
import json
import os
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress

import pytest
from click.testing import CliRunner
from save_lab import run_save, untimed, whole
from stale_lab import declare, listed, make_root, paths, run
from test_save_cuts import CALLS, Cut, memory  # noqa: F401

from drift.cli import cli
from drift.errors import DriftError
from drift.saving import store as stores
from drift.stale import read_stale
from drift.storage import quarantine
from drift.storage.batch import Batch, new_date
from drift.storage.quarantine import Outcome, open_quarantine, taken_dates
from drift.storage.selection import to_quarantine, to_restore

YARD = "/persist/.drift/quarantine"


@pytest.fixture
def root(tmp_path):
    return filled(tmp_path / "live")


def filled(path):
    """A root whose store has something of each kind, declared, named and not."""
    root = make_root(path)
    declare(root, "/var/lib/app", "/home/alice/.ssh", files={"x.conf": "/persist/named/deep\n"})
    root.write("/persist/named/deep/x", "x")
    root.write("/persist/var/lib/app/data", "precious")
    root.write("/persist/home/alice/.ssh/key", "secret", 0o600)
    for name, uid, mode in (("home", 0, 0o711), ("home/alice", 1000, 0o700)):
        at = root.at(f"/persist/{name}")
        os.chown(at, uid, 100 if uid else 0)
        at.chmod(mode)
    root.write("/persist/home/alice/.old/state", "old")
    root.write("/persist/var/lib/gone/a/b", "gone")
    root.at("/persist/var/lib/gone/empty").mkdir()
    os.link(root.at("/persist/var/lib/gone/a/b"), root.at("/persist/var/lib/gone/c"))
    root.link("/persist/link", "/etc/passwd")
    root.write("/persist/new\nline\x1b", "hostile")
    os.mkfifo(root.at("/persist/fifo"))
    return root


NOBODYS = [
    "/persist/fifo",
    "/persist/home/alice/.old",
    "/persist/link",
    "/persist/new\nline\x1b",
    "/persist/var/lib/gone",
]


def batches(root):
    return [(one["date"], paths(one["entries"])) for one in listed(root)["quarantined"]]


def stored(root):
    """All of the store but drift's own."""
    return {
        path: node
        for path, node in untimed(whole(root.at("/persist"))).items()
        if b"/.drift" not in path
    }


def refused(root, *arguments, code=1):
    """Why each named path stays, as the plan says; nothing is moved."""
    before = stored(root)
    done = run(root, "--quarantine", "--yes", *arguments, code=code)
    assert stored(root) == before
    lines = done.stdout.splitlines()
    assert lines[0] == "Left where it is:"
    found: dict[str, str] = {}
    path = ""
    for line in lines[1:]:
        if line.startswith("      "):
            found[path] = f"{found[path]} {line.strip()}".strip()
        else:
            path = line.strip()
            found[path] = ""
    return found


def test_all_that_is_nobodys_moves_and_comes_back(root):
    before, sources = stored(root), listed(root)
    assert paths(sources["undeclared"]) == NOBODYS
    done = run(root, "--quarantine", "--yes")
    [(date, moved)] = batches(root)
    assert f"/persist: 5 paths moved to {YARD}/{date}\n" in done.stdout
    assert moved == [path.removeprefix("/persist") for path in NOBODYS]
    assert listed(root)["undeclared"] == []
    place = root.at(f"{YARD}/{date}")
    assert untimed(whole(place / "var/lib/gone"))
    for path in moved:
        assert os.path.lexists(os.fspath(place) + path)
        assert not os.path.lexists(os.fspath(root.at("/persist")) + path)
    # Who may not look into the store may not look into the quarantine.
    assert os.stat(root.at("/persist/.drift")).st_mode & 0o777 == 0o700
    for name in ("home", "home/alice"):
        original, copy = os.stat(root.at(f"/persist/{name}")), os.stat(place / name)
        assert (copy.st_mode, copy.st_uid, copy.st_gid) == (
            original.st_mode,
            original.st_uid,
            original.st_gid,
        )
    assert (place / "home/alice/.old/state").read_text() == "old"
    assert not (place / "home/alice/.ssh").exists()
    done = run(root, "--restore", date, "--yes")
    assert "/persist: 5 paths moved to /persist\n" in done.stdout
    assert stored(root) == before
    assert os.listdir(root.at(YARD)) == []


def test_the_note_beside_it_says_what_came_from_where(root):
    run(root, "--quarantine", "--yes", "/persist/var/lib/gone")
    [(date, _)] = batches(root)
    assert json.loads(root.at(f"{YARD}/{date}.json").read_text()) == {
        "schema": "drift.quarantine/1",
        "date": date,
        "entries": [{"path": "/var/lib/gone", "kind": "directory", "files": 2, "bytes": 8}],
    }


def test_the_plan_is_shown_and_nothing_is_written(root):
    before = whole(root.at("/persist"))
    out = run(root, "--quarantine", "--dry-run").stdout
    date = out.splitlines()[0].rsplit("/", 1)[1].rstrip(":")
    assert (
        out
        == f"""\
To move to {YARD}/{date}:

  /persist/fifo  (1 file, 0 B, last write now)
  /persist/home/alice/.old/  (1 file, 3 B, last write now)
  /persist/link  (1 file, 11 B, last write now)
  /persist/new\\nline\\x1b  (1 file, 7 B, last write now)
  /persist/var/lib/gone/  (2 files, 8 B, last write now)

5 paths, 29 B. Nothing is deleted; to have it back:
  drift stale --restore {date}
"""
    )
    assert whole(root.at("/persist")) == before


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_it_asks_first(root, answer, code):
    before = stored(root)
    arguments = ["stale", "--live", os.fsdecode(root.bytes), "--quarantine"]
    done = CliRunner().invoke(cli, arguments, input=answer, standalone_mode=False)
    assert done.return_value == code
    assert "Move 5 paths? [y/N]: " in done.stderr
    assert (stored(root) == before) is (code == 1)
    assert ("Nothing was moved." in done.stdout) is (code == 1)


def test_without_anybody_to_ask_nothing_moves(root):
    before = stored(root)
    arguments = ["stale", "--live", os.fsdecode(root.bytes), "--quarantine"]
    done = CliRunner().invoke(cli, arguments)
    assert (str(done.exception), done.exception.exit_code) == (
        "there is nobody to ask whether to move",
        2,
    )
    assert stored(root) == before


def test_a_store_with_nothing_of_nobody_has_nothing_to_move(root):
    run(root, "--quarantine", "--yes")
    assert run(root, "--quarantine", "--yes").stdout == "/persist: nothing to move.\n"


def test_where_nothing_is_declared_only_named_paths_move(root):
    declare_nothing = root.system("3", {})
    root.activate(declare_nothing)
    root.boot_next(declare_nothing)
    for path in ("/var/lib/app", "/home/alice/.ssh"):
        root.at(path).unlink()
    before = stored(root)
    assert run(root, "--quarantine", "--yes").stdout == (
        "/persist: nothing to move.\n"
        "  nothing that drift sees declares anything in it, so all in it looks like\n"
        "  nobody's; name the configuration with --config, or the paths to move\n"
    )
    assert stored(root) == before
    run(root, "--quarantine", "--yes", "/persist/link")
    assert not root.at("/persist/link").is_symlink()


def test_named_paths_alone_move_also_parts(root):
    host = os.fspath(root.at("/persist/link"))
    run(root, "--quarantine", "--yes", "/persist/var/lib/gone/a", host, "/persist/link")
    [(_, moved)] = batches(root)
    assert moved == ["/link", "/var/lib/gone/a"]
    assert listed(root)["quarantined"][0]["entries"][1]["files"] == 1


def test_what_is_somebodys_never_moves(root):
    root.link("/persist/hop", "var")
    assert refused(
        root,
        "/persist/var/lib/app/data",
        "/persist/home",
        "/persist/named/deep/x",
        "/persist/.drift/quarantine",
        "/persist/nothing",
        "/persist/hop/lib/gone",
    ) == {
        "/persist/.drift/quarantine": "the store itself needs it: drift's records, a mount, or another"
        " store",
        "/persist/home": "it holds what is to stay: /persist/home/alice/.ssh",
        "/persist/hop/lib/gone": "there is no such path",
        "/persist/named/deep/x": "the configuration names /persist/named/deep: /etc/x.conf",
        "/persist/nothing": "there is no such path",
        "/persist/var/lib/app/data": "/var/lib/app is declared: unit var-lib-app.mount",
    }
    assert refused(root, "/persist") == {"/persist": "it is the persistent storage itself"}


def test_a_path_outside_of_every_store_is_wrong_usage(root):
    done = CliRunner().invoke(
        cli, ["stale", "--live", os.fsdecode(root.bytes), "--quarantine", "/etc/passwd"]
    )
    assert (str(done.exception), done.exception.exit_code) == (
        "/etc/passwd is in no persistent storage",
        2,
    )


def test_what_drift_saved_and_nothing_declares_yet_moves_only_by_name(root):
    root.write("/var/lib/new/x", "x")
    run_save(root.at("/"), root.at("/persist"), [b"/var/lib/new"])
    [one] = [one for one in listed(root)["undeclared"] if one["path"] == "/persist/var/lib/new"]
    assert one["saved"] == 1_700_000_000.0
    out = run(root, "--quarantine", "--yes").stdout
    assert (
        "Left where it is:\n  /persist/var/lib/new\n"
        "      drift save put it there, and nothing declares it yet; name its path to\n"
        "      move it\n"
    ) in out
    assert root.at("/persist/var/lib/new/x").exists()
    run(root, "--quarantine", "--yes", "/persist/var/lib/new")
    assert not root.at("/persist/var/lib/new").exists()


def test_what_is_in_its_place_again_is_never_overwritten(root):
    run(root, "--quarantine", "--yes")
    [(date, _)] = batches(root)
    root.write("/persist/link", "another")
    root.write("/persist/var/lib/gone/a/b", "another")
    out = run(root, "--restore", date, "--yes", code=1).stdout
    assert out.split("Left where it is:\n")[1].startswith(
        "  /persist/link\n      something else is in its place now\n"
        "  /persist/var/lib/gone\n      something else is in its place now\n"
    )
    assert root.at("/persist/link").read_text() == "another"
    assert batches(root) == [(date, ["/link", "/var/lib/gone"])]
    root.at("/persist/link").unlink()
    run(root, "--restore", date, "/persist/link", "--yes")
    assert os.readlink(root.at("/persist/link")) == "/etc/passwd"
    assert batches(root) == [(date, ["/var/lib/gone"])]


def test_it_is_not_overwritten_either_when_it_appears_after_the_plan(root):
    run(root, "--quarantine", "--yes", "/persist/link")
    [(date, _)] = batches(root)
    stale = read_stale(root.bytes, now=time.time_ns())
    [selection] = to_restore(stale, date, [])
    root.write("/persist/link", "another")
    with open_quarantine(selection.view) as opened:
        assert opened.restore(selection.batch, selection.to_move) == [
            Outcome(b"/link", "something else is in its place now")
        ]
    assert root.at("/persist/link").read_text() == "another"
    assert os.readlink(root.at(f"{YARD}/{date}/link")) == "/etc/passwd"


def test_parents_that_are_gone_are_made_again_as_they_were(root):
    run(root, "--quarantine", "--yes", "/persist/home/alice/.old")
    [(date, _)] = batches(root)
    before = os.stat(root.at("/persist/home/alice"))
    shutil.rmtree(root.at("/persist/home"))
    run(root, "--restore", date, "--yes")
    after = os.stat(root.at("/persist/home/alice"))
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert root.at("/persist/home/alice/.old/state").read_text() == "old"


def test_a_symlink_in_the_way_is_not_followed(root, tmp_path):
    run(root, "--quarantine", "--yes", "/persist/var/lib/gone/a")
    [(date, _)] = batches(root)
    shutil.rmtree(root.at("/persist/var/lib/gone"))
    (tmp_path / "outside").mkdir()
    root.at("/persist/var/lib/gone").symlink_to(tmp_path / "outside")
    out = run(root, "--restore", date, "--yes", code=4).stdout
    assert "not moved: something that is no directory is in its way" in out
    assert os.listdir(tmp_path / "outside") == []
    assert batches(root) == [(date, ["/var/lib/gone/a"])]


def test_a_date_may_be_cut_short_as_long_as_it_is_one(root):
    run(root, "--quarantine", "--yes", "/persist/link")
    [(date, _)] = batches(root)
    stale = read_stale(root.bytes, now=time.time_ns())
    assert [one.batch.date for one in to_restore(stale, date[:10], [])] == [date]
    run(root, "--quarantine", "--yes", "/persist/fifo")
    done = CliRunner().invoke(
        cli, ["stale", "--live", os.fsdecode(root.bytes), "--restore", date[:4]]
    )
    assert str(done.exception) == f"more than one quarantine is of {date[:4]}"
    done = CliRunner().invoke(
        cli, ["stale", "--live", os.fsdecode(root.bytes), "--restore", "1999"]
    )
    assert str(done.exception) == "nothing is in quarantine of 1999"


def test_a_damaged_note_is_listed_and_hinders_nothing_else(root):
    run(root, "--quarantine", "--yes", "/persist/link")
    [(date, _)] = batches(root)
    root.write(
        f"{YARD}/{date}.json", '{"schema": "drift.quarantine/1", "entries": [{"path": "/../x"}]}'
    )
    made = json.loads(run(root, "--json", code=4).stdout)
    assert made["skipped"] == [
        {
            "path": f"{YARD}/{date}",
            "reason": f"what is in the quarantine {date} is not noted in a way drift can read",
        }
    ]
    assert os.readlink(root.at(f"{YARD}/{date}/link")) == "/etc/passwd"
    run(root, "--quarantine", "--yes", "/persist/fifo", code=4)
    assert root.at(f"{YARD}/{date}/link").is_symlink()


@pytest.mark.parametrize("path", ["/a/../b", "a", "/", "", "/a//b", "/./a"])
def test_a_note_that_leads_elsewhere_is_not_believed(root, path):
    date = "2026-01-01T00-00-00"
    root.at(YARD).mkdir(parents=True)
    root.at("/persist/.drift").chmod(0o700)
    entry = {"path": path, "kind": "file", "files": 1, "bytes": 1}
    root.write(
        f"{YARD}/{date}.json",
        json.dumps({"schema": "drift.quarantine/1", "date": date, "entries": [entry]}),
    )
    assert len(json.loads(run(root, "--json", code=4).stdout)["skipped"]) == 1


def test_two_at_a_time_are_refused(root):
    stale = read_stale(root.bytes, now=time.time_ns())
    with open_quarantine(stale.views[0]):
        done = CliRunner().invoke(
            cli, ["stale", "--live", os.fsdecode(root.bytes), "--quarantine", "--yes"]
        )
    assert str(done.exception) == "another drift is writing to /persist"


def test_two_stores_move_under_one_date(root):
    root.at("/cache").mkdir()
    root.write("/cache/x", "x")
    both = ("--persist", "/persist", "--persist", "/cache")
    run(root, "--quarantine", "--yes", "/cache/x", "/persist/link", *both)
    made = json.loads(run(root, "--json", *both).stdout)["stores"]
    [dates] = {tuple(one["date"] for one in store["quarantined"]) for store in made}
    run(root, "--restore", dates[0], "--yes", *both)
    assert (root.at("/cache/x").read_text(), root.at("/persist/link").is_symlink()) == ("x", True)


def move_all(root, patch=None):
    """What the command does after its plan; `patch` sets the cut after all is read."""
    stale = read_stale(root.bytes, now=time.time_ns())
    [selection] = to_quarantine(stale, [])
    date = new_date(time.time_ns(), taken_dates(selection.view))
    if patch is not None:
        patch()
    if selection.to_move:
        with open_quarantine(selection.view) as opened:
            opened.add(Batch(date, selection.to_move))


def restore_all(root, patch=None):
    stale = read_stale(root.bytes, now=time.time_ns())
    chosen = [
        one
        for date in sorted({batch.date for batch in stale.stores[0].quarantined})
        for one in to_restore(stale, date, [])
    ]
    if patch is not None:
        patch()
    for selection in chosen:
        if selection.to_move:
            with open_quarantine(selection.view) as opened:
                opened.restore(selection.batch, selection.to_move)


def install(cut, patch):
    for name in CALLS:
        patch(os, name, cut.step(getattr(os, name)))
    patch(quarantine, "_rename", cut.step(quarantine._rename))
    patch(quarantine, "sync_filesystem", cut.step(quarantine.sync_filesystem))
    patch(stores, "rename_new", cut.step(stores.rename_new))


def contents(root):
    """Every file of the store that is not a note, by what it is, however often it is there."""
    return Counter(
        (node[0], node[2:5], str(node[6]))
        for path, node in whole(root.at("/persist")).items()
        if node[0] != "directory" and not path.endswith((b".json", b".new"))
    )


def cut_short(work, root, number, end):
    """Work in a process of its own, which ends at a call; whether it was cut."""
    child = os.fork()
    if child == 0:
        try:
            work(root, lambda: install(Cut(number, end), setattr))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_at_any_call_nothing_is_lost_and_it_is_completed(memory):  # noqa: F811
    number = 0
    while True:
        number += 1
        root = filled(memory / str(number))
        before, everything = stored(root), contents(root)
        killed = cut_short(move_all, root, number, kill)
        assert contents(root) == everything, number
        move_all(root)
        assert contents(root) == everything, number
        assert listed(root)["undeclared"] == [], number
        restore_all(root)
        assert stored(root) == before, number
        shutil.rmtree(memory / str(number))
        if not killed:
            break
    assert number > 40


def test_killed_while_it_moves_back_nothing_is_lost_either(memory):  # noqa: F811
    number = 0
    while True:
        number += 1
        root = filled(memory / str(number))
        before, everything = stored(root), contents(root)
        move_all(root)
        killed = cut_short(restore_all, root, number, kill)
        assert contents(root) == everything, number
        restore_all(root)
        assert stored(root) == before, number
        # What it left in the quarantine goes with the next run.
        move_all(root)
        restore_all(root)
        assert (stored(root), os.listdir(root.at(YARD))) == (before, [])
        shutil.rmtree(memory / str(number))
        if not killed:
            break
    assert number > 15


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_an_error_at_any_call_loses_nothing(memory, number):  # noqa: F811
    def fail():
        raise OSError(number, os.strerror(number))

    at = 0
    while True:
        at += 1 if number == errno.ENOSPC else 3
        root = filled(memory / str(at))
        before, everything = stored(root), contents(root)
        with pytest.MonkeyPatch.context() as patched:
            cut = Cut(at, fail)
            with suppress(OSError, DriftError):
                move_all(root, lambda: install(cut, patched.setattr))  # noqa: B023
        assert contents(root) == everything, at
        move_all(root)
        assert listed(root)["undeclared"] == []
        restore_all(root)
        assert stored(root) == before, at
        shutil.rmtree(memory / str(at))
        if cut.count < at:
            break
    assert at > 40


def test_a_filesystem_without_the_flag_moves_all_the_same(tmp_path, monkeypatch):
    class Old:
        def renameat2(self, *_):
            import ctypes

            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(quarantine, "_libc", Old)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/x").write_text("x")
    source, target = os.open(tmp_path / "a", os.O_RDONLY), os.open(tmp_path / "b", os.O_RDONLY)
    try:
        quarantine._rename(b"x", source, target)
        assert (tmp_path / "b/x").read_text() == "x"
        (tmp_path / "a/x").write_text("another")
        with pytest.raises(FileExistsError):
            quarantine._rename(b"x", source, target)
        assert (tmp_path / "b/x").read_text() == "x"
    finally:
        os.close(source)
        os.close(target)


def test_a_store_that_can_not_be_written_to_is_a_sentence(root, monkeypatch):
    def refuse(_top, *, make):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), b".drift")

    stale = read_stale(root.bytes, now=time.time_ns())
    monkeypatch.setattr(quarantine, "open_private", refuse)
    with (
        pytest.raises(DriftError, match=r"^/persist can't be written to: Read-only file system$"),
        open_quarantine(stale.views[0]),
    ):
        pass
