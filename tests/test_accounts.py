"""Users, groups and homes as the root itself has them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drift.model import Skipped
from drift.system.accounts import Account, read_accounts

PASSWD = b"""root:x:0:0:System administrator:/root:/run/current-system/sw/bin/bash
messagebus:x:4:4:D-Bus system message bus daemon user:/run/dbus:/run/current-system/sw/bin/nologin
git:x:900:900::/home/git:/bin/sh
postgres:x:71:71:PostgreSQL server user:/var/lib/postgresql:/bin/sh
srv:x:901:901::/srv/app:/bin/sh
alice:x:1000:100:Alice:/home/alice/:/run/current-system/sw/bin/zsh
bob:x:1001:100::/data//people/./bob:/bin/sh
jail:x:1002:100::/home/alice/jail:/bin/sh
worker:x:1003:100::/var/lib/worker:/bin/sh
nixbld1:x:30001:30000:Nix build user 1:/var/empty:/run/current-system/sw/bin/nologin
nobody:x:65534:65534:Unprivileged account (don't use!):/var/empty:/bin/nologin
"""
GROUP = b"root:x:0:\nwheel:x:1:alice\nusers:x:100:\npostgres:x:71:\nstaff:x:100:\n"


def make_root(tmp_path, passwd=PASSWD, group=GROUP):
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/passwd").write_bytes(passwd)
    (tmp_path / "etc/group").write_bytes(group)
    return os.fsencode(tmp_path)


def test_homes_are_those_of_people_and_root(tmp_path):
    accounts = read_accounts(make_root(tmp_path))
    assert dict(accounts.homes) == {
        "root": b"/root",
        "git": b"/home/git",
        "alice": b"/home/alice",
        "bob": b"/data/people/bob",
        "jail": b"/home/alice/jail",
    }
    assert accounts.home_directories == (
        b"/data/people/bob",
        b"/home/alice",
        b"/home/alice/jail",
        b"/home/git",
        b"/root",
    )
    assert accounts.skipped == ()


def test_ids_have_the_names_of_this_root(tmp_path):
    accounts = read_accounts(make_root(tmp_path))
    assert [accounts.user_name(uid) for uid in (0, 71, 1000, 4242)] == [
        "root",
        "postgres",
        "alice",
        "4242",
    ]
    assert [accounts.group_name(gid) for gid in (0, 100, 4242)] == ["root", "users", "4242"]
    assert accounts.groups["staff"] == 100
    assert accounts.users["postgres"] == Account(
        "postgres", 71, 71, b"/var/lib/postgresql", b"/bin/sh"
    )


def test_a_path_belongs_to_the_innermost_home(tmp_path):
    accounts = read_accounts(make_root(tmp_path))
    paths = [
        b"/home/alice",
        b"/home/alice/.ssh/id",
        b"/home/alice/jail/x",
        b"/home/alicex",
        b"/home",
        b"/root/.bash_history",
        b"/var/lib/postgresql",
        b"/",
        b"",
    ]
    assert [accounts.home_of(path) for path in paths] == [
        ("alice", b"/home/alice"),
        ("alice", b"/home/alice"),
        ("jail", b"/home/alice/jail"),
        None,
        None,
        ("root", b"/root"),
        None,
        None,
        None,
    ]


def test_damaged_lines_are_passed_over(tmp_path):
    passwd = (
        b"\n:::::\n+::::::\nx:x:y:z::/home/x:\nno colon\nshort:x:1:1\n"
        b"up:x:1005:1:::\nback:x:1006:1::/home/../etc:\nrel:x:1007:1::home/rel:\n"
        b"nul\0:x:1008:1::/home/a\0b:\nok\xff:x:1009:1::/home/ok\xff\n"
        b"big:x:99999999999:1::/home/big:\n"
    )
    accounts = read_accounts(make_root(tmp_path, passwd, b"\nusers\nusers:x:\nu:x:7\n"))
    assert dict(accounts.homes) == {"root": b"/root", "ok\udcff": b"/home/ok\xff"}
    assert dict(accounts.groups) == {"u": 7}


def test_the_first_of_several_names_counts(tmp_path):
    passwd = b"root:x:0:0::/root:\ntoor:x:0:0::/root:\nroot:x:5:5::/home/evil:\n"
    accounts = read_accounts(make_root(tmp_path, passwd))
    assert accounts.user_name(0) == "root"
    assert accounts.users["root"].uid == 0
    assert accounts.home_of(b"/root/x") == ("root", b"/root")


def test_without_passwd_the_directories_are_the_homes(tmp_path):
    for name in (b"home/alice", b"home/\xff", b"etc"):
        os.makedirs(os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / "home/file").touch()
    (tmp_path / "home/link").symlink_to("alice")
    accounts = read_accounts(os.fsencode(tmp_path))
    assert dict(accounts.homes) == {
        "root": b"/root",
        "alice": b"/home/alice",
        "\udcff": b"/home/\xff",
    }
    assert accounts.user_name(1000) == "1000"
    assert accounts.skipped == ()


def test_a_link_leads_to_the_roots_own_file_and_never_out_of_it(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("evil:x:1000:1::/home/evil:\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "nix").mkdir()
    (root / "nix/passwd").write_text("alice:x:1000:1::/home/alice:\n")
    (root / "etc/passwd").symlink_to("/nix/passwd")
    (root / "etc/group").symlink_to("../../../../outside")
    outside.write_text("evil:x:100:\n")
    accounts = read_accounts(os.fsencode(root))
    assert accounts.user_name(1000) == "alice"
    assert accounts.group_name(100) == "100"


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    (tmp_path / "etc/group").symlink_to("group")
    accounts = read_accounts(os.fsencode(tmp_path))
    assert accounts.skipped == (
        Skipped(b"/etc/passwd", "not a regular file"),
        Skipped(b"/etc/group", "Too many levels of symbolic links"),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_break_the_reader(tmp_path, passwd, group):
    accounts = read_accounts(make_root(tmp_path, passwd, group))
    for name, home in accounts.homes.items():
        assert accounts.home_of(home + b"/x") is not None, name
