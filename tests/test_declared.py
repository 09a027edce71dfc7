"""What is persisted already, from what the modules leave on a system."""

from __future__ import annotations

import json
import os

import pytest
from nixos_root import NixosRoot

from drift.errors import DriftError, UsageError
from drift.model import Kind
from drift.system.declared import Claim, Declaration, State, read_declared_active, with_claims
from drift.system.flake import read_flake
from drift.system.mounts import parse_mountinfo
from drift.system.programs import Completed

SUPER = b"rw,compress=zstd,space_cache=v2"
D, F = Kind.DIRECTORY, Kind.FILE


@pytest.fixture
def root(tmp_path):
    return NixosRoot(tmp_path / "live")


def mount_table(root, *binds):
    """The mounts of a root with /nix and /persist on their subvolumes, and what is bound there."""
    subvolumes = {"/nix": (258, "/nix"), "/persist": (259, "/persist")}
    lines = ["27 1 254:0 / / rw - ext4 /dev/vda rw", line(30, 27, root, "/", 262, "/root", "")]
    for number, (point, (subvolume_id, subvolume)) in enumerate(subvolumes.items(), 31):
        lines.append(line(number, 30, root, point, subvolume_id, subvolume, ""))
    for number, (point, inside) in enumerate(binds, 40):
        lines.append(line(number, 30, root, point, 259, "/persist", inside))
    return parse_mountinfo("\n".join(lines).encode())


def line(number, parent, root, point, subvolume_id, subvolume, inside):
    at = str(root.path) + ("" if point == "/" else point)
    options = f"rw,compress=zstd,subvolid={subvolume_id},subvol={subvolume}"
    return f"{number} {parent} 0:25 {subvolume}{inside} {at} rw - btrfs /dev/sdb {options}"


def impermanence_mount(path, store="/persist"):
    name = path.strip("/").replace("-", "\\x2d").replace("/", "-")
    return {
        f"systemd/system/{name}.mount": (
            "[Unit]\nBefore=local-fs.target\nDefaultDependencies=false\n\n"
            f"[Mount]\nOptions=bind,x-gvfs-hide\nType=none\nWhat={store}{path}\nWhere={path}\n"
        )
    }


def impermanence_file(path, method="auto", store="/persist"):
    name = (store + path).strip("/").replace("-", "\\x2d").replace("/", "-")
    return {
        f"systemd/system/persist-{name}.service": (
            "[Unit]\nBefore=local-fs.target\nDefaultDependencies=false\n"
            f"Description=Bind mount or link {store}{path} to {path}\n\n"
            '[Service]\nEnvironment="LOCALE_ARCHIVE=/run/current-system/sw/lib/locale"\n'
            f"ExecStart=/nix/store/x-persistence-mount-file {path} {store}{path} {method} 0\n\n"
            f"ExecStop=/nix/store/x-unbindOrUnlink-{name}\nRemainAfterExit=true\nType=oneshot\n"
        )
    }


def preservation_mount(path, *, file=False, store="/persist"):
    name = path.strip("/").replace("-", "\\x2d").replace("/", "-")
    condition = f"ConditionPathExists={store}{path}\n" if file else ""
    before = "preservation.target" if file else "systemd-tmpfiles-setup.service preservation.target"
    return {
        f"systemd/system/{name}.mount": (
            f"[Unit]\nBefore={before}\n{condition}Conflicts=umount.target\nDefaultDependencies=no\n\n"
            f"[Mount]\nOptions=bind,X-fstrim.notrim\nWhat={store}{path}\nWhere={path}\n"
        )
    }


def read(root, *binds):
    return [
        (entry.path, entry.store, entry.kind.value, entry.state.value, entry.by)
        for entry in read_declared_active(mount_table(root, *binds), root.bytes)
    ]


