"""What comes back by itself, on roots as activation leaves them."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nixos_root import NixosRoot, store_path

from drift.model import Kind, Skipped
from drift.system.fstab import parse_fstab, planned_mounts
from drift.system.nixos import read_regenerated, store_link
from drift.system.rooted import Rooted
from drift.system.tmpfiles import Line, expand, parse_tmpfiles, read_tmpfiles, unescape

F, D, L = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK


@pytest.fixture
def root(tmp_path):
    return NixosRoot(tmp_path / "live root")


def ask(root, *entries):
    regenerated = read_regenerated(root.bytes)
    return [regenerated.reason(path, kind, target) for path, kind, target in entries]


def test_links_and_the_directories_that_hold_them_come_back(root):
    root.activate(root.system("1", {"hosts": "x", "X11/xorg.conf": "y", "systemd/system": "z"}))
    assert ask(
        root,
        (b"/etc/hosts", L, b"/etc/static/hosts"),
        (b"/etc/X11", D, None),
        (b"/etc/X11/xorg.conf", L, b"/etc/static/X11/xorg.conf"),
        (b"/etc/X11/own.conf", F, None),
        (b"/etc/gone", L, b"/etc/static/gone"),
        (b"/etc/hosts", F, None),
        (b"/etc/own", D, None),
        (b"/etc/own", L, b"/home/alice/own"),
    ) == [
        "a link that NixOS makes at activation",
        "made at activation for the files below it",
        "a link that NixOS makes at activation",
        None,
        "a link that NixOS makes at activation",
        None,
        None,
        None,
    ]


def test_a_copied_file_comes_back_until_it_is_edited(root):
    root.activate(
        root.system(
            "1",
            {},
            copied={"sudoers": "root ALL\n", "ssh/authorized_keys.d/alice": "ssh-ed25519 A"},
        )
    )
    entries = [(b"/etc/sudoers", F, None), (b"/etc/ssh/authorized_keys.d/alice", F, None)]
    copied = "copied from the configuration at activation"
    assert ask(root, *entries) == [copied, copied]
    assert read_regenerated(root.bytes).edited == {}

    root.write("/etc/sudoers", "root ALL\nalice ALL\n")
    assert ask(root, *entries) == [None, copied]
    assert read_regenerated(root.bytes).edited == {
        b"/etc/sudoers": "edited after NixOS copied it from the configuration: activation replaces it"
    }


def test_a_file_in_the_place_of_a_link_is_an_edit(root):
    root.activate(root.system("1", {"hosts": "x"}))
    root.at("/etc/hosts").unlink()
    root.write("/etc/hosts", "127.0.0.1 own\n")
    assert read_regenerated(root.bytes).edited == {
        b"/etc/hosts": "a file of its own where NixOS makes a link: activation replaces it"
    }


def test_what_the_next_boot_copies_is_no_edit(root):
    running = root.system("1", {"issue": "old"}, copied={"sudoers": "old"})
    upcoming = root.system("2", {}, copied={"sudoers": "new", "issue": "welcome"})
    root.activate(running)
    root.boot_next(upcoming)
    root.at("/etc/issue").unlink()
    root.write("/etc/issue", "welcome")
    copied = "copied from the configuration at activation"
    for content in ("old", "new"):
        root.write("/etc/sudoers", content)
        assert ask(root, (b"/etc/sudoers", F, None), (b"/etc/issue", F, None)) == [copied, copied]
        assert read_regenerated(root.bytes).edited == {}


def test_a_direct_link_comes_back_only_as_it_was_declared(root):
    root.activate(root.system("1", {}, direct={"localtime": "/etc/zoneinfo/Europe/Berlin"}))
    assert ask(
        root,
        (b"/etc/localtime", L, b"/etc/zoneinfo/Europe/Berlin"),
        (b"/etc/localtime", L, b"/etc/zoneinfo/Asia/Tokyo"),
    ) == ["a link that NixOS makes at activation", None]


def test_what_activation_and_boot_always_make(root):
    reasons = {
        path: ask(root, (path, kind, target))[0]
        for path, kind, target in [
            (b"/etc/static", L, b"/nix/store/x-etc/etc"),
            (b"/etc/NIXOS", F, None),
            (b"/etc/passwd", F, None),
            (b"/etc/.pwd.lock", F, None),
            (b"/etc/resolv.conf", F, None),
            (b"/bin/sh", L, b"/bin/dash"),
            (b"/var/.updated", F, None),
            (b"/var/lib/systemd/catalog/database", F, None),
            (b"/var/lib", D, None),
            (b"/etc/machine-id", F, None),
            (b"/etc/adjtime", F, None),
            (b"/etc/group", D, None),
            (b"/etc/shadow", F, None),
        ]
    }
    assert reasons == {
        b"/etc/static": "points to the configuration; made at activation",
        b"/etc/NIXOS": "marks the system as NixOS; made at activation",
        b"/etc/passwd": "written at activation from the users and groups of the configuration",
        b"/etc/group": None,
        b"/etc/shadow": None,
        b"/etc/.pwd.lock": "left behind by the last change of users",
        b"/etc/resolv.conf": "written when the network comes up",
        b"/bin/sh": "a link that NixOS makes at activation",
        b"/var/.updated": "says when systemd last updated /var; written at boot",
        b"/var/lib/systemd/catalog/database": "the index of journal messages, built at boot",
        b"/var/lib": "a directory that every NixOS has",
        b"/etc/machine-id": None,
        b"/etc/adjtime": None,
    }


HM = store_path("home-manager-files").encode()


@pytest.mark.parametrize(
    ("target", "path", "reason"),
    [
        (HM + b"/.zshrc", b"/home/a/.zshrc", "a link that home-manager makes"),
        (
            store_path("home-manager-generation").encode(),
            b"/home/a/.local/state/home-manager/gcroots/current-home",
            "a link that home-manager makes",
        ),
        (store_path("firefox").encode(), b"/opt/firefox", "a link into the Nix store"),
        (
            store_path("user-environment").encode(),
            b"/home/a/.local/state/nix/profiles/profile-3-link",
            None,
        ),
        (b"/etc/static", b"/x", "a link that NixOS makes at activation"),
        (b"/etc/staticx", b"/x", None),
        (b"/run/current-system/sw/bin/sh", b"/x", "a link into the running system"),
        (b"/run/secrets/key", b"/x", "a link to a secret that is decrypted at each boot"),
        (b"/run/user/1000/x", b"/x", None),
        (b"/nix/storeroom/x", b"/x", None),
        (b"", b"/x", None),
        (b"/persist/x", b"/x", None),
        (b"/nix/store/\xff\n", b"/x", "a link into the Nix store"),
    ],
)
def test_store_links(target, path, reason):
    assert store_link(target, path) == reason


def test_home_manager_makes_its_links_and_their_directories(root):
    generation = store_path("home-manager-generation", "3")
    files = store_path("home-manager-files", "3")
    root.write(f"{files}/.config/git/config", "x")
    root.link(f"{generation}/home-files", files)
    root.write("/etc/passwd", "alice:x:1000:100::/home/alice:/bin/sh\n")
    unit = f"[Service]\nUser=alice\nExecStart=/nix/store/x-hm-setup-env {generation}\n"
    root.activate(root.system("1", {"systemd/system/home-manager-alice.service": unit}))
    assert ask(
        root,
        (b"/home/alice/.config/git/config", L, files.encode() + b"/.config/git/config"),
        (b"/home/alice/.config/git", D, None),
        (b"/home/alice/.config/git/config", F, None),
        (b"/home/alice/.config/other", D, None),
    ) == [
        "a link that home-manager makes",
        "made by home-manager for the links below it",
        None,
        None,
    ]


TMPFILES = """
d /var/lib/fresh 0750 app app - -
f /var/lib/stamp 0644 root root - hello\\x20world
f /var/lib/changed 0644 root root - hello
f+ /var/lib/always 0644 root root - hello
L+ /var/lib/link - - - - /nix/store/x
L /var/lib/mine - - - - /somewhere
C /var/lib/copy - - - - /nix/store/source
p /var/lib/pipe 0600
c /var/lib/null 0666 root root - 1:3
d /var/lib/*/glob
z /var/lib/mode 0700
"""


def test_tmpfiles_bring_back_what_they_write_and_no_more(root):
    root.activate(root.system("1", {"tmpfiles.d/app.conf": TMPFILES}))
    root.write("/var/lib/stamp", "hello world")
    root.write("/var/lib/changed", "hello, since then more")
    root.write("/var/lib/always", "anything")
    root.write("/nix/store/source/same", "1")
    root.write("/nix/store/source/sub/edited", "2")
    root.write("/var/lib/copy/same", "1")
    root.write("/var/lib/copy/sub/edited", "3")
    makes = "tmpfiles.d/app.conf"
    entries = {
        (b"/var/lib/fresh", D, None): f"an empty directory that {makes} makes at boot",
        (b"/var/lib/fresh/data", F, None): None,
        (b"/var/lib/stamp", F, None): f"{makes} writes it at boot",
        (b"/var/lib/changed", F, None): None,
        (b"/var/lib/always", F, None): f"{makes} writes it at boot",
        (b"/var/lib/link", L, b"/nix/store/x"): f"a link that {makes} makes at boot",
        (b"/var/lib/mine", L, b"/somewhere"): f"a link that {makes} makes at boot",
        (b"/var/lib/mine", L, b"/elsewhere"): None,
        (b"/var/lib/copy", D, None): f"{makes} copies it from /nix/store/source at boot",
        (b"/var/lib/copy/same", F, None): f"{makes} copies it from /nix/store/source at boot",
        (b"/var/lib/copy/sub", D, None): f"{makes} copies it from /nix/store/source at boot",
        (b"/var/lib/copy/sub/edited", F, None): None,
        (b"/var/lib/copy/own", F, None): None,
        (b"/var/lib/pipe", Kind.FIFO, None): f"{makes} makes it at boot",
        (b"/var/lib/null", Kind.CHARACTER, None): f"{makes} makes it at boot",
        (b"/var/lib/null", F, None): None,
        (b"/var/lib/mode", D, None): None,
        (b"/var/lib/*/glob", D, None): None,
    }
    assert dict(zip(entries, ask(root, *entries), strict=True)) == entries


