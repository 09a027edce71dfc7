"""`drift save` on a machine of its own: from a snapshot, into the store, and nothing else."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from save_lab import temporaries, whole

PROJECT = Path(__file__).parents[1]
pytestmark = pytest.mark.btrfs


@pytest.fixture
def machine(lab):
    """root, root-blank and persist as they are mounted on a running system."""
    lab.create("root-blank")
    for stub in ("persist", "var/lib", "etc", "home"):
        os.makedirs(lab.path("root-blank/" + stub))
    lab.snapshot("root-blank", "root")
    lab.create("persist")
    lab.create("home")
    root = Path(os.fsdecode(lab.path("root")))
    (root / "etc/machine-id").write_text("0" * 32)
    (root / "var/lib/bluetooth").mkdir(mode=0o700)
    (root / "var/lib/bluetooth/adapter").write_bytes(os.urandom(300_000))
    lab.create("root/var/lib/machines")
    (root / "var/lib/machines/image").write_text("a whole machine")
    (root / "home/early").write_text("before home was mounted")
    (root / "strange").mkdir()
    (root / "strange/thing").write_text("?")
    live = Path(os.fsdecode(lab.directory)) / "live"
    lab.mount_subvolume("root", live)
    lab.mount_subvolume("persist", live / "persist")
    lab.mount_subvolume("home", live / "home")
    lab.live = live
    lab.kept = live / "persist"
    lab.before = lab.subvolumes()
    return lab


def drift(machine, *arguments, **rest):
    """Run drift on the machine; its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "drift", *arguments, "--live", str(machine.live)],
        cwd=PROJECT,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        **rest,
    )
    return done.returncode, done.stdout, done.stderr


SUGGESTED = ["etc/machine-id", "var/lib/bluetooth", "var/lib/machines"]


def test_what_is_suggested_is_saved_from_a_snapshot_that_is_removed(machine):
    code, out, _ = drift(machine, "save", "--yes")
    assert code == 0, out
    assert "/persist: 3 entries copied and verified" in out
    for path in SUGGESTED[1:]:
        assert whole(machine.kept / path) == whole(machine.live / path)
    assert (machine.kept / "etc/machine-id").read_text() == "0" * 32
    assert not (machine.kept / "strange").exists()
    assert machine.subvolumes() == machine.before


def test_what_to_do_next_is_said_only_where_something_was_saved(machine):
    (machine.kept / "var").mkdir()
    subprocess.run(["chattr", "+i", str(machine.kept / "var")], check=True)
    try:
        code, out, err = drift(machine, "save", "--yes", "/var/lib/bluetooth")
    finally:
        subprocess.run(["chattr", "-i", str(machine.kept / "var")], check=True)
    assert (code, "Next:" in err) == (4, False), out
    code, _, err = drift(machine, "save", "--yes", "/var/lib/bluetooth")
    assert (code, "Next: declare what was saved" in err) == (0, True)
    code, _, err = drift(machine, "save", "--yes", "/var/lib/bluetooth")
    assert (code, "Next:" in err) == (0, False)


def test_copies_on_the_same_filesystem_share_their_data(machine):
    drift(machine, "save", "--yes")
    said = machine.btrfs("filesystem", "du", "--raw", str(machine.kept / "var/lib/bluetooth"))
    total, exclusive, *_ = said.splitlines()[1].split()
    assert (int(total), int(exclusive)) == (303_104, 0)


def test_the_root_itself_and_its_blank_stay_as_they_are(machine):
    before = whole(machine.live / "var"), whole(machine.path("root-blank"))
    drift(machine, "save", "--yes", "--all")
    assert (whole(machine.live / "var"), whole(machine.path("root-blank"))) == before


def test_a_dry_run_writes_nothing(machine):
    code, out, _ = drift(machine, "save", "--dry-run")
    assert code == 0
    assert "To copy:\n  /etc/machine-id  (1 file, 32 B)\n" in out
    assert re.search(r"3 entries, 300\.0 kB\.\nThe copies share .* are free\.\n", out)
    assert os.listdir(machine.kept) == []
    assert machine.subvolumes() == machine.before