def test_impermanence_is_seen_in_its_units(root):
    files = impermanence_mount("/var/lib/blue-tooth") | impermanence_mount("/var/log", "/cache")
    files |= impermanence_file("/etc/machine-id") | impermanence_file("/home/a/.x y", "symlink")
    files |= impermanence_file("/etc/later")
    files = {
        name: text.replace("/home/a/.x y", "'/home/a/.x y'").replace(
            "/persist'/home/a/.x y'", "'/persist/home/a/.x y'"
        )
        for name, text in files.items()
    }
    root.activate(root.system("1", files))
    root.link("/home/a/.x y", "/persist/home/a/.x y")
    binds = [("/var/lib/blue-tooth", "/var/lib/blue-tooth"), ("/etc/machine-id", "/etc/machine-id")]
    assert read(root, *binds) == [
        (b"/etc/later", b"/persist", "file", "declared, not active yet", "impermanence"),
        (b"/etc/machine-id", b"/persist", "file", "active", "impermanence"),
        (b"/home/a/.x y", b"/persist", "file", "active", "impermanence"),
        (b"/var/lib/blue-tooth", b"/persist", "directory", "active", "impermanence"),
        (b"/var/log", b"/cache", "directory", "declared, not active yet", "impermanence"),
    ]


def test_preservation_is_seen_in_its_units_and_links(root):
    lines = (
        "d /persist/var/lib/x 0755 root root - -\nd /var/lib/x 0755 root root - -\n"
        "L /etc/linked - root root - /persist/etc/linked\n"
        "L /home/a/.dir - a users - /persist/home/a/.dir\n"
        "L /etc/store - - - - /nix/store/x/etc/store\nL /etc/other - - - - /srv/elsewhere\n"
    )
    files = preservation_mount("/var/lib/x") | preservation_mount("/etc/key", file=True)
    files |= {"tmpfiles.d/preservation.conf": lines}
    files |= {"tmpfiles.d/own.conf": "L+ /var/lib/own - - - - /persist/var/lib/own\n"}
    root.activate(root.system("1", files))
    root.link("/etc/linked", "/persist/etc/linked")
    root.at("/persist/home/a/.dir").mkdir(parents=True)
    root.at("/persist/var/lib/own").mkdir(parents=True)
    root.write("/persist/etc/linked")
    assert read(root, ("/var/lib/x", "/var/lib/x")) == [
        (b"/etc/key", b"/persist", "file", "declared, not active yet", "preservation"),
        (b"/etc/linked", b"/persist", "file", "active", "preservation"),
        (b"/home/a/.dir", b"/persist", "directory", "declared, not active yet", "preservation"),
        (
            b"/var/lib/own",
            b"/persist",
            "directory",
            "declared, not active yet",
            "tmpfiles.d/own.conf",
        ),
        (b"/var/lib/x", b"/persist", "directory", "active", "preservation"),
    ]


def test_what_preservation_mounts_in_the_initrd_is_active(root):
    root.activate(root.system("1", preservation_mount("/var/lib/x")))
    root.write("/etc/machine-id")
    binds = [("/etc/machine-id", "/etc/machine-id"), ("/var/lib/x", "/var/lib/x")]
    assert read(root, *binds) == [
        (b"/etc/machine-id", b"/persist", "file", "active", "preservation"),
        (b"/var/lib/x", b"/persist", "directory", "active", "preservation"),
    ]


def test_the_three_states_stand_apart(root):
    running = impermanence_mount("/var/lib/both") | impermanence_mount("/var/lib/old")
    running |= impermanence_mount("/var/lib/failed")
    upcoming = impermanence_mount("/var/lib/both") | impermanence_mount("/var/lib/new")
    root.activate(root.system("1", running))
    root.boot_next(root.system("2", upcoming))
    binds = [(path, path) for path in ("/var/lib/both", "/var/lib/old", "/srv/by-hand")]
    assert read(root, *binds) == [
        (
            b"/srv/by-hand",
            b"/persist",
            "directory",
            "mounted, no longer declared",
            "a mount that nothing declares",
        ),
        (b"/var/lib/both", b"/persist", "directory", "active", "impermanence"),
        (b"/var/lib/new", b"/persist", "directory", "declared, not active yet", "impermanence"),
        (b"/var/lib/old", b"/persist", "directory", "mounted, no longer declared", "impermanence"),
    ]