def test_mount_points_and_parents_are_made_at_boot(root):
    fstab = "/dev/sda1 /media/big\\040disk ext4 defaults 0 2\n"
    root.activate(root.system("1", {"fstab": fstab, "tmpfiles.d/a.conf": "d /opt/a/b"}))
    assert ask(root, (b"/media/big disk", D, None), (b"/media", D, None), (b"/opt/a", D, None)) == [
        "a mount point, made at boot",
        "made at boot for what lies below it",
        "made at boot for what lies below it",
    ]


def test_a_plain_directory_and_a_damaged_root_are_read_all_the_same(root, tmp_path):
    assert read_regenerated(os.fsencode(tmp_path / "none")).edited == {}
    root.activate(root.system("1", {"tmpfiles.d/a.conf": "d /opt/a"}))
    shutil.rmtree(root.at("/etc/tmpfiles.d"))
    root.link("/etc/tmpfiles.d", "/loop")
    root.link("/loop", "/etc/tmpfiles.d")
    root.write("/etc/.clean", b"../../x\n\xff\n\0\n/etc\n")
    regenerated = read_regenerated(root.bytes)
    assert b"/opt/a" in regenerated.candidates()
    assert regenerated.skipped == (
        Skipped(b"/etc/tmpfiles.d", "Too many levels of symbolic links"),
    )


