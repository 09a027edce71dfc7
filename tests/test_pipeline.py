"""From a machine to a report: what is kept, who owns what, which rule decides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from machine_lab import Machine

from drift.cli import cli
from drift.errors import UsageError
from drift.model import Verdict
from drift.pipeline import Request, scan
from drift.system.declared import State

ENVIRON = {"HOME": "/nonexistent"}


@pytest.fixture
def machine(lab):
    with Machine(lab) as made:
        yield made


def scanned(machine, **request):
    return scan(Request(os.fsencode(machine.live), explicit_live=True, **request), ENVIRON)


def entries(found):
    return {
        entry.path.decode(): (entry.finding.verdict.value, entry.finding.rule.partition(":")[0])
        for group in found.report.groups
        for entry in group.entries
        if entry.finding.verdict is not Verdict.REGENERATED
    }


def unit(name, text, description="A service"):
    return {f"systemd/system/{name}": f"[Unit]\nDescription={description}\n[Service]\n{text}"}


def mount_unit(path, store="/persist"):
    name = path.strip("/").replace("-", "\\x2d").replace("/", "-")
    return {
        f"systemd/system/{name}.mount": (
            "[Unit]\nBefore=local-fs.target\nDefaultDependencies=false\n\n"
            f"[Mount]\nOptions=bind,x-gvfs-hide\nType=none\nWhat={store}{path}\nWhere={path}\n"
        )
    }


@pytest.mark.btrfs
def test_each_rank_of_rule_decides_where_no_higher_one_does(machine, tmp_path):
    root = machine.root
    root.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\ncarol:x:950:950::/var/empty:/bin/sh\n")
    files = unit("app.service", "StateDirectory=app tailscale mine\nCacheDirectory=app\n")
    files |= unit("dyn.service", "DynamicUser=yes\nStateDirectory=dyn\n")
    files |= {"tmpfiles.d/made.conf": "d /var/lib/made 0700 root root - -\n"}
    root.activate(root.system("1", files))
    for name in ("app", "tailscale", "mine", "private/dyn", "made", "carols", "own"):
        root.write(f"/var/lib/{name}/data", "x")
    root.write("/var/cache/app/data", "x")
    for path in ("/var/lib/carols", "/var/lib/carols/data"):
        os.chown(root.at(path), 950, 950)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'service = "mine"\n[[rule]]\ndirectory = "/var/lib/mine"\nverdict = "ephemeral"\n'
        'severity = "low"\nwhy = "mine"\n'
    )
    found = entries(scanned(machine, rules=(mine,)))
    assert found.pop("/var/lib/private") == ("persist", "rules/systemd.toml")
    assert found == {
        "/var/lib/app": ("persist", "unit app.service"),
        "/var/cache/app": ("ephemeral", "unit app.service"),
        "/var/lib/tailscale": ("persist", "rules/tailscale.toml"),
        "/var/lib/mine": ("ephemeral", str(mine)),
        "/var/lib/private/dyn": ("persist", "unit dyn.service"),
        "/var/lib/made": ("persist", "tmpfiles.d/made.conf"),
        "/var/lib/carols": ("review", "heuristic"),
        "/var/lib/own": ("review", "heuristic"),
    }


@pytest.mark.btrfs
def test_the_three_states_of_declared_persistence_are_told_apart(machine):
    root = machine.root
    running = mount_unit("/var/lib/active") | mount_unit("/var/lib/old")
    upcoming = mount_unit("/var/lib/active") | mount_unit("/var/lib/soon")
    upcoming |= mount_unit("/var/lib/copied")
    root.activate(root.system("1", running))
    root.boot_next(root.system("2", upcoming))
    for name in ("soon/a", "soon/b", "copied/a"):
        root.write(f"/var/lib/{name}", "data")
    root.write("/persist/var/lib/copied/a", "data")
    machine.bind("/var/lib/active")
    machine.bind("/var/lib/old")
    found = scanned(machine)
    assert [
        (kept.path.decode(), kept.by, getattr(kept, "saved", None)) for kept in found.report.kept
    ] == [
        ("/home", "subvolume home", None),
        ("/nix", "subvolume nix", None),
        ("/persist", "subvolume persist", None),
        ("/var/lib/active", "bind mount from /persist/var/lib/active", True),
        ("/var/lib/copied", "bind mount from /persist/var/lib/copied, at boot", True),
        (
            "/var/lib/old",
            "mounted, no longer declared: bind mount from /persist/var/lib/old",
            True,
        ),
        ("/var/lib/soon", "declared, not active yet", False),
        ("/var/log", "subvolume log", None),
    ]
    assert entries(found) == {}
    assert [(entry.path, entry.files, entry.bytes) for entry in found.pending] == [
        (b"/var/lib/soon", 2, 8)
    ]
    assert {one.path: one.state for one in found.declarations} == {
        b"/var/lib/active": State.ACTIVE,
        b"/var/lib/copied": State.PENDING,
        b"/var/lib/old": State.UNDECLARED,
        b"/var/lib/soon": State.PENDING,
    }


@pytest.mark.btrfs
def test_what_is_newer_than_its_copy_in_the_store_is_not_saved(machine):
    root = machine.root
    root.activate(root.system("1", {}))
    upcoming = {**mount_unit("/var/lib/same"), **mount_unit("/var/lib/newer")}
    root.boot_next(root.system("2", upcoming))
    for name in ("same", "newer"):
        root.write(f"/var/lib/{name}/data", "data")
        root.write(f"/persist/var/lib/{name}/data", "data")
        os.utime(root.at(f"/persist/var/lib/{name}/data"), ns=(5, 10**18))
        os.utime(root.at(f"/var/lib/{name}/data"), ns=(5, 10**18 + 10**9 * (name == "newer")))
    found = scanned(machine)
    assert {
        kept.path: kept.saved for kept in found.report.kept if kept.path.startswith(b"/var/lib/")
    } == {b"/var/lib/newer": False, b"/var/lib/same": True}
    assert [entry.path for entry in found.pending] == [b"/var/lib/newer"]
    done = CliRunner().invoke(cli, ["scan", "--live", machine.live])
    assert (
        "Declared, not active yet, and lost at the next boot unless it is copied before:\n"
        "  /var/lib/newer  is not in /persist/var/lib/newer, or older there\n"
    ) in done.stdout


@pytest.mark.btrfs
def test_a_link_into_a_store_is_kept_and_one_elsewhere_is_not(machine):
    root = machine.root
    root.activate(root.system("1", {}))
    root.link("/etc/machine-id", "/persist/etc/machine-id")
    root.link("/srv/link", "/persistent/elsewhere")
    found = scanned(machine)
    assert "/etc/machine-id" not in entries(found)
    assert "/srv/link" in entries(found) or "/srv" in entries(found)


CONFIG = """{ lib, ... }:
{
  environment.persistence."/persist" = {
    directories = [ "/var/lib/one" ] ++ lib.optionals something [ "/var/lib/two" ];
    files = [ "/etc/machine-id" ];
    users.alice.directories = [ ".config/app" ];
  };
  environment.persistence."/cache".directories = [ "/var/lib/three" ];
}
"""


@pytest.mark.btrfs
def test_a_configuration_declares_what_is_not_active_yet(machine, tmp_path):
    root = machine.root
    root.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:100::/alice:/bin/sh\n")
    root.activate(root.system("1", {}))
    root.write("/etc/machine-id", "1" * 32)
    for name in ("one", "three", "five"):
        root.write(f"/var/lib/{name}/data", "data")
    root.write("/alice/.config/app/rc", "data")
    config = tmp_path / "impermanence.nix"
    config.write_text(CONFIG)
    found = scanned(machine, config=(os.fsencode(config),))
    pending = [kept.path for kept in found.report.kept if kept.by == "declared, not active yet"]
    assert {b"/etc/machine-id", b"/var/lib/one", b"/var/lib/three"} <= set(pending)
    assert b"/alice/.config/app" in pending
    assert entries(found) == {"/var/lib/five": ("review", "heuristic")}
    assert found.store == b"/persist"
    assert all(str(config) in note for note in found.notes)

    arguments = ["suggest", "--json", "--live", machine.live, "--config", str(config)]
    done = CliRunner().invoke(cli, [*arguments, "--persist", "/cache", "--persist", "/persist"])
    suggested = json.loads(done.stdout)
    assert (suggested["persist"], suggested["directories"], suggested["files"]) == (
        "/cache",
        [],
        [],
    )


@pytest.mark.parametrize("name", ["missing.nix", "."])
def test_a_config_that_is_no_file_and_no_flake_is_wrong_usage(tmp_path, name):
    (tmp_path / "live").mkdir()
    (tmp_path / "blank").mkdir()
    roots = ["--live", str(tmp_path / "live"), "--blank", str(tmp_path / "blank")]
    done = CliRunner().invoke(cli, ["scan", *roots, "--config", str(tmp_path / name)])
    assert isinstance(done.exception, UsageError)
    assert "--config" in done.exception.message


@pytest.mark.btrfs
def test_a_root_that_is_not_running_shows_what_its_fstab_will_mount(lab):
    lab.create("root-blank")
    lab.snapshot("root-blank", "root")
    live = Path(os.fsdecode(lab.mount_subvolume("root", lab.directory + b"/mnt")))
    for path in ("etc", "home/alice", "var/lib/x", "home/alice/.ssh"):
        (live / path).mkdir(parents=True, exist_ok=True)
    (live / "etc/fstab").write_text(
        "/dev/a / btrfs subvol=root 0 0\n/dev/a /home btrfs subvol=home 0 0\n"
        "/persist/var/lib/x /var/lib/x none bind 0 0\n"
    )
    (live / "home/alice/.ssh/id_rsa").write_text("key")
    (live / "var/lib/x/data").write_text("data")
    found = scan(Request(os.fsencode(live), explicit_live=True), ENVIRON)
    assert [(kept.path, kept.by) for kept in found.report.kept] == [
        (b"/home", "subvolume home, by /etc/fstab"),
        (b"/var/lib/x", "bind mount from /persist/var/lib/x, by /etc/fstab"),
    ]
    assert [(hidden.path, hidden.files) for hidden in found.report.hidden] == [
        (b"/home", 1),
        (b"/var/lib/x", 1),
    ]


@pytest.mark.btrfs
def test_an_edited_copy_is_for_review_and_its_twin_comes_back(machine):
    root = machine.root
    copied = {"app/one.conf": "as declared\n", "app/two.conf": "as declared\n"}
    root.activate(root.system("1", {}, copied=copied))
    root.write("/etc/app/two.conf", "as declared\nand more\n")
    found = scanned(machine)
    [edited] = [
        entry
        for group in found.report.groups
        for entry in group.entries
        if entry.path == b"/etc/app/two.conf"
    ]
    assert (edited.finding.verdict, edited.finding.why) == (
        Verdict.REVIEW,
        "edited after NixOS copied it from the configuration: activation replaces it",
    )
    assert "move the edit into the configuration" in edited.finding.advice
    assert "/etc/app/one.conf" not in entries(found)


@pytest.mark.btrfs
def test_what_a_rule_advises_about_a_path_that_is_made_again_reaches_the_user(machine):
    machine.root.activate(machine.root.system("1", {}))
    machine.root.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    done = CliRunner().invoke(cli, ["suggest", "--json", "--live", machine.live])
    advice = {one["path"]: one["say"] for one in json.loads(done.stdout)["advice"]}
    assert "declare users and groups" in advice["/etc/passwd"]