def test_a_mount_of_something_else_is_not_the_declared_one(root):
    root.activate(root.system("1", impermanence_mount("/var/lib/x")))
    assert read(root, ("/var/lib/x", "/elsewhere")) == [
        (b"/var/lib/x", b"/persist", "directory", "declared, not active yet", "impermanence")
    ]


def test_fstab_and_links_of_etc_persist_too(root):
    fstab = (
        "/persist/etc/ssh /etc/ssh none bind 0 0\n"
        "/persist/music /home/a/Music none bind 0 0\n"
        "/var/tmp/x /var/cache/x none bind 0 0\n"
        "/dev/sdb /home btrfs subvol=home 0 0\n"
    )
    closure = root.system("1", {"fstab": fstab})
    etc = os.readlink(root.at(closure + "/etc"))
    root.link(etc + "/machine-id", "/persist/etc/machine-id")
    root.write("/persist/etc/machine-id", "x")
    root.activate(closure)
    assert read_declared_active(mount_table(root, ("/etc/ssh", "/etc/ssh")), root.bytes) == [
        Declaration(
            b"/etc/machine-id",
            b"/persist",
            F,
            State.ACTIVE,
            "environment.etc",
            b"/persist/etc/machine-id",
        ),
        Declaration(b"/etc/ssh", b"/persist", D, State.ACTIVE, "/etc/fstab", b"/persist/etc/ssh"),
        Declaration(b"/home/a/Music", b"", D, State.PENDING, "/etc/fstab", b"/persist/music"),
    ]


def test_other_mount_units_and_damaged_ones_are_no_declaration(root):
    files = {
        "systemd/system/a.mount": "[Mount]\nWhat=/dev/sda1\nWhere=/a\nOptions=rw\n",
        "systemd/system/b.mount": "[Mount]\nWhat=relative\nWhere=/b\nOptions=bind\n",
        "systemd/system/c.mount": "[Mount]\nWhat=/c\nWhere=/c\nOptions=bind\n",
        "systemd/system/d.mount": "nonsense",
        "systemd/system/persist-x.service": "[Unit]\nDescription=other\n[Service]\nExecStart=/bin/x\n",
    }
    root.activate(root.system("1", files))
    assert read(root) == []


def test_a_root_that_nixos_never_touched_declares_nothing(root):
    assert read(root) == []


def test_the_description_names_a_file_where_the_command_does_not(root):
    text = (
        "[Unit]\nDescription=Bind mount or link /persist/etc/adjtime to /etc/adjtime\n"
        "[Service]\nExecStart=/nix/store/x-script\n"
    )
    root.activate(root.system("1", {"systemd/system/persist-x.service": text}))
    assert read(root) == [
        (b"/etc/adjtime", b"/persist", "file", "declared, not active yet", "impermanence")
    ]


def test_a_configuration_adds_to_what_the_system_shows():
    shown = [
        Declaration(b"/a", b"/p", D, State.ACTIVE, "impermanence", b"/p/a"),
        Declaration(b"/b", b"/p", D, State.UNDECLARED, "impermanence", b"/p/b"),
    ]
    claims = [
        Claim(b"/a", b"/p/a", D, "flake .#h"),
        Claim(b"/b", b"/p/b", D, "flake .#h"),
        Claim(b"/c", b"/p/c", F, "flake .#h"),
    ]
    assert with_claims(shown, claims) == [
        Declaration(b"/a", b"/p", D, State.ACTIVE, "impermanence", b"/p/a"),
        Declaration(b"/b", b"/p", D, State.ACTIVE, "flake .#h", b"/p/b"),
        Declaration(b"/c", b"/p", F, State.PENDING, "flake .#h", b"/p/c"),
    ]