def test_without_a_snapshot_the_same_is_saved(machine):
    assert drift(machine, "save", "--yes", "--no-snapshot")[0] == 0
    for path in SUGGESTED[1:]:
        assert whole(machine.kept / path) == whole(machine.live / path)


def test_all_saves_what_is_for_review_as_well(machine):
    drift(machine, "save", "--yes", "--all")
    assert (machine.kept / "strange/thing").read_text() == "?"


def test_given_paths_are_saved_and_no_others(machine):
    code, out, _ = drift(machine, "save", "--yes", "/strange", str(machine.live / "etc"))
    assert (code, sorted(os.listdir(machine.kept))) == (0, [".drift", "etc", "strange"]), out


def test_hidden_data_is_saved_from_below_its_mount(machine):
    code, out, _ = drift(machine, "save", "--yes", "--hidden")
    assert code == 0, out
    assert (machine.kept / "home/early").read_text() == "before home was mounted"


def test_it_asks_and_takes_no_for_an_answer(machine):
    code, out, _ = drift(machine, "save", input="n\n")
    assert (code, out.endswith("Nothing was copied.\n")) == (1, True)
    assert os.listdir(machine.kept) == [".drift"]
    assert machine.subvolumes() == machine.before


def test_nobody_to_ask_is_wrong_usage(machine):
    code, _, err = drift(machine, "save", stdin=subprocess.DEVNULL)
    assert (code, err.splitlines()[-2:]) == (
        2,
        [
            "drift: there is nobody to ask whether to copy",
            "hint: look at the plan, then add --yes",
        ],
    )
    assert machine.subvolumes() == machine.before


def test_different_data_is_reported_and_left(machine):
    (machine.kept / "etc").mkdir()
    (machine.kept / "etc/machine-id").write_text("1" * 32)
    code, out, _ = drift(machine, "save", "--yes")
    assert code == 1
    assert "/persist: 1 entry left alone: something else is there\n  /etc/machine-id\n" in out
    assert (machine.kept / "etc/machine-id").read_text() == "1" * 32
    assert drift(machine, "save", "--yes", "--replace")[0] == 0
    assert (machine.kept / "etc/machine-id").read_text() == "0" * 32
    (old,) = (machine.kept / "etc").glob("machine-id.before-*")
    assert old.read_text() == "1" * 32


def test_an_empty_directory_that_the_module_mounted_is_filled_for_the_next_boot(machine):
    """Listed before it was saved: the data is hidden, and the next boot would delete it."""
    kept, live = machine.kept / "var/lib/bluetooth", machine.live / "var/lib/bluetooth"
    before = whole(live)
    kept.mkdir(parents=True)
    subprocess.run(["mount", "--bind", kept, live], check=True)
    try:
        code, out, _ = drift(machine, "save", "--yes", "--hidden")
        assert code == 0, out
        assert "gives way; where it is mounted," in " ".join(out.split())
    finally:
        subprocess.run(["umount", live], check=True)
    assert whole(kept) == before


def test_what_is_kept_already_is_said_to_be(machine):
    (machine.live / "home/file").write_text("x")
    code, out, _ = drift(machine, "save", "--yes", "/home/file")
    assert (code, "it is kept already: subvolume home" in out) == (4, True)


def test_a_store_that_would_be_lost_with_the_root_is_refused(machine):
    machine.unmount(machine.live / "persist")
    code, _, err = drift(machine, "save", "--yes", "/strange")
    assert code == 3
    assert "drift: /persist is a part of the live root and would be lost with it\n" in err
    assert os.listdir(machine.live / "persist") == []


@pytest.mark.parametrize("arguments", [("/",), ("--all", "/x"), ("--all", "--hidden")])
def test_what_can_not_be_meant_is_wrong_usage(machine, arguments):
    assert drift(machine, "save", "--yes", *arguments)[0] == 2


