"""A NixOS machine as activation and a few weeks of use leave it: every changed entry has its verdict."""

from __future__ import annotations

import json
import os

import pytest
from machine_lab import Machine
from nixos_root import store_path
from test_declared import (
    impermanence_file,
    impermanence_mount,
    preservation_mount,
)

from drift import judge, pipeline
from drift.diff.stream import Block
from drift.model import Verdict

TEMPLATE = store_path("template")
HOME_FILES = store_path("home-manager-files")


def unit(text, description):
    return f"[Unit]\nDescription={description}\n\n[Service]\n{text}"


UNITS = {
    "systemd/system/weather.service": unit(
        "DynamicUser=true\nStateDirectory=weather\nCacheDirectory=weather\n", "Weather station"
    ),
    "systemd/system/ledger.service": unit(
        "User=ledger\nStateDirectory=ledger\nStateDirectoryMode=0750\nLogsDirectory=ledger\n",
        "Ledger",
    ),
    "systemd/system/scanner.service": unit(
        "ExecStart=/nix/store/x/bin/scanner --data /srv/scans/data --port 80\n", "Scanner"
    ),
    "systemd/system/sshd.service": unit("ExecStart=/nix/store/x/bin/sshd -D\n", "SSH Daemon"),
}

TMPFILES = f"""\
d /var/lib/made 0750 root root - -
d /var/spool/cron 0755 root root - -
D /var/lib/emptied 0755 root root - -
f /var/lib/written 0644 root root - as\\x20declared\\n
f /var/lib/altered 0644 root root - as\\x20declared\\n
L+ /var/lib/linked - - - - /nix/store/x
L /var/lib/relinked - - - - /nix/store/x
C /var/lib/copied - - - - {TEMPLATE}
r! /var/lib/stale.lock
e /var/lib/aged - - - 10d
"""

ETC = {
    "hosts": "127.0.0.1 localhost\n",
    "pam.d/login": "auth required\n",
    "ssh/sshd_config": "Port 22\n",
    "tmpfiles.d/00-nixos.conf": TMPFILES,
    "tmpfiles.d/preservation.conf": "L /var/lib/kept-link - - - - /persist/var/lib/kept-link\n",
    "fstab": "/dev/x / btrfs subvol=root 0 0\n/dev/x /srv/media btrfs subvol=media 0 0\n",
}
COPIED = {
    "sudoers": "root ALL=(ALL) ALL\n",
    "ssh/authorized_keys.d/alice": "ssh-ed25519 AAAA alice\n",
    "app/edited.conf": "as declared\n",
}
PASSWD = """\
root:x:0:0:System administrator:/root:/run/current-system/sw/bin/bash
ledger:x:950:950::/var/empty:/run/current-system/sw/bin/nologin
carol:x:951:951::/var/empty:/run/current-system/sw/bin/nologin
alice:x:1000:100:Alice:/alice:/run/current-system/sw/bin/bash
"""
USERS = {
    "mutableUsers": True,
    "users": [
        {"name": "root", "hashedPassword": "!"},
        {"name": "alice", "hashedPasswordFile": "/persist/passwords/alice"},
    ],
    "groups": [],
}


def install(root):
    """The closures, and /etc as the activation of the running one leaves it."""
    spec = store_path("users-groups.json")
    root.write(spec, json.dumps(USERS), 0o444)
    declared = impermanence_mount("/var/lib/nixos") | impermanence_mount("/var/lib/bluetooth")
    declared |= impermanence_file("/etc/machine-id")
    declared |= preservation_mount("/var/lib/preserved")
    files = ETC | UNITS | declared
    direct = {"localtime": "/etc/zoneinfo/Europe/Lisbon"}
    running = root.system("1", files, copied=COPIED, direct=direct)
    later = files | impermanence_mount("/var/lib/soon")
    later |= {"systemd/system/tomorrow.service": unit("StateDirectory=tomorrow\n", "Tomorrow")}
    upcoming = root.system("2", later, copied=COPIED, direct=direct)
    for closure in (running, upcoming):
        root.write(closure + "/activate", f"perl -w update-users-groups.pl {spec}\n", 0o555)
    root.activate(running)
    root.boot_next(upcoming)
    root.link("/bin/sh", store_path("bash") + "/bin/sh")
    root.link("/usr/bin/env", store_path("coreutils") + "/bin/env")
    root.write("/etc/passwd", PASSWD)
    root.write("/etc/group", "root:x:0:\nledger:x:950:\nusers:x:100:\n")
    root.write("/etc/shadow", "root:!:1::::::\nalice:$y$hash:1::::::\n", 0o640)
    root.write("/persist/passwords/alice", "$y$hash\n", 0o600)
    for name in ("subuid", "subgid", ".pwd.lock", "passwd-", "shadow-", ".updated"):
        root.write(f"/etc/{name}")
    root.write("/etc/resolv.conf", "nameserver 192.0.2.1\n")
    root.link("/etc/mtab", "/proc/mounts")
    root.write("/var/.updated")
    root.link("/var/run", "/run")