FLAKE = """
{
  outputs = _: {
    nixosConfigurations."host.example".config = {
      unrelated = throw "must not be asked for";
      users.users.alice.home = "/home/alice";
      environment.persistence = {
        "/persist" = {
          enable = true;
          persistentStoragePath = "/persist";
          directories = [
            { directory = "/var/lib/x"; dirPath = "/var/lib/x"; user = throw "no"; }
            { directory = "/etc/it's \\\\ \\${odd}"; }
          ];
          files = [ { file = "/etc/machine-id"; filePath = "/etc/machine-id"; } ];
          users.alice = {
            directories = [ { directory = ".ssh"; } ];
            files = [ { file = ".bashrc"; filePath = "/home/alice/.bashrc"; } ];
          };
        };
        "/off" = { enable = false; directories = throw "no"; };
      };
      preservation.enable = true;
      preservation.preserveAt."/keep" = {
        directories = [
          { directory = "/srv/x"; how = "bindmount"; }
          { directory = "/srv"; how = "_intermediate"; }
        ];
        files = [ { file = "/etc/key"; how = "symlink"; } ];
        users.bob.directories = [ { directory = "/home/bob/.x"; how = "bindmount"; } ];
      };
    };
    nixosConfigurations.broken.config = throw "the reason";
    nixosConfigurations.none.config = { };
  };
}
"""


@pytest.mark.nix
def test_a_flake_says_what_it_persists(tmp_path):
    (tmp_path / "flake.nix").write_text(FLAKE)
    reference = f"{tmp_path}#host.example"
    by = f"flake {reference}"
    assert read_flake(reference) == (
        [
            Claim(b"/var/lib/x", b"/persist/var/lib/x", D, by),
            Claim(b"/etc/it's \\ ${odd}", b"/persist/etc/it's \\ ${odd}", D, by),
            Claim(b"/etc/machine-id", b"/persist/etc/machine-id", F, by),
            Claim(b"/home/alice/.ssh", b"/persist/home/alice/.ssh", D, by),
            Claim(b"/home/alice/.bashrc", b"/persist/home/alice/.bashrc", F, by),
            Claim(b"/srv/x", b"/keep/srv/x", D, by),
            Claim(b"/etc/key", b"/keep/etc/key", F, by),
            Claim(b"/home/bob/.x", b"/keep/home/bob/.x", D, by),
        ],
        [],
    )
    assert read_flake(f"{tmp_path}#none") == ([], [])
    assert sorted(os.listdir(tmp_path)) == ["flake.nix"]
    with pytest.raises(DriftError) as caught:
        read_flake(f"{tmp_path}#broken")
    assert caught.value.message == f"Nix can't evaluate {tmp_path}#broken: the reason"


def answer(value, returncode=0, stderr=b""):
    return lambda _argv: Completed(returncode, json.dumps(value).encode(), stderr)


def test_an_entry_of_another_form_is_named_and_the_rest_kept():
    good = {"root": "/persist", "path": "//var/./lib/x/", "kind": "directory"}
    bad = [{"root": "/persist"}, {"root": "/persist", "path": "/", "kind": "directory"}]
    assert read_flake(".#h", answer([good, *bad])) == (
        [Claim(b"/var/lib/x", b"/persist/var/lib/x", D, "flake .#h")],
        [".#h: an entry without a path was left out"] * 2,
    )


def test_a_flake_without_a_host_is_said():
    with pytest.raises(UsageError) as caught:
        read_flake("/etc/nixos")
    assert caught.value.message == "/etc/nixos names no host"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (b"warning: dirty\n\x1b[31;1merror:\x1b[0m no such flake\n", "no such flake"),
        (b"error:\n  at x\n  error: the reason\n", "the reason"),
        (b"", "it says no more"),
    ],
)
def test_what_nix_complains_about_is_passed_on(stderr, said):
    with pytest.raises(DriftError) as caught:
        read_flake(".#h", answer(None, 1, stderr))
    assert caught.value.message == f"Nix can't evaluate .#h: {said}"


def test_an_answer_that_is_no_json_is_said():
    with pytest.raises(DriftError) as caught:
        read_flake(".#h", lambda _argv: Completed(0, b"{", b""))
    assert caught.value.message == "Nix gave no JSON for .#h"