def test_a_store_that_is_not_mounted_leaves_nothing_unread(root):
    root.link("/etc/static", "/nix/store/x-etc/etc")
    regenerated = read_regenerated(root.bytes)
    assert regenerated.skipped == ()
    link = regenerated.reason(b"/etc/static", Kind.SYMLINK, b"/nix/store/x-etc/etc")
    assert link == "points to the configuration; made at activation"


def test_tmpfiles_lines_are_read_whole():
    text = (
        b"# comment\n\n"
        b'L+!  "/with space/\\x41"  -  -  -  -  /target with space\n'
        b"f~ %S/a//b/ ~0640 :app app 10d aGVsbG8=\n"
        b'd /run/%m\nbroken\nd relative\n"" /x\nw /sys/x - - - - %%1\n'
        b"D /var/cache/x 1777 root root 30d\n"
    )
    assert list(parse_tmpfiles(text, "tmpfiles.d/x.conf")) == [
        Line(
            "L",
            "+!",
            b"/with space/A",
            None,
            "",
            "",
            "",
            b"/target with space",
            "tmpfiles.d/x.conf",
        ),
        Line(
            "f", "~", b"/var/lib/a/b", 0o640, "app", "app", "10d", b"aGVsbG8=", "tmpfiles.d/x.conf"
        ),
        Line("w", "", b"/sys/x", None, "", "", "", b"%%1", "tmpfiles.d/x.conf"),
        Line("D", "", b"/var/cache/x", 0o1777, "root", "root", "30d", b"", "tmpfiles.d/x.conf"),
    ]


def test_only_conf_files_are_tmpfiles(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/b.conf").write_text("d /b\nd /b\n")
    (tmp_path / "t/a.conf").write_text("d /a\n")
    (tmp_path / "t/c.conf~").write_text("d /c\n")
    os.mkfifo(tmp_path / "t/d.conf")
    lines, skipped = read_tmpfiles(Rooted(os.fsencode(tmp_path)), [b"/t", b"/none"])
    assert [line.path for line in lines] == [b"/a", b"/b"]
    assert skipped == [Skipped(b"/t/d.conf", "not a regular file")]


def test_specifiers_and_escapes():
    assert expand(b"100%% %S/%t") == b"100% /var/lib//run"
    assert expand(b"/run/%b") is None
    assert expand(b"trailing %") is None
    assert unescape(rb"a\n\x41\101\s\q") == b"a\nAA q"


@given(st.binary(max_size=120))
def test_no_bytes_break_the_tmpfiles_reader(text):
    for line in parse_tmpfiles(text, "x"):
        assert line.path.startswith(b"/")


FSTAB = b"""# written by NixOS
/dev/mapper/cryptroot / btrfs subvol=root,compress=zstd 0 0
/dev/mapper/cryptroot /home btrfs compress=zstd,subvol=/home 0 0
/dev/mapper/cryptroot /again btrfs subvol=/root 0 0
/dev/disk/by-uuid/AB-CD /boot vfat fmask=0022 0 2
/persist/etc/ssh /etc/ssh none bind 0 0
tmpfs /tmp tmpfs size=50% 0 0
/swap none swap sw 0 0
short
"""


def test_an_fstab_says_what_will_outlive_the_root():
    kept = planned_mounts(list(parse_fstab(FSTAB)))
    assert [(entry.path, entry.by) for entry in kept] == [
        (b"/boot", "vfat on /dev/disk/by-uuid/AB-CD, by /etc/fstab"),
        (b"/etc/ssh", "bind mount from /persist/etc/ssh, by /etc/fstab"),
        (b"/home", "subvolume home, by /etc/fstab"),
    ]
