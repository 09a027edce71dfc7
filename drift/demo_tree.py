"""The files of the demo's machine: what a few months on NixOS leave behind, in small."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT, POSTGRES, LP, ALICE = (0, 0), (71, 71), (0, 20), (1000, 100)
# systemd takes ids for DynamicUser= from 61184 to 65519.
DYNAMIC = (63105, 63105)
DAY = 86400

# What a new, empty root has: the places where others are mounted.
STUBS = (b"/boot", b"/home", b"/nix", b"/persist", b"/tmp", b"/var/lib", b"/var/log")


class Item(NamedTuple):
    """One thing to make at `path`; `content` is a file's bytes or a link's target."""

    path: bytes
    kind: Kind
    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = ROOT
    age: int = 60 * DAY


def build(root: bytes, items: Iterable[Item], subvolume: Callable[[bytes], object]) -> None:
    """Make `items` below the directory `root`, and the directories that lead to them.

    `subvolume` makes one at a path. Owners are given where this process may give them.
    """
    now = time.time_ns()
    umask = os.umask(0o022)
    try:
        for item in items:
            _make(root + item.path, item, subvolume)
            when = now - item.age * 1_000_000_000
            os.utime(root + item.path, ns=(when, when), follow_symlinks=False)
    finally:
        os.umask(umask)


def _make(path: bytes, item: Item, subvolume: Callable[[bytes], object]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    match item.kind:
        case Kind.SYMLINK:
            os.symlink(item.content, path)
        case Kind.SUBVOLUME:
            subvolume(path)
        case Kind.DIRECTORY:
            os.makedirs(path, exist_ok=True)
        case _:
            with open(path, "xb") as made:
                made.write(item.content)
    with suppress(PermissionError):
        os.chown(path, *item.owner, follow_symlinks=False)
    if item.kind is not Kind.SYMLINK:
        os.chmod(path, item.mode)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def file(
    path: str,
    size: int = 0,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = ROOT,
    age: int = 60 * DAY,
) -> Item:
    line = b"made up for the demo\n"
    content = (line * (size // len(line) + 1))[:size]
    return Item(_bytes(path), Kind.FILE, content, mode, owner, age)


def text(
    path: str,
    content: str,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = ROOT,
    age: int = 60 * DAY,
) -> Item:
    return Item(_bytes(path), Kind.FILE, content.encode(), mode, owner, age)


def link(path: str, target: str) -> Item:
    return Item(_bytes(path), Kind.SYMLINK, _bytes(target))


def directory(path: str, mode: int, owner: tuple[int, int] = ROOT) -> Item:
    return Item(_bytes(path), Kind.DIRECTORY, b"", mode, owner)


def nested(path: str, mode: int = 0o755) -> Item:
    return Item(_bytes(path), Kind.SUBVOLUME, b"", mode)


_STORE = "/nix/store/0demo0demo0demo0demo0demo0demo00"
_SYSTEM = f"{_STORE}-nixos-system-demo"

_PASSWD = """\
root:x:0:0:System administrator:/root:/run/current-system/sw/bin/bash
lp:x:21:20:CUPS:/var/empty:/run/current-system/sw/bin/nologin
postgres:x:71:71:PostgreSQL:/var/lib/postgresql:/run/current-system/sw/bin/bash
alice:x:1000:100:Alice:/home/alice:/run/current-system/sw/bin/bash
nobody:x:65534:65534:Nobody:/var/empty:/run/current-system/sw/bin/nologin
"""
_GROUP = """\
root:x:0:
wheel:x:1:alice
lp:x:20:
postgres:x:71:
users:x:100:
nogroup:x:65534:
"""
_SHADOW = "root:!:1::::::\nalice:$y$made-up$for-the-demo:1::::::\n"
_ALARM = """\
[Unit]
Description=Alarm clock for the plants

