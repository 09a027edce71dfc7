"""`drift stale` where persistent storage is a subvolume, with others in it and mounts from it."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from machine_lab import Machine
from save_lab import whole
from stale_lab import UNIT, listed, paths, run

from drift.cli import cli

pytestmark = pytest.mark.btrfs

ACCOUNTS = {"passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:\n"}


@pytest.fixture
def machine(lab):
    """A NixOS machine that persists /var/lib/app; `run` and `listed` of stale_lab take its root."""
    with Machine(lab) as made:
        for name, text in ACCOUNTS.items():
            made.root.write(f"/etc/{name}", text)
        system = made.root.system(
            "1", {"systemd/system/var-lib-app.mount": UNIT.format(path="/var/lib/app")}
        )
        made.root.activate(system)
        made.root.boot_next(system)
        made.bind("/var/lib/app")
        made.root.write("/var/lib/app/data", "precious")
        made.store = Path(made.live + "/persist")
        yield made


def mount(machine, *arguments):
    target = os.fspath(arguments[-1])
    subprocess.run(["mount", *map(os.fspath, arguments)], check=True)
    machine.stack.callback(subprocess.run, ["umount", target], check=False)


def held(machine):
    return {one["path"]: one["held"] for one in listed(machine.root)["undeclared"]}


def why_left(machine, *named):
    """What the plan says of the named paths, in one line each."""
    out = run(machine.root, "--quarantine", "--dry-run", *named, code=1).stdout
    return " ".join(out.split("Left where it is:\n")[1].split())


def test_a_sound_store_is_said_to_be_one(machine):
    assert run(machine.root, "--exit-code").stdout == (
        "/persist (subvolume persist): 1 declared entry, 1 file, 8 B\n"
        "Nothing is stale: all in it is declared, and what is declared is there and used.\n"
    )


def test_what_is_mounted_and_no_longer_declared_is_listed_and_stays(machine):
    machine.bind("/var/lib/former")
    machine.root.write("/var/lib/former/x", "x")
    assert held(machine) == {
        "/persist/var/lib/former": "it is in use at /var/lib/former, and nothing declares it for the"
        " next boot"
    }
    assert run(machine.root, "--quarantine", "--yes").stdout.startswith("Left where it is:\n")
    assert "in use at /var/lib/former" in why_left(machine, "/persist/var/lib/former/x")
    assert (machine.store / "var/lib/former/x").exists()


def test_what_is_bind_mounted_elsewhere_stays(machine):
    inside = machine.store / "shared/deep"
    inside.mkdir(parents=True)
    target = Path(machine.live + "/mnt")
    target.mkdir()
    mount(machine, "--bind", inside, target)
    assert held(machine) == {"/persist/shared": "/persist/shared/deep in it is mounted at /mnt"}


def test_the_layers_of_an_overlay_stay(machine):
    for name in ("layers/lower", "layers/upper", "layers/work"):
        (machine.store / name).mkdir(parents=True)
    target = Path(machine.live + "/mnt")
    target.mkdir()
    options = ",".join(
        f"{name}dir={machine.store}/layers/{name}" for name in ("lower", "upper", "work")
    )
    mount(machine, "-t", "overlay", "-o", options, "overlay", target)
    assert held(machine) == {"/persist/layers": "/persist/layers/lower in it is mounted at /mnt"}


def test_what_is_mounted_in_the_store_is_not_part_of_it(machine):
    for name in ("disk", "a/b"):
        (machine.store / name).mkdir(parents=True)
        mount(machine, "-t", "tmpfs", "tmpfs", machine.store / name)
        (machine.store / name / "file").write_text("x")
    (machine.store / "a/own").write_text("x")
    assert paths(listed(machine.root)["undeclared"]) == ["/persist/a/own"]
    assert "it holds what is to stay: /persist/a/b" in why_left(machine, "/persist/a")
    assert "the store itself needs it" in why_left(machine, "/persist/disk/file")


def test_what_is_mounted_in_the_store_and_holds_what_is_declared_is_looked_into(machine):
    machine.lab.create("state")
    (machine.store / "var/lib").mkdir(exist_ok=True)
    system = machine.root.system(
        "2", {"systemd/system/srv-data.mount": UNIT.format(path="/srv/data")}
    )
    machine.root.activate(system)
    machine.root.boot_next(system)
    (machine.store / "srv").mkdir()
    machine.lab.mount_subvolume("state", os.fspath(machine.store / "srv"))
    (machine.store / "srv/data").mkdir()
    (machine.store / "srv/data/x").write_text("x")
    (machine.store / "srv/other").write_text("x")
    store = listed(machine.root)
    assert store["declared"]["entries"] == 1
    assert held(machine)["/persist/srv/other"] == "it is on what is mounted at /persist/srv"
    machine.lab.unmount(os.fspath(machine.store / "srv"))


def test_a_subvolume_in_the_store_moves_whole_and_not_in_parts(machine):
    machine.lab.create("persist/images")
    (machine.store / "images/sub").mkdir()
    (machine.store / "images/sub/file").write_bytes(b"x" * 1000)
    before = whole(machine.store / "images")
    [one] = listed(machine.root)["undeclared"]
    assert (one["path"], one["files"], one["bytes"]) == ("/persist/images", 1, 1000)
    assert (
        "it is on another filesystem or subvolume than the store's quarantine, and a rename can't move"
        " it there"
    ) in why_left(machine, "/persist/images/sub")
    run(machine.root, "--quarantine", "--yes")
    [batch] = listed(machine.root)["quarantined"]
    place = machine.store / ".drift/quarantine" / batch["date"] / "images"
    assert (whole(place), os.stat(place).st_ino) == (before, 256)
    run(machine.root, "--restore", batch["date"], "--yes")
    assert whole(machine.store / "images") == before


def test_what_the_system_does_not_let_move_is_said_and_stays(machine):
    for name in ("fixed", "free"):
        (machine.store / name).write_text("x")
    subprocess.run(["chattr", "+i", machine.store / "fixed"], check=True)
    try:
        out = run(machine.root, "--quarantine", "--yes", code=4).stdout
        assert "  /persist/fixed\n      not moved: the system does not allow it: " in out
        assert "/persist: 1 path moved to " in out
        assert paths(listed(machine.root)["undeclared"]) == ["/persist/fixed"]
    finally:
        subprocess.run(["chattr", "-i", machine.store / "fixed"], check=True)


def test_with_noatime_only_writing_counts_and_that_is_said(machine):
    path = machine.store / "var/lib/app"
    for place in (path / "data", path):
        os.utime(place, (1_500_000_000, 1_500_000_000))
    assert "What a backup reads counts as used.\n" in run(machine.root).stdout
    subprocess.run(["mount", "-o", "remount,bind,noatime", machine.store], check=True)
    assert "The store is mounted with noatime: only writing counts.\n" in run(machine.root).stdout


def test_a_read_only_store_is_a_sentence_and_stays_as_it_is(machine):
    (machine.store / "x").write_text("x")
    (machine.store / ".drift/quarantine").mkdir(parents=True)
    (machine.store / ".drift").chmod(0o700)
    subprocess.run(["mount", "-o", "remount,bind,ro", machine.store], check=True)
    try:
        done = CliRunner().invoke(cli, ["stale", "--live", machine.live, "--quarantine", "--yes"])
        assert str(done.exception) == "the quarantine can't be written to: Read-only file system"
        assert paths(listed(machine.root)["undeclared"]) == ["/persist/x"]
    finally:
        subprocess.run(["mount", "-o", "remount,bind,rw", machine.store], check=True)


def test_the_snapshots_of_a_store_are_its_own(machine):
    machine.lab.create("persist/.snapshots")
    machine.lab.snapshot("persist", "persist/.snapshots/1", readonly=True)
    assert listed(machine.root)["undeclared"] == []


def test_a_store_on_the_root_itself_is_lost_with_it(machine):
    (Path(machine.live) / "state").mkdir()
    (Path(machine.live) / "state/x").write_text("x")
    store = listed(machine.root, "--persist", "/state")
    assert (store["path"], paths(store["undeclared"])) == ("/state", ["/state/x"])
    assert store["problem"].startswith("nothing is mounted at /state: it is lost with the root")
