"""Each check in both outcomes, on machines written out, and on real Btrfs layouts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from btrfs_lab import Lab
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from machine_lab import Machine as LabMachine

from drift.cli import cli
from drift.doctor import Check, Level, Machine, entries, examine, layout, storage
from drift.doctor.machine import Blank, Found, Nested, Store
from drift.model import Kind, Lineage, Severity, Verdict
from drift.names import printable
from drift.render import doctor_text
from drift.report import Hidden
from drift.rulebook import Rule, RuleKind
from drift.system.declared import Declaration, State
from drift.system.mounts import Mount, MountPoint, Survival

DAY = 86400.0
BLANK = Blank(b"root-blank", read_only=True)


def levels(check, **fields):
    return [line.level.value for line in check(Machine(**fields))]


def said(check, **fields):
    [line] = check(Machine(**fields))
    return line


def declaration(path, kind=Kind.DIRECTORY, state=State.ACTIVE, store=b"/persist"):
    return Declaration(path, store, kind, state, "impermanence", store + path)


def file(path, **given):
    return declaration(path, Kind.FILE, **given)


def point(path, *, origin=None, survival=Survival.KEPT, describe="subvolume lib"):
    mount = Mount(1, 0, "0:1", b"/x", path, "btrfs", b"/dev/x", "", "")
    return MountPoint(path, mount, survival, describe, origin)


def found(mode=0o755, kind=Kind.DIRECTORY, uid=0, gid=0, *, empty=False):
    return Found(kind, uid, gid, mode, empty)


def rule(path, verdict=Verdict.PERSIST, **given):
    return Rule(
        "x",
        "X",
        None,
        verdict,
        Severity.NORMAL,
        "why",
        path,
        RuleKind.PATH,
        "rules/x.toml:1",
        **given,
    )


STORE = Store(b"/persist", mounted=True, survives=True, describe="subvolume persist")
KEY = b"/persist/etc/ssh/ssh_host_ed25519_key"


@pytest.mark.parametrize(
    ("check", "fields", "expected"),
    [
        pytest.param(layout.live_root, {"subvolume": b"root"}, "ok", id="live"),
        pytest.param(
            layout.live_root, {"subvolume": b"root", "expected": b"root"}, "ok", id="live as fstab says"
        ),
        pytest.param(
            layout.live_root, {"subvolume": b"@", "expected": b"root"}, "fail", id="live not as fstab says"
        ),
        pytest.param(
            layout.live_root, {"subvolume": b"old_roots/2026-01-01"}, "fail", id="live is an old root"
        ),
        pytest.param(layout.live_root, {}, "fail", id="live is no subvolume"),
        pytest.param(layout.blank_found, {"blank": BLANK}, "ok", id="blank"),
        pytest.param(layout.blank_found, {"problem": ("no blank", "do")}, "fail", id="no blank found"),
        pytest.param(layout.blank_found, {}, "warn", id="no blank wanted"),
        pytest.param(layout.blank_read_only, {"blank": BLANK}, "ok", id="read-only"),
        pytest.param(
            layout.blank_read_only, {"blank": BLANK._replace(read_only=False)}, "warn", id="writable"
        ),
        pytest.param(layout.blank_is_blank, {"blank": BLANK}, "ok", id="empty blank"),
        pytest.param(
            layout.blank_is_blank, {"blank": BLANK._replace(files=2, sample=b"/a")}, "warn", id="full blank"
        ),
        pytest.param(layout.blank_holds_no_subvolume, {"blank": BLANK}, "ok", id="no trap"),
        pytest.param(
            layout.blank_holds_no_subvolume,
            {"blank": BLANK._replace(inside=(b"root-blank/root",))},
            "fail",
            id="the trap",
        ),
        *(
            pytest.param(layout.lineage, {"blank": BLANK, "lineage": one}, level, id=f"lineage {one}")
            for one, level in (
                (Lineage.LIVE_FROM_BLANK, "ok"),
                (Lineage.BLANK_FROM_LIVE, "ok"),
                (Lineage.COMMON_ANCESTOR, "ok"),
                (Lineage.UNRELATED, "warn"),
            )
        ),
        pytest.param(
            layout.was_reset,
            {"lineage": Lineage.LIVE_FROM_BLANK, "made": 50 * DAY, "booted": 50 * DAY},
            "ok",
            id="reset",
        ),
        pytest.param(
            layout.was_reset,
            {"lineage": Lineage.LIVE_FROM_BLANK, "made": 40 * DAY, "booted": 50 * DAY},
            "warn",
            id="never reset",
        ),
        pytest.param(layout.nested_subvolumes, {}, "ok", id="nothing nested"),
        pytest.param(
            layout.nested_subvolumes, {"nested": (Nested(b"/srv", 0, 0, "x"),)}, "ok", id="nested, empty"
        ),
        pytest.param(
            layout.nested_subvolumes, {"nested": (Nested(b"/srv", 3, 9, "x"),)}, "warn", id="nested"
        ),
        pytest.param(layout.hidden_data, {}, "ok", id="nothing hidden"),
        pytest.param(
            layout.hidden_data, {"hidden": (Hidden(b"/var", b"/var", 1, 2, 3),)}, "warn", id="hidden"
        ),
        pytest.param(layout.passwords, {}, "ok", id="passwords"),
        pytest.param(layout.passwords, {"lockout": "alice"}, "fail", id="passwords lost"),
        pytest.param(storage.store_mounted, {"stores": (STORE,)}, "ok", id="store"),
        pytest.param(
            storage.store_mounted, {"stores": (STORE._replace(survives=False),)}, "fail", id="store in root"
        ),
        pytest.param(
            storage.store_mounted,
            {"stores": (STORE._replace(mounted=False, survives=False),)},
            "fail",
            id="no store",
        ),
        pytest.param(
            storage.store_space, {"stores": (STORE._replace(free=9),), "needed": 9}, "ok", id="room"
        ),
        pytest.param(
            storage.store_space, {"stores": (STORE._replace(free=9),), "needed": 10}, "fail", id="no room"
        ),
        pytest.param(
            storage.store_space, {"stores": (STORE._replace(reflinks=True),), "needed": 10}, "ok", id="reflink"
        ),
        pytest.param(
            storage.secret_modes,
            {"stores": (STORE,), "found": {KEY: found(0o600, Kind.FILE)}},
            "ok",
            id="closed key",
        ),
        pytest.param(
            storage.secret_modes,
            {"stores": (STORE,), "found": {KEY: found(0o644, Kind.FILE)}},
            "fail",
            id="open key",
        ),
        pytest.param(
            storage.secret_modes,
            {
                "declarations": (declaration(b"/var/lib/x"),),
                "rules": {b"/var/lib/x": rule("/var/lib/x", mode=0o700)},
                "found": {b"/persist/var/lib/x": found(0o755)},
            },
            "fail",
            id="open directory of a closed service",
        ),
        pytest.param(
            storage.secret_modes,
            {
                "declarations": (declaration(b"/var/lib/x"),),
                "rules": {b"/var/lib/x": rule("/var/lib/x", mode=0o700)},
                "found": {b"/persist/var/lib/x": found(0o700)},
            },
            "ok",
            id="closed directory",
        ),
        pytest.param(
            storage.private_modes, {"found": {b"/var/lib/private": found(0o700)}}, "ok", id="private"
        ),
        pytest.param(
            storage.private_modes,
            {"stores": (STORE,), "found": {b"/persist/var/lib/private": found(0o755)}},
            "fail",
            id="open private in the store",
        ),
        pytest.param(
            storage.private_modes,
            {"found": {b"/var/lib/private": found(0o700, uid=1000)}},
            "fail",
            id="private of a user",
        ),
        pytest.param(storage.owned_by_root, {"found": {b"/": found()}}, "ok", id="root owns /"),
        pytest.param(
            storage.owned_by_root, {"found": {b"/": found(uid=1000)}}, "fail", id="a user owns /"
        ),
        pytest.param(
            storage.owned_by_root,
            {"stores": (STORE,), "found": {b"/persist/var": found(0o777)}},
            "fail",
            id="everybody writes to a parent",
        ),
        pytest.param(
            entries.necessary_state,
            {"points": (point(b"/var"),), "found": {b"/etc/machine-id": found(0o777, Kind.SYMLINK)}},
            "ok",
            id="necessary state",
        ),
        pytest.param(
            entries.necessary_state,
            {"points": (point(b"/var/log"), point(b"/var/lib/systemd")),
             "declarations": (file(b"/etc/machine-id"),)},
            "fail",
            id="no map of ids",
        ),
        pytest.param(
            entries.necessary_state,
            {"points": (point(b"/var/log"),),
             "declarations": (declaration(b"/var/lib"),)},
            "warn",
            id="no machine-id",
        ),
        pytest.param(entries.duplicates, {"listed": (b"/a", b"/b")}, "ok", id="once"),
        pytest.param(entries.duplicates, {"listed": (b"/a", b"/b", b"/a")}, "fail", id="twice"),
        pytest.param(
            entries.nested, {"declarations": (declaration(b"/a/b"), declaration(b"/a/bc"))}, "ok", id="side by side"
        ),
        pytest.param(
            entries.nested, {"declarations": (declaration(b"/a"), file(b"/a/b/c"))}, "warn", id="nested entries"
        ),
        pytest.param(entries.over_broad, {"declarations": (declaration(b"/etc/ssh"),)}, "ok", id="narrow"),
        pytest.param(entries.over_broad, {"declarations": (declaration(b"/etc"),)}, "fail", id="/etc"),
        pytest.param(entries.over_broad, {"declarations": (declaration(b"/var"),)}, "warn", id="/var"),
        pytest.param(
            entries.dead,
            {"declarations": (declaration(b"/a"),), "found": {b"/persist/a": found()}},
            "ok",
            id="alive",
        ),
        pytest.param(
            entries.dead,
            {"declarations": (declaration(b"/a"),), "found": {b"/persist/a": found(empty=True)}},
            "warn",
            id="dead",
        ),
        pytest.param(
            entries.dead,
            {"declarations": (file(b"/a"),), "found": {b"/a": found(kind=Kind.SYMLINK)}},
            "warn",
            id="a link to nothing",
        ),
        pytest.param(
            entries.redundant,
            {"declarations": (file(b"/a"),), "rules": {b"/a": rule("/a")}},
            "ok",
            id="not redundant",
        ),
        pytest.param(
            entries.redundant,
            {"declarations": (file(b"/a"),), "rules": {b"/a": rule("/a", Verdict.REGENERATED)}},
            "warn",
            id="redundant",
        ),
        pytest.param(
            entries.kept_already,
            {"declarations": (declaration(b"/etc/x"),), "points": (point(b"/var/lib"),)},
            "ok",
            id="needed",
        ),
        pytest.param(
            entries.kept_already,
            {"declarations": (declaration(b"/var/lib/bluetooth"),), "points": (point(b"/var/lib"),)},
            "warn",
            id="on a subvolume already",
        ),
        pytest.param(
            entries.kept_already,
            {
                "declarations": (declaration(b"/var/lib/x"),),
                "points": (point(b"/var/lib/x", origin=b"/persist/var/lib/x"),),
            },
            "ok",
            id="its own bind mount",
        ),
        pytest.param(
            entries.replaced_files,
            {"declarations": (file(b"/a"),), "rules": {b"/a": rule("/a", replaced=True)}},
            "warn",
            id="replaced",
        ),
        pytest.param(
            entries.replaced_files,
            {
                "declarations": (file(b"/a"),),
                "rules": {b"/a": rule("/a", replaced=True, method="symlink")},
                "found": {b"/a": found(kind=Kind.SYMLINK)},
            },
            "ok",
            id="replaced through a link",
        ),
        pytest.param(
            entries.existing_files,
            {
                "declarations": (file(b"/a", state=State.PENDING),),
                "found": {b"/a": found(kind=Kind.FILE), b"/persist/a": found(kind=Kind.FILE)},
            },
            "fail",
            id="a file in the way",
        ),
        pytest.param(
            entries.existing_files,
            {
                "declarations": (file(b"/a", state=State.PENDING),),
                "found": {b"/a": found(kind=Kind.FILE, empty=True), b"/persist/a": found()},
            },
            "ok",
            id="an empty stub",
        ),
        pytest.param(
            entries.existing_files,
            {
                "declarations": (file(b"/a", state=State.PENDING),),
                "found": {b"/a": found(kind=Kind.FILE, empty=True)},
            },
            "fail",
            id="an empty file without a target",
        ),
        pytest.param(
            entries.existing_files,
            {"declarations": (file(b"/a"),), "found": {b"/a": found(kind=Kind.FILE)}},
            "ok",
            id="mounted already",
        ),
        pytest.param(entries.unsaved, {}, "ok", id="saved"),
        pytest.param(entries.unsaved, {"unsaved": frozenset((b"/a",))}, "fail", id="saved nowhere"),
        pytest.param(entries.undeclared, {"declarations": (declaration(b"/a"),)}, "ok", id="declared"),
        pytest.param(
            entries.undeclared,
            {"declarations": (declaration(b"/a", state=State.UNDECLARED),)},
            "warn",
            id="no longer declared",
        ),
    ],
)  # fmt: skip
def test_each_check_in_each_outcome(check, fields, expected):
    line = said(check, **fields)
    assert line.level == expected
    assert bool(line.cure) is (expected != "ok")


def test_no_check_is_forgotten():
    """Every check that there is has a name of its own and something to say of an empty machine."""
    names = {check.__name__ for part in (layout, storage, entries) for check in part.CHECKS}
    assert len(names) == 26
    assert {line.level for line in examine(Machine())} == {Level.OK, Level.WARN, Level.FAIL}


def test_the_cure_of_the_trap_quotes_hostile_names():
    blank = Blank(b"my blank; rm", read_only=True, inside=(b"my blank; rm/root",))
    assert (
        "mv '/mnt/my blank; rm/root' '/mnt/my blank; rm-new',"
        " btrfs subvolume delete '/mnt/my blank; rm',"
        " mv '/mnt/my blank; rm-new' '/mnt/my blank; rm'"
    ) in said(layout.blank_holds_no_subvolume, blank=blank).cure


def test_the_text_is_one_line_a_check_and_a_count():
    checks = [
        Check("blank", Level.OK, "root-blank is the blank"),
        Check("live root", Level.WARN, "a\nb", "do this"),
        Check("x", Level.FAIL, "no", "do that"),
    ]
    assert doctor_text.render(checks) == (
        "ok    blank      root-blank is the blank\n"
        "warn  live root  a\\nb. Cure: do this\n"
        "fail  x          no. Cure: do that\n"
        "\n"
        "1 failure and 1 warning.\n"
    )
    assert doctor_text.render(checks[:1]).endswith("\n\nAll is well.\n")


@given(st.lists(st.builds(Check, st.just("blank"), st.sampled_from(Level), st.text(), st.text())))
def test_no_name_breaks_a_line_or_reaches_the_terminal_raw(checks):
    lines = doctor_text.render(checks).split("\n")
    assert len(lines) == len(checks) + 3
    assert all(printable(line) == line for line in lines)


# On real Btrfs.


def doctor(*arguments):
    done = CliRunner().invoke(cli, ["doctor", "--json", *map(os.fsdecode, arguments)])
    assert done.stdout, done.exception
    checks = [
        (line["check"], line["level"], line["reason"]) for line in json.loads(done.stdout)["checks"]
    ]
    return done.exit_code, checks


def wrong(checks):
    return [(name, level) for name, level, _ in checks if level != "ok"]


def reason(checks, wanted):
    return [why for name, _, why in checks if name == wanted]


@pytest.mark.btrfs
def test_a_sound_machine_passes_every_check(lab):
    with LabMachine(lab) as machine:
        machine.root.activate(machine.root.system("1", {}))
        for path in ("/var/lib/nixos", "/var/lib/systemd"):
            machine.bind(path)
        machine.bind("/etc/machine-id", directory=False)
        for path in ("var/lib/nixos/uid-map", "var/lib/systemd/random-seed", "etc/machine-id"):
            machine.root.write(f"/persist/{path}", "x")
        code, checks = doctor("--live", machine.live, "--quiet")
        # Nothing in the lab's configuration declares these mounts.
        assert wrong(checks) == [("declared mounts", "warn")] * 3
        assert code == 0


@pytest.mark.btrfs
def test_the_trap_of_the_guide_is_found(lab):
    lab.create("root")
    lab.create("root-blank")
    # As `btrfs subvolume snapshot -r /mnt/root /mnt/root-blank` does where the latter exists.
    lab.snapshot("root", "root-blank/root", readonly=True)
    live = lab.mount_subvolume("root", lab.directory + b"/live")
    code, checks = doctor("--live", live)
    assert code == 1
    assert ("blank holds no snapshot", "fail") in wrong(checks)
    assert reason(checks, "blank holds no snapshot") == [
        (
            "root-blank/root lies inside of root-blank: the snapshot that was to become the blank was"
            " made in a subvolume of that name, and the boot restores the outer one"
        )
    ]


@pytest.mark.btrfs
def test_a_blank_that_is_writable_and_not_blank_is_told(lab):
    with LabMachine(lab, read_only=False) as machine:
        blank = Path(os.fsdecode(lab.path("root-blank")))
        (blank / "etc").mkdir()
        (blank / "etc/machine-id").write_text("x")
        _, checks = doctor("--live", machine.live)
    assert {("blank is read-only", "warn"), ("blank is blank", "warn")} <= set(wrong(checks))
    assert reason(checks, "blank is blank") == [
        "root-blank holds 1 file, such as /etc/machine-id, which come back old at each boot"
    ]


@pytest.mark.btrfs
def test_an_old_root_in_the_place_of_the_live_one_is_told(lab):
    lab.create("root-blank")
    lab.snapshot("root-blank", "old_roots/2026-01-01_12:00:00")
    live = lab.mount_subvolume("old_roots/2026-01-01_12:00:00", lab.directory + b"/live")
    code, checks = doctor("--live", live)
    assert code == 1
    assert reason(checks, "live root") == [
        f"{os.fsdecode(live)} is old_roots/2026-01-01_12:00:00, an old root that was moved away"
    ]


@pytest.mark.btrfs
def test_what_the_rollback_deletes_has_a_size_and_an_owner(lab):
    with LabMachine(lab) as machine:
        lab.create("root/var/lib/portables")
        lab.create("root/var/lib/docker/btrfs/subvolumes/layer")
        machine.root.write("/var/lib/docker/btrfs/subvolumes/layer/bin", "12345")
        _, checks = doctor("--live", machine.live)
    assert reason(checks, "nested subvolumes") == [
        (
            "/var/lib/docker/btrfs/subvolumes/layer (Docker) holds 1 file, 5 B, and the rollback deletes"
            " it"
        )
    ]


@pytest.mark.btrfs
def test_a_machine_without_a_blank_is_looked_at_all_the_same(lab):
    lab.create("root")
    live = lab.mount_subvolume("root", lab.directory + b"/live")
    code, checks = doctor("--live", live)
    assert code == 1
    assert reason(checks, "blank")[0].startswith("no blank snapshot was found")
    assert [why for why in reason(checks, "live root") if "is the subvolume root" in why]
    assert reason(checks, "persistent storage") == [
        "nothing is mounted at /persist: it is lost with the root"
    ]


def test_a_root_on_another_filesystem_is_no_crash(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    code, checks = doctor("--live", tmp_path)
    assert code == 1
    assert {("live root", "fail"), ("blank", "fail")} <= set(wrong(checks))


@pytest.mark.btrfs
def test_a_root_that_is_new_and_empty_at_each_boot_needs_no_blank(lab):
    lab.create("root")
    lab.create("old_roots/2026-01-01_12:00:00")
    lab.create("old_roots/2026-01-02_12:00:00")
    live = lab.mount_subvolume("root", lab.directory + b"/live")
    _, checks = doctor("--live", live)
    assert [line for line in checks if line[0].startswith("blank")] == [
        (
            "blank",
            "ok",
            "there is none: the root is new and empty at each boot, and 2 earlier ones are kept",
        )
    ]


GUIDE = """{ ... }: {
  environment.persistence."/persist" = {
    directories = [
      "/etc" "/var/spool" "/root" "/srv" "/etc/NetworkManager/system-connections"
      "/var/lib/bluetooth"
    ];
    files = [
      # "/etc/machine-id"
    ];
  };
}
"""


@pytest.mark.btrfs
def test_the_configuration_of_the_guide_is_judged_entry_by_entry(tmp_path):
    with Lab() as lab:
        for name in ("root-blank", "persist", "lib", "log"):
            lab.create(name)
        lab.snapshot("root-blank", "root")
        live = lab.mount_subvolume("root", lab.directory + b"/live")
        for name, place in (("persist", b"/persist"), ("lib", b"/var/lib"), ("log", b"/var/log")):
            lab.mount_subvolume(name, live + place)
        config = tmp_path / "impermanence.nix"
        config.write_text(GUIDE)
        code, checks = doctor("--live", live, "--config", config)
    assert code == 1
    assert [
        (name, level, why.split(":")[0].split(" lies")[0])
        for name, level, why in checks
        if name in ("nested entries", "over-broad entries", "needless entries", "necessary state")
    ] == [
        ("necessary state", "ok", "what NixOS itself needs is kept"),
        ("nested entries", "warn", "/etc/NetworkManager/system-connections"),
        ("over-broad entries", "fail", "/etc is persisted whole"),
        ("needless entries", "warn", "/var/lib/bluetooth is kept without it"),
    ]