[Service]
ExecStart=/run/current-system/sw/bin/plantwatch
DynamicUser=yes
StateDirectory=plantwatch
CacheDirectory=plantwatch
"""

# What NixOS makes again at each boot or activation.
REGENERATED: tuple[Item, ...] = (
    link("/bin/sh", f"{_STORE}-bash/bin/sh"),
    link("/usr/bin/env", f"{_STORE}-coreutils/bin/env"),
    link("/etc/static", f"{_STORE}-etc/etc"),
    link("/etc/bashrc", "/etc/static/bashrc"),
    link("/etc/fstab", "/etc/static/fstab"),
    link("/etc/hosts", "/etc/static/hosts"),
    link("/etc/nsswitch.conf", "/etc/static/nsswitch.conf"),
    link("/etc/pam.d", "/etc/static/pam.d"),
    link("/etc/profile", "/etc/static/profile"),
    link("/etc/ssh/sshd_config", "/etc/static/ssh/sshd_config"),
    link("/etc/systemd/system", "/etc/static/systemd/system"),
    link("/etc/mtab", "/proc/mounts"),
    text("/etc/.clean", "sudoers\n"),
    text("/etc/sudoers", "%wheel ALL=(ALL:ALL) SETENV: ALL\n", mode=0o440),
    text("/etc/NIXOS", ""),
    text("/etc/.pwd.lock", "", mode=0o600),
    text("/etc/.updated", ""),
    text("/etc/passwd", _PASSWD),
    text("/etc/group", _GROUP),
    text("/etc/shadow", _SHADOW, mode=0o640),
    text("/etc/subuid", "alice:100000:65536\n"),
    text("/etc/subgid", "alice:100000:65536\n"),
    text("/etc/resolv.conf", "nameserver 192.0.2.1\n", age=3600),
    text("/var/.updated", ""),
    link("/var/run", "/run"),
    file("/var/lib/systemd/catalog/database", 20_000),
)

# What services and their owner have written since.
STATE: tuple[Item, ...] = (
    text("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", mode=0o444),
    file("/etc/ssh/ssh_host_ed25519_key", 411, mode=0o600),
    file("/etc/ssh/ssh_host_ed25519_key.pub", 94),
    file("/etc/ssh/ssh_host_rsa_key", 3381, mode=0o600),
    file("/etc/ssh/ssh_host_rsa_key.pub", 738),
    link("/etc/localtime", "/etc/zoneinfo/Europe/Lisbon"),
    text("/etc/adjtime", "0.0 0 0.0\n0\nUTC\n", age=2 * DAY),
    directory("/etc/NetworkManager/system-connections", 0o700),
    file("/etc/NetworkManager/system-connections/Home.nmconnection", 310, mode=0o600),
    file("/etc/NetworkManager/system-connections/Café.nmconnection", 300, mode=0o600, age=9 * DAY),
    file("/var/lib/NetworkManager/secret_key", 50, mode=0o600),
    file("/var/lib/NetworkManager/seen-bssids", 200, age=DAY),
    directory("/var/lib/bluetooth", 0o700),
    file("/var/lib/bluetooth/00:1B:44:11:3A:B7/settings", 60, mode=0o600),
    file("/var/lib/bluetooth/00:1B:44:11:3A:B7/F8:4E:17:0D:22:91/info", 250, mode=0o600),
    file("/var/lib/nixos/uid-map", 400),
    file("/var/lib/nixos/gid-map", 500),
    text("/var/lib/nixos/auto-subuid-map", "{}"),
    file("/var/lib/systemd/credential.secret", 4096, mode=0o400),
    file("/var/lib/systemd/random-seed", 512, mode=0o600, age=DAY),
    text("/var/lib/systemd/timers/stamp-fstrim.timer", "", age=4 * DAY),
    text("/var/lib/systemd/timers/stamp-btrfs-scrub.timer", "", age=12 * DAY),
    directory("/var/lib/postgresql", 0o750, POSTGRES),
    directory("/var/lib/postgresql/16", 0o700, POSTGRES),
    text("/var/lib/postgresql/16/PG_VERSION", "16\n", mode=0o600, owner=POSTGRES),
    file("/var/lib/postgresql/16/base/1/1259", 122_880, mode=0o600, owner=POSTGRES, age=7200),
    file(
        "/var/lib/postgresql/16/pg_wal/000000010000000000000001", 65_536, owner=POSTGRES, age=3600
    ),
    directory("/var/lib/tailscale", 0o700),
    file("/var/lib/tailscale/tailscaled.state", 2048, mode=0o600, age=3 * DAY),
    directory("/var/lib/docker", 0o710),
    file("/var/lib/docker/volumes/wiki/_data/wiki.db", 40_960, age=5 * DAY),
    nested("/var/lib/docker/btrfs/subvolumes/" + "5e" * 32),
    file("/var/lib/docker/btrfs/subvolumes/" + "5e" * 32 + "/bin/wiki", 16_384),
    file("/var/lib/cups/ppd/Office.ppd", 9000, owner=LP),
    directory("/var/lib/fprint", 0o700),
    file("/var/lib/fprint/alice/goodix/0/7", 6000, mode=0o600),
    directory("/var/lib/private", 0o700),
    directory("/var/lib/private/AdGuardHome", 0o700, DYNAMIC),
    file("/var/lib/private/AdGuardHome/AdGuardHome.yaml", 3000, mode=0o600, owner=DYNAMIC),
    file("/var/lib/private/AdGuardHome/data/querylog.json", 30_000, owner=DYNAMIC, age=600),
    link("/var/lib/AdGuardHome", "private/AdGuardHome"),
    directory("/var/lib/private/plantwatch", 0o755, DYNAMIC),
    file("/var/lib/private/plantwatch/watered.db", 8192, owner=DYNAMIC, age=DAY),
    link("/var/lib/plantwatch", "private/plantwatch"),
    nested("/var/lib/machines", 0o700),
    nested("/srv"),
    file("/srv/photos/2024/sunrise.jpg", 70_000, owner=ALICE, age=200 * DAY),
    file("/srv/photos/2025/it's 100% ${real}.jpg", 64_000, owner=ALICE, age=20 * DAY),
    directory("/root", 0o700),
    directory("/root/.ssh", 0o700),
    file("/root/.ssh/known_hosts", 900, mode=0o600, age=15 * DAY),
    file("/root/.bash_history", 1500, mode=0o600, age=2 * DAY),
    file("/root/.cache/nix/fetcher-cache-v3.sqlite", 20_480, age=2 * DAY),
    file("/opt/scanner/firmware.bin", 12_000),
    # A name in Latin-1, as an old archive leaves it.
    file("/opt/scanner/Anleitung f\udcfcr Alice.txt", 700),
    text("/imperm_test/testfile", "", age=3600),
    file("/var/spool/cups/c00001", 1200, mode=0o600, owner=LP, age=40 * DAY),
    file("/var/cache/fontconfig/3830d5c3ddfd5cd38a049b759396e72e-le64.cache-9", 5000),
    directory("/var/cache/private", 0o700),
    file("/var/cache/private/plantwatch/leaves.cache", 3000, owner=DYNAMIC, age=DAY),
    directory("/var/db/sudo/lectured", 0o700),
    text("/var/db/sudo/lectured/1000", "", mode=0o600),
    file("/tmp/download.part", 10_000, owner=ALICE, age=1800),
)

# Written before the subvolume `log` was mounted over it: there, but out of sight.
UNDER_LOG: tuple[Item, ...] = (file("/var/log/first-boot.log", 2500, age=90 * DAY),)

# What the other subvolumes hold.
HOME: tuple[Item, ...] = (
    directory("/alice", 0o700, ALICE),
    file("/alice/.ssh/id_ed25519", 411, mode=0o600, owner=ALICE),
    file("/alice/thesis.md", 30_000, owner=ALICE, age=3600),
)
LOG: tuple[Item, ...] = (
    file("/journal/0123456789abcdef0123456789abcdef/system.journal", 30_000, age=60),
)
PERSIST: tuple[Item, ...] = (
    text("/etc/nixos/configuration.nix", "{ imports = [ ./impermanence.nix ]; }\n"),
)
NIX: tuple[Item, ...] = (
    file(f"{_STORE}-bash/bin/sh".removeprefix("/nix"), mode=0o555),
    text(
        f"{_STORE}-etc/etc/fstab".removeprefix("/nix"),
        "/persist/etc/nixos /etc/nixos none bind 0 0\n",
        mode=0o444,
    ),
    text(f"{_STORE}-plantwatch/plantwatch.service".removeprefix("/nix"), _ALARM, mode=0o444),
    link(
        f"{_STORE}-etc/etc/systemd/system/plantwatch.service".removeprefix("/nix"),
        f"{_STORE}-plantwatch/plantwatch.service",
    ),
    link(f"{_SYSTEM}/etc".removeprefix("/nix"), f"{_STORE}-etc/etc"),
    link("/var/nix/profiles/system", "system-1-link"),
    link("/var/nix/profiles/system-1-link", _SYSTEM),
)
