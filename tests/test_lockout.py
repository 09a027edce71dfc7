"""Which passwords the reboot takes back, on shadow files as passwd(1) and activation leave them."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from machine_lab import Machine
from nixos_root import NixosRoot, store_path

from drift.cli import cli
from drift.lockout import (
    Fate,
    Login,
    Users,
    fates,
    finding_of,
    parse_shadow,
    parse_users,
    read_users,
)
from drift.model import Severity, Verdict
from drift.system.rooted import Rooted

HASH, OTHER = "$y$j9T$SECRET$hash", "$6$OTHER$hash"
BY_ACTIVATION, TODAY = "1", "20400"


def shadow(**fields):
    rows = [f"{name}:{secret}:{changed}::::::" for name, (secret, changed) in fields.items()]
    return parse_shadow("\n".join(rows).encode())


def fate_of_alice(live, blank=None, users=None, files=None):
    older = {} if blank is None else shadow(alice=blank)
    return fates(shadow(alice=live), older, users, files or {}).get("alice")


def declared(mutable=True, **login):
    return Users(mutable, {"alice": Login(**login)})


@pytest.mark.parametrize(
    ("live", "blank", "users", "files", "fate"),
    [
        pytest.param((HASH, TODAY), (HASH, TODAY), None, {}, Fate.KEPT, id="the blank has it"),
        pytest.param((HASH, TODAY), (OTHER, TODAY), None, {}, Fate.OLDER, id="the blank's is older"),
        pytest.param((HASH, TODAY), ("!", "1"), None, {}, Fate.LOCKED, id="locked in the blank"),
        pytest.param((HASH, TODAY), None, None, {}, Fate.UNKNOWN, id="set by hand, nothing known"),
        pytest.param((HASH, "1"), None, None, {}, Fate.KEPT, id="as activation left it"),
        pytest.param(
            (HASH, TODAY), ("!", "1"), declared(secret=HASH.encode()), {}, Fate.LOCKED,
            id="mutable users: the blank goes before the declaration",
        ),
        pytest.param(
            (HASH, TODAY), ("!", "1"), declared(mutable=False, secret=HASH.encode()), {}, Fate.KEPT,
            id="immutable users: the declaration alone counts",
        ),
        pytest.param(
            (HASH, TODAY), None, declared(secret=OTHER.encode()), {}, Fate.DECLARED,
            id="differs from the declared one",
        ),
        pytest.param((HASH, TODAY), None, declared(secret=b"!"), {}, Fate.LOCKED, id="declared locked"),
        pytest.param((HASH, TODAY), None, declared(), {}, Fate.LOCKED, id="no password declared"),
        pytest.param((HASH, TODAY), None, Users(True, {}), {}, Fate.GONE, id="useradd"),
        pytest.param(
            (HASH, TODAY), None, declared(file=b"/persist/p"), {b"/persist/p": HASH.encode()},
            Fate.KEPT, id="the file has it",
        ),
        pytest.param(
            (HASH, TODAY), None, declared(file=b"/persist/p"), {b"/persist/p": OTHER.encode()},
            Fate.DECLARED, id="the file has another",
        ),
        pytest.param(
            (HASH, "1"), None, declared(file=b"/etc/p"), {b"/etc/p": None}, Fate.FILE_LOST,
            id="the file is on the root itself",
        ),
        pytest.param(
            (HASH, "1"), None, declared(file=b"/run/secrets/p"), {}, Fate.KEPT,
            id="a file nobody can read, as activation left it",
        ),
        pytest.param(
            (HASH, TODAY), None, declared(file=b"/run/secrets/p"), {}, Fate.DECLARED,
            id="a file nobody can read, changed since",
        ),
        pytest.param(
            (HASH, TODAY), None, declared(in_clear=True), {}, Fate.DECLARED, id="initialPassword"
        ),
        pytest.param(
            (HASH, "1"), None, declared(in_clear=True), {}, Fate.KEPT, id="initialPassword, unchanged"
        ),
        pytest.param(("!", "1"), None, declared(), {}, None, id="a locked account loses nothing"),
        pytest.param(("*", "1"), None, None, {}, None, id="a service has no password"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_password(live, blank, users, files, fate):
    assert fate_of_alice(live, blank, users, files) == fate


def test_the_finding_is_critical_names_the_cure_and_holds_no_hash():
    found = finding_of({"alice": Fate.OLDER, "bob": Fate.KEPT, "root": Fate.LOCKED})
    assert found is not None
    assert (found.verdict, found.severity, found.anchor, found.why) == (
        Verdict.PERSIST,
        Severity.CRITICAL,
        b"/etc/shadow",
        (
            "passwords that the reboot takes back (alice: an older password again;"
            " root: no password: the account is locked)"
        ),
    )
    assert "hashedPasswordFile on persistent storage" in (found.advice or "")
    assert finding_of({"alice": Fate.KEPT}) is None


SECRET = st.text("abcdefghij0123456789./$", min_size=12, max_size=40).map("$".__add__)


@given(SECRET, SECRET, SECRET, st.sampled_from(["1", "20400", ""]), st.booleans())
def test_no_hash_is_in_what_is_said_or_represented(live, blank, declared_hash, changed, mutable):
    text = f"alice:{live}:{changed}::::::\n".encode()
    lines = parse_shadow(text)
    older = parse_shadow(f"alice:{blank}:1::::::\n".encode())
    users = parse_users(
        json.dumps(
            {"mutableUsers": mutable, "users": [{"name": "alice", "hashedPassword": declared_hash}]}
        ).encode()
    )
    said = repr((lines, older, users, finding_of(fates(lines, older, users, {}))))
    assert not any(secret in said for secret in (live, blank, declared_hash))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"mutableUsers": true}', b"\xff", b'{"users": 1}']
)
def test_what_is_no_list_of_users_is_passed_over(text):
    assert parse_users(text) is None


def spec(*users, mutable=True):
    return json.dumps({"mutableUsers": mutable, "users": list(users), "groups": []})


def activate_with(root, text, digit="1"):
    path = store_path("users-groups.json", digit)
    root.write(path, text, 0o444)
    closure = root.system(digit, {})
    root.write(
        closure + "/activate",
        f"install -m 0755 -d /home\n\n/nix/store/x-perl/bin/perl \\\n-w {path[:-18]}.pl {path}\n",
        0o555,
    )
    return closure


def test_the_users_are_read_from_what_activation_is_given(tmp_path):
    root = NixosRoot(tmp_path / "live")
    running = spec({"name": "alice", "initialPassword": "hello"})
    upcoming = spec(
        {"name": "alice", "hashedPasswordFile": "/persist/alice", "hashedPassword": None},
        {"name": "bob", "initialHashedPassword": HASH, "password": None},
        mutable=False,
    )
    root.activate(activate_with(root, running))
    assert read_users(Rooted(root.bytes)) == Users(True, {"alice": Login(in_clear=True)})
    root.boot_next(activate_with(root, upcoming, "2"))
    assert read_users(Rooted(root.bytes)) == Users(
        False, {"alice": Login(file=b"/persist/alice"), "bob": Login(secret=HASH.encode())}
    )


def test_userborn_shows_its_users_in_its_unit(tmp_path):
    root = NixosRoot(tmp_path / "live")
    path = store_path("userborn.json")
    root.write(path, json.dumps({"users": [{"name": "alice", "hashedPassword": HASH}]}))
    text = (
        "[Service]\nEnvironment=USERBORN_MUTABLE_USERS=true\n"
        f"ExecStart=/nix/store/x/bin/userborn {path} /etc\n"
    )
    root.activate(root.system("1", {"systemd/system/userborn.service": text}))
    assert read_users(Rooted(root.bytes)) == Users(True, {"alice": Login(secret=HASH.encode())})


@pytest.mark.btrfs
def test_a_scan_warns_without_showing_a_secret(lab):
    with Machine(lab) as machine:
        root = machine.root
        users = spec({"name": "alice", "hashedPassword": OTHER}, {"name": "bob"})
        root.activate(activate_with(root, users))
        root.write(
            "/etc/shadow",
            f"root:!:1::::::\nalice:{HASH}:{TODAY}::::::\nbob:{OTHER}:1::::::\n",
            0o640,
        )
        roots = ["--live", machine.live]
        outputs = [
            CliRunner().invoke(cli, [*command, *roots]).stdout
            for command in (
                ["scan"],
                ["scan", "-v"],
                ["scan", "--json"],
                ["suggest"],
                ["suggest", "--nix"],
                ["suggest", "--all", "--json"],
                ["diff", "--json"],
            )
        ]
    assert not any(secret in text for text in outputs for secret in ("SECRET", "OTHER"))
    [group] = [one for one in json.loads(outputs[2])["groups"] if one["service"] == "users"]
    [entry] = group["entries"]
    assert (group["severity"], entry["path"], entry["verdict"], entry["why"]) == (
        "critical",
        "/etc/shadow",
        "persist",
        (
            "passwords that the reboot takes back (alice: the declared password again;"
            " bob: no password: the account is locked)"
        ),
    )
    assert '"/etc/shadow"' not in outputs[4]
    suggested = json.loads(outputs[5])
    assert "/etc/shadow" not in [one["file"] for one in suggested["files"]]
    [advice] = [one["say"] for one in suggested["advice"] if one["path"] == "/etc/shadow"]
    assert advice.startswith("give each user hashedPasswordFile on persistent storage")


@pytest.mark.btrfs
def test_the_blank_is_asked_wherever_it_is(lab):
    with Machine(lab, read_only=False) as machine:
        blank = lab.path("root-blank")
        os.makedirs(blank + b"/etc", exist_ok=True)
        with open(blank + b"/etc/shadow", "w") as file:
            file.write(f"alice:{OTHER}:{TODAY}::::::\n")
        machine.root.activate(machine.root.system("1", {}))
        machine.root.write("/etc/shadow", f"alice:{HASH}:{TODAY}::::::\n")
        for given in ("root-blank", os.fsdecode(blank)):
            done = CliRunner().invoke(
                cli, ["scan", "--live", machine.live, "--blank", given, "--json"]
            )
            [group] = [
                one for one in json.loads(done.stdout)["groups"] if one["service"] == "users"
            ]
            assert "alice: an older password again" in group["entries"][0]["why"]


# Each of these locks the owner out, or makes other state useless, when it is lost.
IRREPLACEABLE = [
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/machine-id",
    "/etc/luks-keys/disk.key",
    "/etc/cryptsetup-keys.d/disk.key",
    "/crypto_keyfile.bin",
    "/etc/secureboot/keys/db/db.key",
    "/var/lib/sbctl/keys/db/db.key",
    "/var/lib/nixos/uid-map",
    "/var/lib/systemd/credential.secret",
    "/var/lib/sops-nix/key.txt",
    "/var/lib/sops/age/keys.txt",
    "/root/.config/sops/age/keys.txt",
    "/etc/age/key.txt",
]


@pytest.mark.parametrize("path", IRREPLACEABLE)
def test_what_locks_out_is_critical_and_to_be_kept(path):
    done = CliRunner().invoke(cli, ["explain", "--json", path])
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["severity"]) == ("persist", "critical")
