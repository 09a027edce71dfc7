"""`drift lost`: what the last boot took away, and how it comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from save_lab import whole

PROJECT = Path(__file__).parents[1]
pytestmark = pytest.mark.btrfs

NEW, OLDER = "old_roots/2025-01-31_08:00:00", "old_roots/2025-01-30_08:00:00"


@pytest.fixture
def machine(lab):
    """A root that was moved to old_roots at the last boot, as the module's README does it."""
    lab.create("root-blank")
    for stub in ("persist", "var/lib", "etc", "home"):
        os.makedirs(lab.path("root-blank/" + stub))
    lab.create("persist")
    lab.create("home")
    (Path(os.fsdecode(lab.path("home"))) / "kept").write_text("x")
    for name in (OLDER, NEW):
        lab.snapshot("root-blank", name)
        root = Path(os.fsdecode(lab.path(name)))
        (root / "etc/machine-id").write_text(name[-8:] * 4)
        (root / "var/lib/bluetooth").mkdir(mode=0o700)
        (root / "var/lib/bluetooth/adapter").write_bytes(os.urandom(50_000))
        lab.create(name + "/var/lib/machines")
        (root / "var/lib/machines/image").write_text("a whole machine")
        (root / "var/cache/fontconfig").mkdir(parents=True)
        (root / "var/cache/fontconfig/x.cache-9").write_text("x")
        (root / "home/early").write_text("before home was mounted")
        (root / "strange").mkdir()
        (root / "strange/thing").write_text(name)
        lab.sync()
    lab.snapshot("root-blank", "root")
    root = Path(os.fsdecode(lab.path("root")))
    (root / "etc/machine-id").write_text("another")
    (root / "new").write_text("made since")
    live = Path(os.fsdecode(lab.directory)) / "live"
    lab.mount_subvolume("root", live)
    lab.mount_subvolume("persist", live / "persist")
    lab.mount_subvolume("home", live / "home")
    lab.live, lab.kept = live, live / "persist"
    lab.old = Path(os.fsdecode(lab.path(NEW)))
    return lab


def drift(machine, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "drift", *arguments, "--live", str(machine.live)],
        cwd=PROJECT,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def found(machine, *arguments):
    code, out, err = drift(machine, "lost", "--json", *arguments)
    assert code == 0, err
    made = json.loads(out)
    entries = {
        entry["path"]: (entry["status"], entry["verdict"])
        for group in made["groups"]
        for entry in group["entries"]
    }
    return made, entries


def test_the_newest_earlier_root_shows_what_the_boot_took(machine):
    made, entries = found(machine)
    assert (made["schema"], made["earlier"]["subvolume"]) == ("drift.lost/1", NEW)
    assert entries == {
        "/etc/machine-id": ("M", "persist"),
        "/strange": ("A", "review"),
        "/var/cache": ("A", "regenerated"),
        "/var/cache/fontconfig": ("A", "ephemeral"),
        "/var/lib/bluetooth": ("A", "persist"),
        "/var/lib/machines": ("A", "persist"),
    }
    assert [one["path"] for one in made["hidden"]] == ["/home"]


def test_it_is_told_in_words(machine):
    code, out, err = drift(machine, "lost")
    assert code == 0
    lines = out.splitlines()
    assert lines[:2] == [
        f"What the earlier root {NEW} has and the live root lacks:",
        "(1 other earlier root kept; --old NAME looks into one)",
    ]
    assert any(line.startswith("  /var/lib/bluetooth  (1 file, 50.0 kB, ") for line in lines)
    assert any("another one is there now" in line for line in lines)
    assert "/new" not in out
    assert "drift lost --restore PATH" in err


def test_another_earlier_root_can_be_named(machine):
    made, _ = found(machine, "--old", OLDER)
    assert made["earlier"]["subvolume"] == OLDER


def test_restored_paths_are_in_the_store_and_nowhere_else(machine):
    before = whole(machine.live / "etc"), sorted(os.listdir(machine.live))
    code, out, _ = drift(
        machine, "lost", "--yes", "--restore", "/var/lib/bluetooth", "/var/lib/machines", "/strange"
    )
    assert (code, "/persist: 3 entries copied and verified" in out) == (0, True), out
    for path in ("var/lib/bluetooth", "var/lib/machines", "strange"):
        assert whole(machine.kept / path) == whole(machine.old / path)
    assert (whole(machine.live / "etc"), sorted(os.listdir(machine.live))) == before
    assert drift(machine, "verify")[:2] == (
        0,
        "3 entries saved, waiting for the next boot\n",
    )


def test_hidden_data_is_restored_by_its_path(machine):
    assert drift(machine, "lost", "--yes", "--restore", "/home/early")[0] == 0
    assert (machine.kept / "home/early").read_text() == "before home was mounted"


def test_verify_finds_what_is_missing_in_the_earlier_roots(machine):
    drift(machine, "lost", "--yes", "--restore", "/var/lib/bluetooth")
    (machine.kept / "var/lib/bluetooth/adapter").unlink()
    code, out, _ = drift(machine, "verify")
    assert code == 1
    assert f"still at /var/lib/bluetooth in the old root {NEW}\n" in out
    assert "drift lost --restore brings it back from an old root\n" in out


def test_without_an_earlier_root_it_says_so(machine):
    machine.delete(OLDER, NEW)
    code, _, err = drift(machine, "lost")
    assert (code, err.splitlines()[0]) == (
        3,
        "drift: no earlier root is kept on this filesystem",
    )


@pytest.mark.parametrize("arguments", [("--restore",), ("/etc",)])
def test_paths_and_restore_belong_together(machine, arguments):
    assert drift(machine, "lost", *arguments)[0] == 2


def test_nothing_is_left_where_nothing_was_lost(machine):
    machine.delete(OLDER, NEW)
    machine.snapshot("root", NEW, readonly=True)
    code, out, err = drift(machine, "lost")
    assert (code, "Nothing that is worth having back." in out, err) == (0, True, "")
