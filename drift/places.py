"""The directories that belong to no single program; pure facts, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Iterable

# Persisting one of these would persist what NixOS makes, or everybody's state at once.
SHARED = frozenset(
    b"/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /nix /opt /proc /root /run /sbin /srv"
    b" /sys /tmp /usr /usr/bin /usr/lib /usr/lib64 /usr/local /usr/sbin /usr/share"
    b" /var /var/cache /var/cache/private /var/db /var/empty /var/lib /var/lib/private /var/local"
    b" /var/log /var/log/private /var/opt /var/spool /var/tmp".split()
)

# Below a home, the same.
SHARED_IN_HOME = (
    b".cache",
    b".config",
    b".local",
    b".local/bin",
    b".local/lib",
    b".local/share",
    b".local/share/applications",
    b".local/state",
    b".var",
    b".var/app",
)

# Shared, and yet worth persisting whole where a rule says so.
_WHOLE = frozenset((b"/var/log", b"/var/lib/private", b"/var/log/private"))

# Where systemd keeps what a DynamicUser= service calls /var/lib/X; it insists on mode 0700.
PRIVATE = (b"/var/lib/private", b"/var/cache/private", b"/var/log/private")

# Directories of /etc that activation fills with links, before a bind mount hides them.
_FILLED_BY_NIXOS = frozenset(
    b"/etc/" + name
    for name in (
        b"NetworkManager X11 apparmor.d avahi bluetooth containers cron.d cups dbus-1 default"
        b" fonts fwupd gdm greetd libvirt logrotate.d lvm modprobe.d modules-load.d nix nscd"
        b" pam pam.d pipewire polkit-1 profiles samba security skel ssh ssl static sudoers.d"
        b" sway sysctl.d systemd terminfo tmpfiles.d udev udisks2 wireplumber xdg zfs"
    ).split()
)


def parent_of(path: bytes) -> bytes:
    """The directory that holds an absolute path; `/` holds itself."""
    return path[: path.rfind(b"/")] or b"/"


def ancestors(path: bytes) -> list[bytes]:
    """Every directory above `path` but `/`, outermost first."""
    found = []
    while (path := parent_of(path)) != b"/":
        found.append(path)
    return found[::-1]


def shared(path: bytes, homes: Iterable[bytes], *, anchored: bool = False) -> bool:
    """Whether `path` holds what many programs keep; `anchored` where a rule speaks for it whole."""
    if path in SHARED:
        return not (anchored and path in _WHOLE)
    for home in homes:
        # What contains a home is nobody's either.
        if within(home, path):
            return True
        if within(path, home) and path[len(home) + 1 :] in SHARED_IN_HOME:
            return True
    return False


def filled_by_nixos(path: bytes) -> bool:
    return path in _FILLED_BY_NIXOS


def private_twin(path: bytes) -> bytes | None:
    """Where a DynamicUser= service really keeps `path`: `/var/lib/X/y` in `/var/lib/private/X/y`."""
    for private in PRIVATE:
        public = parent_of(private)
        if within(path, public) and path != public and not within(path, private):
            return private + path[len(public) :]
    return None


def cached(path: bytes, homes: Iterable[bytes]) -> bool:
    """Whether `path` lies where programs keep what they could make or fetch again."""
    if path.startswith(b"/var/cache/") or b"cache" in path.rpartition(b"/")[2].lower():
        return True
    return any(path.startswith(home + b"/.cache/") for home in (b"/root", *homes))


def in_private(path: bytes) -> bool:
    """Whether `path` lies below one of systemd's private directories."""
    return any(path.startswith(private + b"/") for private in PRIVATE)
