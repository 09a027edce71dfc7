"""The demo's machine is what the tour says it is, and nothing of it stays."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from drift import demo_tree
from drift.cli import cli
from drift.demo import Machine, machine, run_tour
from drift.errors import DriftError
from drift.model import Kind

PROJECT = Path(__file__).parents[1]


def traces():
    """What a demo could leave on this system: mounts, loop devices, directories."""
    mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, check=False)
    return (
        [line for line in mounts if re.match(rb"/mnt$|/media$|.*/drift-demo", line.split()[4])],
        [line for line in loops.stdout.splitlines() if b"drift-demo" in line],
        list(Path("/tmp").glob("drift-demo*")),
    )


def python(program, **rest):
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True, **rest
    )


def inside(look):
    """What the statements `look`, run while the machine `made` is there, print."""
    lines = "\n".join(f"    {line}" for line in look.splitlines())
    started = python(f"import os\nfrom drift.demo import machine\nwith machine() as made:\n{lines}")
    said, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    return said


# --- the tree


def test_every_item_is_made_as_it_is_listed(tmp_path):
    root = os.fsencode(tmp_path)
    items = (*demo_tree.REGENERATED, *demo_tree.STATE)
    demo_tree.build(root, items, os.mkdir)
    kinds = {
        Kind.FILE: stat.S_ISREG,
        Kind.SYMLINK: stat.S_ISLNK,
        Kind.DIRECTORY: stat.S_ISDIR,
        Kind.SUBVOLUME: stat.S_ISDIR,
    }
    for item in items:
        found = os.lstat(root + item.path)
        assert kinds[item.kind](found.st_mode), item
        if item.kind is Kind.SYMLINK:
            assert os.readlink(root + item.path) == item.content
            continue
        assert stat.S_IMODE(found.st_mode) == item.mode, item
        if item.kind is Kind.FILE:
            assert Path(os.fsdecode(root + item.path)).read_bytes() == item.content
        if os.geteuid() == 0:
            assert (found.st_uid, found.st_gid) == item.owner, item


def test_directories_on_the_way_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        demo_tree.build(os.fsencode(tmp_path), demo_tree.STATE, os.mkdir)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "var/lib/tailscale").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "var/lib/nixos").stat().st_mode) == 0o755


def test_no_item_is_listed_twice():
    paths = [item.path for item in (*demo_tree.REGENERATED, *demo_tree.STATE)]
    assert len(paths) == len(set(paths))


# --- the machine


@pytest.mark.btrfs
def test_the_root_is_a_snapshot_of_the_read_only_blank():
    said = inside(
        "import btrfsutil\n"
        "live = btrfsutil.subvolume_info(made.live)\n"
        "top = {path for path, _ in btrfsutil.SubvolumeIterator(made.live, top=5)}\n"
        "blank = btrfsutil.subvolume_info(made.live, next(\n"
        "    id for path, id in btrfsutil.SubvolumeIterator(made.live, top=5)\n"
        "    if path == 'root-blank'))\n"
        "print(live.parent_uuid == blank.uuid, blank.flags & 1, made.blank, repr(made.plain))\n"
        "print(*sorted(path for path in top if '/' not in path))\n"
        "print(*sorted(path for path in top if '/' in path), sep='\\n')"
    )
    assert said == (
        "True 1 None ''\n"
        "home lib log nix persist root root-blank\n"
        "root/srv\n"
        f"root/var/lib/docker/btrfs/subvolumes/{'5e' * 32}\n"
        "root/var/lib/machines\n"
    )


@pytest.mark.btrfs
def test_subvolumes_are_mounted_at_their_places_but_lib():
    said = inside(
        "from drift.system.mounts import read_mounts\n"
        "for mount in read_mounts():\n"
        "    if (mount.point + b'/').startswith(made.live + b'/'):\n"
        "        print(mount.root.decode(), mount.point.removeprefix(made.live).decode() or '/')"
    )
    assert said == (
        "/root /\n"
        "/nix /nix\n"
        "/persist /persist\n"
        "/home /home\n"
        "/log /var/log\n"
        "/persist/etc/nixos /etc/nixos\n"
    )


@pytest.mark.btrfs
def test_nobody_else_sees_it_and_nothing_stays():
    before = traces()
    started = python(
        "from drift.demo import machine\n"
        "with machine() as made:\n"
        "    print('ready', flush=True)\n"
        "    input()",
        stdin=subprocess.PIPE,
    )
    assert started.stdout.readline() == "ready\n"
    assert traces()[0] == before[0]
    started.communicate("\n", timeout=60)
    assert settled(before) == before


@pytest.mark.btrfs
def test_nothing_stays_when_it_is_killed():
    before = traces()
    started = python(
        "import time\n"
        "from drift.demo import machine\n"
        "with machine():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)"
    )
    assert started.stdout.readline() == "ready\n"
    started.send_signal(signal.SIGKILL)
    started.communicate()
    mounts, loops, left = settled(before)
    assert (mounts, loops) == before[:2]
    # Where there is neither /mnt nor /media to mount on, the empty mount point is what stays.
    assert all(not list(path.iterdir()) for path in left)


def settled(wanted):
    """The traces, once the kernel has freed the loop device; at once where they are `wanted`."""
    for _ in range(50):
        if (found := traces()) == wanted:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("euid", "why"),
    [(1000, "this is not root"), (0, "mkfs.btrfs is not installed")],
    ids=["not root", "no Btrfs tools"],
)
def test_without_btrfs_it_is_two_plain_directories(euid, why, monkeypatch, tmp_path):
    def missing(argv, **_):
        raise DriftError(f"{argv[0]} is not installed")

    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr("drift.system.programs.check", missing)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    base = os.fsencode(tmp_path)
    with machine() as made:
        assert made == Machine(base + b"/drift-demo/root", base + b"/drift-demo/root-blank", why)
        assert os.path.exists(made.live + b"/imperm_test/testfile")
        assert sorted(os.listdir(made.blank)) == [
            b"boot",
            b"home",
            b"nix",
            b"persist",
            b"tmp",
            b"var",
        ]
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_tour_is_not_taken_for_a_missing_filesystem(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DriftError, match="broken"), machine():
        raise DriftError("broken")


# --- the tour


def tour(made):
    said = []
    run_tour(made, lambda arguments: said.append(f"<{' '.join(arguments)}>"), said.append)
    return "\n".join(said)


def test_the_tour_on_btrfs_runs_scan_and_suggest_and_explains_them():
    said = tour(Machine(b"/mnt", None, ""))
    assert re.findall(r"^(?:\$|<).*", said, re.MULTILINE) == [
        "$ drift scan --live /mnt",
        "<scan --live /mnt>",
        "$ drift suggest --nix --live /mnt",
        "<suggest --nix --live /mnt>",
    ]
    assert "It is shown below /mnt,\nwhere only this tour sees it." in said


def test_the_tour_on_plain_directories_says_so_in_a_sentence():
    said = tour(Machine(b"/tmp/x/root", b"/tmp/x/root-blank", "this is not root"))
    assert said.startswith(
        "A small NixOS machine, made for this tour from two plain directories, root and\n"
        "root-blank, since no Btrfs filesystem can be mounted here: this is not root.\n"
    )
    assert "<scan --live /tmp/x/root --blank /tmp/x/root-blank>" in said
    assert "/srv" not in said


def test_the_tour_fits_eighty_columns():
    for made in (Machine(b"/mnt", None, ""), Machine(b"/a", b"/b", "this is not root")):
        long = [line for line in tour(made).splitlines() if len(line) > 80]
        assert long == []


# --- the command


def run_demo():
    return subprocess.run(
        [sys.executable, "-m", "drift", "demo"],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "100", "XDG_CONFIG_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.btrfs
def test_the_command_tells_lost_from_kept_the_same_way_every_time():
    before = traces()
    done = run_demo()
    assert done.returncode == 0, done.stderr
    for expected in (
        "with root-blank: the live root was made from it\n",
        " /imperm_test/testfile\n",
        "  /home       subvolume home\n",
        "  /etc/nixos  bind mount from /persist/etc/nixos\n",
        "  /var/log  1 file, 2.5 kB, age: 3 months\n",
        '\n      "/var/lib/nixos"\n',
        "\n\nThe machine is gone again.",
    ):
        assert expected in done.stdout
    assert "made-up$for-the-demo" not in done.stdout + done.stderr
    assert run_demo().stdout == done.stdout
    assert settled(before) == before


def plain_demo(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    return CliRunner().invoke(cli, ["demo"], catch_exceptions=False)


def test_the_command_needs_no_root(monkeypatch, tmp_path):
    done = plain_demo(monkeypatch, tmp_path)
    assert done.exit_code == 0
    assert "two plain directories, root and\nroot-blank, since no Btrfs" in done.stdout
    assert f"$ drift scan --live {tmp_path}/drift-demo/root --blank " in done.stdout
    assert " /imperm_test/testfile\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nix
def test_the_suggestion_of_the_tour_is_a_module_that_nix_evaluates(monkeypatch, tmp_path):
    said = plain_demo(monkeypatch, tmp_path).stdout
    module = tmp_path / "module.nix"
    module.write_text(said[said.index("{ ... }:") : said.index("\n}\n") + 3])
    asked = f'(import {module} {{ }}).environment.persistence."/persist".directories'
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--expr", asked],
        capture_output=True,
        check=True,
    )
    assert {"directory": "/var/lib/tailscale", "mode": "0700"} in json.loads(done.stdout)