def test_killed_at_random_it_is_completed_and_its_snapshots_are_removed(machine):
    (machine.live / "var/lib/bluetooth/large").write_bytes(os.urandom(20 << 20))
    command = [sys.executable, "-m", "drift", "save", "--yes", "--live", str(machine.live)]
    for turn in range(12):
        started = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Once while there is a snapshot for sure, then at any time.
        while turn == 0 and machine.subvolumes() == machine.before and started.poll() is None:
            time.sleep(0.002)
        time.sleep(0.08 * turn)
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert turn or machine.subvolumes() != machine.before
        for path in SUGGESTED[1:]:
            if (machine.kept / path).exists():
                assert whole(machine.kept / path) == whole(machine.live / path)
    code, out, _ = drift(machine, "save", "--yes")
    assert code == 0, out
    assert machine.subvolumes() == machine.before
    assert temporaries(machine.kept) == []
    for path in SUGGESTED[1:]:
        assert whole(machine.kept / path) == whole(machine.live / path)


def test_ended_by_a_signal_it_removes_its_snapshot_itself(machine):
    (machine.live / "var/lib/bluetooth/large").write_bytes(os.urandom(100 << 20))
    started = subprocess.Popen(
        [sys.executable, "-m", "drift", "save", "--yes", "--live", str(machine.live)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while machine.subvolumes() == machine.before and started.poll() is None:
        time.sleep(0.005)
    started.send_signal(signal.SIGTERM)
    assert started.wait() == 128 + signal.SIGTERM
    assert machine.subvolumes() == machine.before
    assert temporaries(machine.kept) == []


def test_a_top_level_as_the_live_root_is_told_what_to_do(lab):
    (Path(os.fsdecode(lab.top)) / "file").write_text("x")
    lab.create("persist")
    lab.live = Path(os.fsdecode(lab.top))
    mounted = Path(os.fsdecode(lab.directory)) / "store"
    lab.mount_subvolume("persist", lab.live / "persist")
    code, _, err = drift(lab, "save", "--yes", "/file")
    assert (code, "--no-snapshot" in err) == (3, True), err
    assert drift(lab, "save", "--yes", "--no-snapshot", "/file")[0] == 0
    assert not mounted.exists()
    lab.unmount(lab.live / "persist")


def test_what_a_killed_run_left_goes_also_where_nothing_is_to_be_saved(machine):
    for path in ("etc/machine-id", "var/lib/bluetooth/adapter"):
        (machine.live / path).unlink()
    (machine.live / "var/lib/bluetooth").rmdir()
    machine.delete("root/var/lib/machines")
    machine.snapshot("root", "drift-save-snapshot-256", readonly=True)
    private = machine.kept / ".drift"
    private.mkdir(mode=0o700)
    (private / "saved.json").write_text(
        '{"schema": "drift.saved/1", "pending": [".drift-save-1", "not-ours"], "saved": []}'
    )
    (machine.kept / ".drift-save-1").write_text("half")
    (machine.kept / "not-ours").write_text("whole")
    code, _, err = drift(machine, "verify")
    assert (code, err) == (
        1,
        "drift: a save was interrupted; run drift save again to complete it\n",
    )
    assert drift(machine, "save")[:2] == (0, "Nothing to save.\n")
    assert b"drift-save-snapshot-256" not in machine.subvolumes()
    assert sorted(os.listdir(machine.kept)) == [".drift", "not-ours"]
    assert drift(machine, "verify")[0] == 0


def test_a_subvolume_of_somebody_else_is_no_leftover(machine):
    machine.snapshot("home", "drift-save-snapshot-1")
    drift(machine, "save", "--yes")
    assert b"drift-save-snapshot-1" in machine.subvolumes()


def test_the_store_is_not_saved_into_itself(machine):
    assert drift(machine, "save", "--yes", "/persist/x")[0] == 2


def test_plain_directories_are_saved_as_they_are(tmp_path):
    """A rehearsal that needs no Btrfs: the store is a directory of the root."""
    live, blank = tmp_path / "live", tmp_path / "blank"
    (live / "persist").mkdir(parents=True)
    blank.mkdir()
    (live / "etc").mkdir()
    (live / "etc/machine-id").write_text("0" * 32)
    command = [sys.executable, "-m", "drift", "save", "--yes", "--live", str(live)]
    done = subprocess.run(
        [*command, "--blank", str(blank)],
        cwd=PROJECT,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (live / "persist/etc/machine-id").read_text() == "0" * 32
    again = subprocess.run([*command, "/persist"], cwd=PROJECT, capture_output=True, check=False)
    assert again.returncode == 2