def boot(machine):
    """What systemd makes at boot: mounts, links, tmpfiles.d, state directories."""
    root = machine.root
    for path in ("/var/lib/nixos", "/var/lib/bluetooth", "/var/lib/preserved"):
        machine.bind(path)
    root.write("/persist/etc/machine-id", "0" * 32 + "\n", 0o444)
    root.link("/etc/machine-id", "/persist/etc/machine-id")
    root.write("/persist/var/lib/kept-link/data")
    root.link("/var/lib/kept-link", "/persist/var/lib/kept-link")
    for name in ("made", "emptied", "private", "private/weather", "ledger"):
        root.at(f"/var/lib/{name}").mkdir(parents=True, exist_ok=True)
    root.at("/var/spool/cron").mkdir(parents=True)
    root.at("/var/lib/private").chmod(0o700)
    root.write("/var/lib/written", "as declared\n")
    root.write("/var/lib/altered", "as declared\nand more\n")
    root.link("/var/lib/linked", "/nix/store/x")
    root.link("/var/lib/relinked", "/srv/own")
    for name in ("one", "two"):
        root.write(f"{TEMPLATE}/{name}", f"{name}\n", 0o444)
    root.write("/var/lib/copied/one", "one\n")
    root.write("/var/lib/copied/two", "two, changed\n")
    root.link("/var/lib/weather", "private/weather")
    root.write("/var/lib/systemd/catalog/database", "x")
    root.at("/srv/media").mkdir(parents=True)
    # home-manager, for alice, whose home is on the root.
    root.write(HOME_FILES + "/.config/app/rc", "set\n", 0o444)
    root.write(HOME_FILES + "/.bashrc", "export A=1\n", 0o444)
    generation = store_path("home-manager-generation")
    root.link(generation + "/home-files", HOME_FILES)
    root.link("/nix/var/nix/profiles/per-user/alice/home-manager", "home-manager-1-link")
    root.link("/nix/var/nix/profiles/per-user/alice/home-manager-1-link", generation)
    root.link("/alice/.bashrc", HOME_FILES + "/.bashrc")
    root.link("/alice/.config/app/rc", store_path("home-manager-files", "9") + "/.config/app/rc")


def use(machine):
    """What services and their owner write in a few weeks."""
    root = machine.root
    root.write("/etc/app/edited.conf", "as declared\nand edited\n", 0o440)
    root.write("/etc/ssh/ssh_host_ed25519_key", "key", 0o600)
    root.write("/etc/ssh/ssh_host_ed25519_key.pub", "key")
    root.write("/etc/NetworkManager/system-connections/home.nmconnection", "psk", 0o600)
    root.write("/etc/own.conf", "mine")
    root.write("/var/lib/nixos/uid-map", "{}")
    root.write("/var/lib/private/weather/rain.db", "x")
    root.write("/var/cache/private/weather/tiles", "x")
    root.write("/var/lib/ledger/books", "x")
    os.chown(root.at("/var/lib/ledger"), 950, 950)
    root.write("/srv/scans/data/page", "x")
    root.write("/var/lib/made/by-somebody", "x")
    root.write("/var/lib/emptied/soon", "x")
    root.write("/var/lib/stale.lock", "x")
    root.write("/var/lib/aged/old", "x")
    root.write("/var/lib/soon/data", "x")
    root.write("/var/lib/tomorrow/data", "x")
    root.write("/var/lib/tailscale/tailscaled.state", "x", 0o600)
    root.write("/var/lib/systemd/credential.secret", "x", 0o400)
    root.write("/var/lib/systemd/timers/stamp-x.timer")
    root.write("/var/lib/carols/diary", "x")
    for path in ("/var/lib/carols", "/var/lib/carols/diary"):
        os.chown(root.at(path), 951, 951)
    root.write("/alice/.ssh/id_ed25519", "key", 0o600)
    root.write("/alice/.cache/thumbnails/x", "x")
    root.write("/alice/thesis.tex", "x")
    root.write("/imperm_test/testfile")
    machine.lab.create("root/var/lib/machines")
    below = machine.below("/var/log/early.log")
    below.write_text("written before the mount")


