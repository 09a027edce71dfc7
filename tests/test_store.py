"""Which mount is the persistent storage."""

import pytest

from drift.store import find_store
from drift.system.mounts import mounts_below, parse_mountinfo


def points(*lines, live=b"/"):
    """Mount points from `point root` pairs on one Btrfs filesystem."""
    text = [b"1 0 0:20 /root / rw - btrfs /dev/sda rw,subvolid=256,subvol=/root"]
    seen = {b"": 1}
    for number, (point, root, options) in enumerate(lines, 2):
        above = max((path for path in seen if point.startswith(path + b"/")), key=len)
        seen[point] = number
        text.append(
            b"%d %d 0:20 %s %s rw - btrfs /dev/sda rw,subvolid=%d,subvol=%s"
            % (number, seen[above], root, point, 256 + number, options)
        )
    return mounts_below(parse_mountinfo(b"\n".join(text)), live)


def subvolume(point, name):
    return point, name, name


def bind(point, name, inside):
    return point, name + inside, name


@pytest.mark.parametrize(
    ("lines", "store"),
    [
        ([], b"/persist"),
        ([subvolume(b"/home", b"/home")], b"/persist"),
        ([subvolume(b"/persistent", b"/persist")], b"/persistent"),
        ([subvolume(b"/nix", b"/nix"), subvolume(b"/nix/persist", b"/p")], b"/nix/persist"),
        ([subvolume(b"/persistence", b"/p")], b"/persistence"),
        ([subvolume(b"/persist/system", b"/p")], b"/persist/system"),
        # Which of two is used tells which it is.
        (
            [
                subvolume(b"/nix/persist", b"/a"),
                subvolume(b"/persist", b"/b"),
                bind(b"/etc/nixos", b"/a", b"/etc/nixos"),
            ],
            b"/nix/persist",
        ),
        (
            [subvolume(b"/nix/persist", b"/a"), subvolume(b"/persist", b"/b")],
            b"/nix/persist",
        ),
    ],
)
def test_it_is_found_among_the_mounts(lines, store):
    assert find_store(points(*lines), b"/") == store


@pytest.mark.parametrize(
    ("given", "live", "store"),
    [
        (b"/state", b"/", b"/state"),
        (b"/state/", b"/", b"/state"),
        (b"/", b"/", b"/"),
        (b"/mnt/persist", b"/mnt", b"/persist"),
        (b"/persist", b"/mnt", b"/persist"),
        (b"/mntpersist", b"/mnt", b"/mntpersist"),
    ],
)
def test_what_the_user_says_wins_and_is_named_as_the_live_system_sees_it(given, live, store):
    assert find_store(points(subvolume(b"/persistent", b"/p")), live, given) == store