class Recording(judge.Judge):
    """Notes the verdict of every single change."""

    verdicts: dict[str, str]

    def whole(self, _change):
        return False

    def feed(self, item):
        for change in item.changes() if isinstance(item, Block) else [item]:
            before = dict(self.counts)
            super().feed(change)
            [verdict] = [
                name
                for name, number in self.counts.items()
                if number > before[name] and name != "changed"
            ]
            self.verdicts[os.fsdecode(change.path)] = verdict


EXPECTED = """\
regenerated /alice
regenerated /alice/.bashrc
regenerated /alice/.cache
persist     /alice/.cache/thumbnails
persist     /alice/.cache/thumbnails/x
regenerated /alice/.config
regenerated /alice/.config/app
regenerated /alice/.config/app/rc
persist     /alice/.ssh
persist     /alice/.ssh/id_ed25519
review      /alice/thesis.tex
regenerated /bin
regenerated /bin/sh
regenerated /etc
regenerated /etc/.clean
regenerated /etc/.pwd.lock
regenerated /etc/.updated
regenerated /etc/NIXOS
persist     /etc/NetworkManager
persist     /etc/NetworkManager/system-connections
persist     /etc/NetworkManager/system-connections/home.nmconnection
regenerated /etc/app
review      /etc/app/edited.conf
regenerated /etc/fstab
regenerated /etc/group
regenerated /etc/hosts
regenerated /etc/localtime
kept        /etc/machine-id
regenerated /etc/mtab
review      /etc/own.conf
regenerated /etc/pam.d
regenerated /etc/pam.d/login
regenerated /etc/passwd
regenerated /etc/passwd-
regenerated /etc/resolv.conf
regenerated /etc/shadow
regenerated /etc/shadow-
persist     /etc/ssh
regenerated /etc/ssh/authorized_keys.d
regenerated /etc/ssh/authorized_keys.d/alice
persist     /etc/ssh/ssh_host_ed25519_key
persist     /etc/ssh/ssh_host_ed25519_key.pub
regenerated /etc/ssh/sshd_config
regenerated /etc/static
regenerated /etc/subgid
regenerated /etc/subuid
regenerated /etc/sudoers
regenerated /etc/systemd
regenerated /etc/systemd/system
regenerated /etc/systemd/system/ledger.service
regenerated /etc/systemd/system/persist-persist-etc-machine\\x2did.service
regenerated /etc/systemd/system/scanner.service
regenerated /etc/systemd/system/sshd.service
regenerated /etc/systemd/system/var-lib-bluetooth.mount
regenerated /etc/systemd/system/var-lib-nixos.mount
regenerated /etc/systemd/system/var-lib-preserved.mount
regenerated /etc/systemd/system/weather.service
regenerated /etc/tmpfiles.d
regenerated /etc/tmpfiles.d/00-nixos.conf
regenerated /etc/tmpfiles.d/preservation.conf
review      /imperm_test
review      /imperm_test/testfile
regenerated /root
regenerated /run
regenerated /run/current-system
regenerated /srv
kept        /srv/media
persist     /srv/scans
persist     /srv/scans/data
persist     /srv/scans/data/page
regenerated /usr
regenerated /usr/bin
regenerated /usr/bin/env
regenerated /var/.updated
regenerated /var/cache
ephemeral   /var/cache/private
ephemeral   /var/cache/private/weather
ephemeral   /var/cache/private/weather/tiles
regenerated /var/lib
ephemeral   /var/lib/aged
ephemeral   /var/lib/aged/old
review      /var/lib/altered
kept        /var/lib/bluetooth
review      /var/lib/carols
review      /var/lib/carols/diary
regenerated /var/lib/copied
regenerated /var/lib/copied/one
review      /var/lib/copied/two
ephemeral   /var/lib/emptied
ephemeral   /var/lib/emptied/soon
kept        /var/lib/kept-link
persist     /var/lib/ledger
persist     /var/lib/ledger/books
regenerated /var/lib/linked
persist     /var/lib/machines
persist     /var/lib/made
persist     /var/lib/made/by-somebody
kept        /var/lib/nixos
kept        /var/lib/preserved
persist     /var/lib/private
persist     /var/lib/private/weather
persist     /var/lib/private/weather/rain.db
review      /var/lib/relinked
kept        /var/lib/soon
kept        /var/lib/soon/data
ephemeral   /var/lib/stale.lock
persist     /var/lib/systemd
regenerated /var/lib/systemd/catalog
regenerated /var/lib/systemd/catalog/database
persist     /var/lib/systemd/credential.secret
persist     /var/lib/systemd/timers
persist     /var/lib/systemd/timers/stamp-x.timer
persist     /var/lib/tailscale
persist     /var/lib/tailscale/tailscaled.state
persist     /var/lib/tomorrow
persist     /var/lib/tomorrow/data
persist     /var/lib/weather
regenerated /var/lib/written
kept        /var/log/early.log
regenerated /var/run
regenerated /var/spool
persist     /var/spool/cron
"""


@pytest.mark.btrfs
def test_every_changed_entry_has_its_verdict(lab, monkeypatch):
    with Machine(lab) as machine:
        install(machine.root)
        boot(machine)
        use(machine)
        request = pipeline.Request(os.fsencode(machine.live), explicit_live=True)
        real = pipeline.scan(request, {"HOME": "/nonexistent"})
        Recording.verdicts = {}
        monkeypatch.setattr(pipeline, "Judge", Recording)
        recorded = pipeline.scan(request, {"HOME": "/nonexistent"})
    lines = [f"{verdict:<11} {path}" for path, verdict in Recording.verdicts.items()]
    lines.sort(key=lambda line: line[12:].split("/"))
    assert lines == EXPECTED.splitlines()
    assert real.report.counts == recorded.report.counts
    assert real.report.counts["changed"] == len(lines)
    assert real.report.skipped == []
    assert [(kept.path.decode(), kept.by) for kept in real.report.kept] == KEPT
    assert [(hidden.path, hidden.files) for hidden in real.report.hidden] == [(b"/var/log", 1)]
    assert deciders(real) == DECIDERS


# What the machine itself says; rules of files have tests of their own.
DECIDERS = {
    "/etc/app/edited.conf": "heuristic: edited",
    "/etc/own.conf": "heuristic: unrecognised",
    "/imperm_test": "heuristic: unrecognised",
    "/alice/thesis.tex": "heuristic: unrecognised",
    "/srv/scans": "unit scanner.service",
    "/var/cache/private/weather": "unit weather.service",
    "/var/lib/aged": "tmpfiles.d/00-nixos.conf",
    "/var/lib/altered": "heuristic: unrecognised",
    "/var/lib/carols": "heuristic: owner carol",
    "/var/lib/copied": "heuristic: unrecognised",
    "/var/lib/emptied": "tmpfiles.d/00-nixos.conf",
    "/var/lib/ledger": "unit ledger.service",
    "/var/lib/made": "tmpfiles.d/00-nixos.conf",
    "/var/lib/private/weather": "unit weather.service",
    "/var/lib/relinked": "heuristic: unrecognised",
    "/var/lib/stale.lock": "tmpfiles.d/00-nixos.conf",
    "/var/lib/tomorrow": "unit tomorrow.service",
    "/var/lib/weather": "unit weather.service",
}
KEPT = [
    ("/etc/machine-id", "link to /persist/etc/machine-id"),
    ("/home", "subvolume home"),
    ("/nix", "subvolume nix"),
    ("/persist", "subvolume persist"),
    ("/srv/media", "subvolume media, by /etc/fstab"),
    ("/var/lib/bluetooth", "bind mount from /persist/var/lib/bluetooth"),
    ("/var/lib/kept-link", "link to /persist/var/lib/kept-link"),
    ("/var/lib/nixos", "bind mount from /persist/var/lib/nixos"),
    ("/var/lib/preserved", "bind mount from /persist/var/lib/preserved"),
    ("/var/lib/soon", "declared, not active yet"),
    ("/var/log", "subvolume log"),
]


def deciders(found):
    """By path what decided about it, where that is no rule file and nothing is made again."""
    return {
        entry.path.decode(): entry.finding.rule
        for group in found.report.groups
        for entry in group.entries
        if not entry.finding.rule.startswith("rules/")
        and entry.finding.verdict is not Verdict.REGENERATED
    }
