"""The mount table: what shows a path, what outlives the root, and the private top level."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.errors import DriftError
from drift.system import private_mount
from drift.system.mounts import (
    Mount,
    Survival,
    join,
    mount_of,
    mounts_below,
    open_top_level,
    parse_mountinfo,
    read_mounts,
    relative,
)

NIXOS = rb"""28 1 0:25 /root / rw,relatime shared:1 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,discard=async,space_cache=v2,subvolid=262,subvol=/root
29 28 0:5 / /dev rw,nosuid shared:2 - devtmpfs devtmpfs rw,size=801244k,nr_inodes=2000000,mode=755
30 29 0:27 / /dev/pts rw,nosuid,noexec,relatime shared:3 - devpts devpts rw,gid=3,mode=620,ptmxmode=666
31 28 0:28 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
32 28 0:29 / /run rw,nosuid,nodev shared:6 - tmpfs tmpfs rw,size=4006212k,mode=755
40 28 0:25 /home /home rw,relatime shared:21 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=257,subvol=/home
41 28 0:25 /nix /nix rw,noatime shared:23 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=258,subvol=/nix
42 41 0:25 /nix/store /nix/store ro,nosuid,nodev,noatime shared:25 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=258,subvol=/nix
43 28 0:25 /persist /persist rw,relatime shared:27 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=259,subvol=/persist
44 28 0:25 /lib /var/lib rw,relatime shared:29 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=261,subvol=/lib
45 28 259:1 / /boot rw,relatime shared:31 - vfat /dev/nvme0n1p1 rw,fmask=0022,dmask=0022,iocharset=iso8859-1
46 28 0:25 /persist/etc/NetworkManager/system-connections /etc/NetworkManager/system-connections rw,relatime shared:27 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=259,subvol=/persist
47 28 0:25 /persist/etc/machine-id /etc/machine-id rw,relatime shared:27 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=259,subvol=/persist
48 28 0:25 /root/data /srv/data rw,relatime shared:1 - btrfs /dev/mapper/cryptroot rw,compress=zstd:3,ssd,space_cache=v2,subvolid=262,subvol=/root
49 28 0:40 / /tmp rw,nosuid,nodev shared:40 master:3 propagate_from:2 - tmpfs tmpfs rw,size=8012424k
50 28 8:1 / /media/my\040disk rw,relatime shared:41 - ext4 /dev/sda1 rw
51 28 0:51 / /backup rw,relatime shared:42 - nfs4 nas:/volume1/backup rw,vers=4.2
"""


def table(text: bytes, live: bytes = b"/"):
    points = mounts_below(parse_mountinfo(text), live)
    return [(point.path, point.survival.value, point.describe) for point in points]


def test_a_line_is_read_whole():
    line = (
        rb"36 35 98:0 /mnt1\134x /mnt\0402\011\012end rw,noatime master:1 shared:7 - btrfs"
        rb" /dev/disk\040a rw,subvolid=5,subvol=/a\040b,c"
    )
    assert parse_mountinfo(line) == [
        Mount(
            mount_id=36,
            parent_id=35,
            device="98:0",
            root=b"/mnt1\\x",
            point=b"/mnt 2\t\nend",
            fstype="btrfs",
            source=b"/dev/disk a",
            options="rw,noatime",
            super_options="rw,subvolid=5,subvol=/a\\040b,c",
        )
    ]
    assert parse_mountinfo(line)[0].subvolume == b"/a b,c"


def test_an_empty_source_and_bytes_that_are_no_text_are_kept():
    (mount,) = parse_mountinfo(b"36 35 0:9 / /\xff\xfe rw - tmpfs  rw\n")
    assert (mount.point, mount.source, mount.super_options) == (b"/\xff\xfe", b"", "rw")


def test_lines_of_another_form_are_left_out():
    text = b"\nrubbish\n1 2 3\na b 0:1 / / rw - x y z\n7 1 0:1 / / rw - ext4 /dev/a rw\n"
    assert [mount.mount_id for mount in parse_mountinfo(text)] == [7]


@given(st.binary(max_size=200))
def test_no_input_breaks_the_reader(text):
    for mount in parse_mountinfo(text):
        with suppress(DriftError):
            mount_of(parse_mountinfo(text), mount.point)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["/", "/a", "/a/b"])))
)
def test_a_table_with_loops_ends(rows):
    lines = [f"{mid} {parent} 0:1 / {point} rw - ext4 /dev/a rw" for mid, parent, point in rows]
    with suppress(DriftError):
        mounts_below(parse_mountinfo("\n".join(lines).encode()), b"/a")


def test_an_own_mount_table_is_read():
    assert mount_of(read_mounts(), b"/proc/self").fstype == "proc"


def test_a_missing_mount_table_is_said(tmp_path):
    with pytest.raises(DriftError) as caught:
        read_mounts(str(tmp_path / "none"))
    assert caught.value.message == (
        f"The mount table {tmp_path}/none can't be read: No such file or directory"
    )


def test_the_mounts_of_a_nixos_machine():
    assert table(NIXOS) == [
        (b"/backup", "kept", "nfs4 from nas:/volume1/backup"),
        (b"/boot", "kept", "vfat on /dev/nvme0n1p1"),
        (b"/dev", "volatile", "devtmpfs"),
        (b"/dev/pts", "volatile", "devpts"),
        (
            b"/etc/NetworkManager/system-connections",
            "kept",
            "bind mount from /persist/etc/NetworkManager/system-connections",
        ),
        (b"/etc/machine-id", "kept", "bind mount from /persist/etc/machine-id"),
        (b"/home", "kept", "subvolume home"),
        (b"/media/my disk", "kept", "ext4 on /dev/sda1"),
        (b"/nix", "kept", "subvolume nix"),
        (b"/nix/store", "kept", "subvolume nix"),
        (b"/persist", "kept", "subvolume persist"),
        (b"/proc", "volatile", "proc"),
        (b"/run", "volatile", "tmpfs"),
        (b"/srv/data", "same root", "bind mount from /data"),
        (b"/tmp", "volatile", "tmpfs"),
        (b"/var/lib", "kept", "subvolume lib"),
    ]


def test_a_root_mounted_elsewhere_is_seen_as_it_sees_itself():
    text = rb"""27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 0:25 /root /mnt rw - btrfs /dev/sdb rw,subvolid=262,subvol=/root
31 30 0:25 /nix /mnt/nix rw - btrfs /dev/sdb rw,subvolid=258,subvol=/nix
32 30 0:25 /persist /mnt/persist rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
33 30 0:25 /persist/var/lib/x /mnt/var/lib/x rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
34 30 254:0 /srv /mnt/srv rw - ext4 /dev/vda rw
35 27 0:25 /other /mnt2 rw - btrfs /dev/sdb rw,subvolid=300,subvol=/other
36 30 0:25 /other/x /mnt/x rw - btrfs /dev/sdb rw,subvolid=300,subvol=/other
37 30 0:26 /@data /mnt/data rw - btrfs /dev/sdc rw,subvolid=256,subvol=/@data
"""
    assert table(text, b"/mnt") == [
        (b"/data", "kept", "subvolume @data on /dev/sdc"),
        (b"/nix", "kept", "subvolume nix"),
        (b"/persist", "kept", "subvolume persist"),
        (b"/srv", "kept", "directory /srv of ext4 on /dev/vda"),
        (b"/var/lib/x", "kept", "bind mount from /persist/var/lib/x"),
        (b"/x", "kept", "directory /x of subvolume other"),
    ]


def test_a_live_root_inside_the_mounted_top_level():
    text = rb"""27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 0:25 / /mnt rw - btrfs /dev/sdb rw,subvolid=5,subvol=/
31 30 0:25 /root/a /mnt/root/b rw - btrfs /dev/sdb rw,subvolid=262,subvol=/root
32 30 0:25 /rootless /mnt/root/c rw - btrfs /dev/sdb rw,subvolid=263,subvol=/rootless
"""
    assert table(text, b"/mnt/root") == [
        (b"/b", "same root", "bind mount from /a"),
        (b"/c", "kept", "subvolume rootless"),
    ]


def test_a_subvolume_nested_in_the_root_goes_with_it():
    text = rb"""30 1 0:25 /@ / rw - btrfs /dev/sdb rw,subvolid=262,subvol=/@
31 30 0:25 /@/srv /data rw - btrfs /dev/sdb rw,subvolid=270,subvol=/@/srv
32 30 0:25 / /btrfs rw - btrfs /dev/sdb rw,subvolid=5,subvol=/
"""
    assert table(text) == [
        (b"/btrfs", "kept", "Btrfs top level"),
        (b"/data", "same root", "subvolume @/srv"),
    ]


def test_a_root_on_the_top_level_loses_its_own_directories_only():
    text = rb"""30 1 0:25 / / rw - btrfs /dev/sdb rw,subvolid=5,subvol=/
31 30 0:25 /home /home rw - btrfs /dev/sdb rw,subvolid=270,subvol=/home
32 30 0:25 /var/tmp /tmp rw - btrfs /dev/sdb rw,subvolid=5,subvol=/
"""
    assert table(text) == [
        (b"/home", "kept", "subvolume home"),
        (b"/tmp", "same root", "bind mount from /var/tmp"),
    ]


def test_a_tmpfs_root_keeps_what_is_bound_from_a_disk():
    text = rb"""30 1 0:25 / / rw - tmpfs none rw,size=2097152k,mode=755
31 30 8:2 / /nix rw - ext4 /dev/sda2 rw
32 30 8:2 /persist/etc/ssh /etc/ssh rw - ext4 /dev/sda2 rw
33 30 0:25 /a /b rw - tmpfs none rw,size=2097152k,mode=755
"""
    assert table(text) == [
        (b"/b", "volatile", "bind mount from /a"),
        (b"/etc/ssh", "kept", "bind mount from /nix/persist/etc/ssh"),
        (b"/nix", "kept", "ext4 on /dev/sda2"),
    ]


def test_an_overlay_lives_where_its_upper_directory_does():
    text = rb"""30 1 0:25 /root / rw - btrfs /dev/sdb rw,subvolid=262,subvol=/root
31 30 0:25 /persist /persist rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
32 30 0:29 / /run rw - tmpfs tmpfs rw
33 30 0:41 / /a rw - overlay overlay rw,lowerdir=/l,upperdir=/var/up,workdir=/var/work
34 30 0:42 / /b rw - overlay overlay rw,lowerdir=/l,upperdir=/persist/up,workdir=/persist/work
35 30 0:43 / /c rw - overlay overlay rw,lowerdir=/l,upperdir=/run/up,workdir=/run/work
36 30 0:44 / /etc ro - overlay overlay ro,lowerdir=/run/a::/run/b
"""
    assert table(text) == [
        (b"/a", "same root", "overlay"),
        (b"/b", "kept", "overlay"),
        (b"/c", "volatile", "overlay"),
        (b"/etc", "volatile", "overlay"),
        (b"/persist", "kept", "subvolume persist"),
        (b"/run", "volatile", "tmpfs"),
    ]


def test_a_later_mount_covers_an_earlier_one_and_all_below_it():
    text = rb"""30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 8:2 / /a/b rw - ext4 /dev/sda2 rw
32 30 8:3 / /a rw - ext4 /dev/sda3 rw
33 32 8:4 / /a rw - xfs /dev/sda4 rw
34 33 8:5 / /a/c rw - xfs /dev/sda5 rw
"""
    mounts = parse_mountinfo(text)
    shown = [mount_of(mounts, path).mount_id for path in (b"/", b"/ab", b"/a", b"/a/b/x", b"/a/c")]
    assert shown == [30, 30, 33, 33, 34]
    assert table(text) == [
        (b"/a", "kept", "xfs on /dev/sda4"),
        (b"/a/c", "kept", "xfs on /dev/sda5"),
    ]


def test_the_early_rootfs_is_covered_by_the_real_root():
    text = b"1 1 0:2 / / rw - rootfs rootfs rw\n28 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    assert mount_of(parse_mountinfo(text), b"/etc").mount_id == 28


def test_an_automount_shows_what_it_mounted():
    text = rb"""30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 0:50 / /boot rw - autofs systemd-1 rw,fd=54
32 31 8:2 / /boot rw - vfat /dev/sda2 rw
33 30 0:51 / /mnt rw - autofs systemd-1 rw,fd=55
"""
    assert table(text) == [
        (b"/boot", "kept", "vfat on /dev/sda2"),
        (b"/mnt", "volatile", "autofs"),
    ]


def test_a_bind_mount_of_something_deleted_is_gone_with_the_boot():
    text = rb"""30 1 0:25 /root / rw - btrfs /dev/sdb rw,subvolid=262,subvol=/root
31 30 0:25 /persist /persist rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
32 30 0:25 /persist/x//deleted /x rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
"""
    assert table(text) == [
        (b"/persist", "kept", "subvolume persist"),
        (b"/x", "volatile", "bind mount of something that was deleted"),
    ]


def test_a_bind_mount_is_traced_to_the_whole_subvolume_not_to_another_bind_mount():
    text = rb"""30 1 0:25 /root / rw - btrfs /dev/sdb rw,subvolid=262,subvol=/root
31 30 0:25 /persist /persist rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
32 30 0:25 /persist/x /x rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
33 32 0:25 /persist/x/y /x/y rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
34 30 0:25 /persist/x/y /z rw - btrfs /dev/sdb rw,subvolid=259,subvol=/persist
"""
    points = mounts_below(parse_mountinfo(text), b"/")
    assert [(point.path, point.origin, point.survives) for point in points] == [
        (b"/persist", None, True),
        (b"/x", b"/persist/x", True),
        (b"/x/y", b"/persist/x/y", True),
        (b"/z", b"/persist/x/y", True),
    ]


def test_a_chroot_without_a_mount_of_its_own_is_said():
    mounts = parse_mountinfo(b"30 1 0:5 / /proc rw - proc proc rw\n")
    assert mount_of(mounts, b"/proc/1").fstype == "proc"
    with pytest.raises(DriftError) as caught:
        mount_of(mounts, b"/etc")
    assert caught.value.message == "No mount shows /etc"


def test_only_a_kept_mount_survives():
    assert [
        point.survives == (point.survival is Survival.KEPT)
        for point in mounts_below(parse_mountinfo(NIXOS), b"/")
    ] == [True] * 16


PATHS = st.lists(st.sampled_from([b"a", b"b"]), max_size=4).map(
    lambda names: b"/" + b"/".join(names)
)


@given(PATHS, PATHS)
def test_relative_undoes_join(directory, path):
    assert relative(join(directory, path), directory) == path


WAYS = pytest.mark.parametrize("namespace", [False, True], ids=["detached", "namespace"])


def listing(descriptor: int) -> list[str]:
    return sorted(os.listdir(descriptor))


@contextmanager
def top_level(device: bytes, namespace: bool):
    descriptor = open_top_level(device, namespace=namespace)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_root(lab) -> Path:
    lab.create("root")
    lab.create("root-blank")
    file = Path(os.fsdecode(lab.path("root"))) / "file"
    file.write_text("state")
    os.utime(file, ns=(1, 1))
    return file


@pytest.mark.btrfs
@WAYS
def test_the_top_level_is_seen_and_nobody_else_sees_it(lab, namespace):
    make_root(lab)
    before = Path("/proc/self/mountinfo").read_bytes()
    with top_level(os.fsencode(lab.device), namespace) as top:
        assert listing(top) == ["root", "root-blank"]
        file = os.open("root/file", os.O_RDONLY, dir_fd=top)
        assert os.read(file, 9) == b"state"
        os.close(file)
        assert Path("/proc/self/mountinfo").read_bytes() == before
        assert Path("/proc/1/mountinfo").read_bytes().count(b"subvolid=5") == before.count(
            b"subvolid=5"
        )
    assert Path("/proc/self/mountinfo").read_bytes() == before


@pytest.mark.btrfs
@WAYS
def test_nothing_can_be_written_through_it_not_even_a_time(lab, namespace):
    file = make_root(lab)
    with top_level(os.fsencode(lab.device), namespace) as top:
        for act in (
            lambda: os.open("root/new", os.O_CREAT | os.O_WRONLY, dir_fd=top),
            lambda: os.open("root/file", os.O_WRONLY, dir_fd=top),
            lambda: os.utime("root/file", dir_fd=top),
            lambda: os.unlink("root/file", dir_fd=top),
        ):
            with pytest.raises(OSError) as caught:
                act()
            assert caught.value.errno == errno.EROFS
        reader = os.open("root/file", os.O_RDONLY, dir_fd=top)
        os.read(reader, 9)
        os.close(reader)
        os.listdir(os.open("root", os.O_RDONLY, dir_fd=top))
    assert file.stat().st_atime_ns == 1


@pytest.mark.btrfs
@WAYS
def test_a_filesystem_mounted_read_write_stays_writable(lab, namespace):
    file = make_root(lab)
    with top_level(os.fsencode(lab.device), namespace) as top:
        file.write_text("changed")
        assert Path(f"/proc/self/fd/{top}/root/file").read_text() == "changed"
    file.write_text("again")


@pytest.mark.btrfs
@WAYS
def test_a_filesystem_mounted_read_only_stays_read_only(lab, namespace):
    make_root(lab)
    lab.remount(options="ro")
    with top_level(os.fsencode(lab.device), namespace) as top:
        assert listing(top) == ["root", "root-blank"]
        (mount,) = [mount for mount in read_mounts() if mount.point == lab.top]
        assert mount.super_options.split(",")[0] == "ro"
    (mount,) = [mount for mount in read_mounts() if mount.point == lab.top]
    assert mount.super_options.split(",")[0] == "ro"


@pytest.mark.btrfs
@WAYS
def test_nothing_is_left_after_a_kill(lab, namespace):
    make_root(lab)
    code = (
        "import sys, time\n"
        "from drift.system.mounts import open_top_level\n"
        f"open_top_level({os.fsencode(lab.device)!r}, namespace={namespace})\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    # Mounting with other flags needs the filesystem to be free.
    subprocess.run(["umount", os.fsdecode(lab.top)], check=True)
    for _ in range(50):
        if not busy(lab.device):
            break
        time.sleep(0.1)
    assert not busy(lab.device)
    subprocess.run(["mount", lab.device, os.fsdecode(lab.top), "-o", "subvolid=5"], check=True)


def busy(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


@pytest.mark.btrfs
@WAYS
def test_one_device_of_several_is_enough(lab, namespace):
    make_root(lab)
    image = lab.directory + b"/second"
    with open(image, "wb") as file:
        file.truncate(256 << 20)
    second = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        lab.btrfs("device", "add", "-f", second, lab.top)
        for device in (lab.device, second):
            with top_level(os.fsencode(device), namespace) as top:
                assert listing(top) == ["root", "root-blank"]
        lab.btrfs("device", "remove", second, lab.top)
    finally:
        subprocess.run(["losetup", "--detach", second], check=True)


@pytest.mark.btrfs
def test_an_old_kernel_takes_the_way_of_the_namespace(lab, monkeypatch):
    make_root(lab)

    def missing(device, *, writable):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(private_mount, "_open_detached", missing)
    with top_level(os.fsencode(lab.device), False) as top:
        assert listing(top) == ["root", "root-blank"]


@pytest.mark.btrfs
@WAYS
def test_a_device_without_btrfs_is_said(lab, namespace):
    before = Path("/proc/self/mountinfo").read_bytes()
    image = lab.directory + b"/empty"
    with open(image, "wb") as file:
        file.truncate(1 << 20)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        with pytest.raises(DriftError) as caught:
            open_top_level(os.fsencode(device), namespace=namespace)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert caught.value.message == f"{device} holds no Btrfs filesystem that can be mounted"
    assert Path("/proc/self/mountinfo").read_bytes() == before


@pytest.mark.btrfs
@WAYS
@pytest.mark.parametrize("device", [b"/dev/none\xff", b"/etc/passwd"], ids=["missing", "file"])
def test_a_device_that_is_none_is_said(device, namespace):
    with pytest.raises(DriftError) as caught:
        open_top_level(device, namespace=namespace)
    assert caught.value.message == f"There is no block device {os.fsdecode(device)}"


@pytest.mark.btrfs
@WAYS
def test_without_root_it_says_that_root_is_needed(namespace):
    code = (
        "import os, sys\n"
        "from drift.errors import DriftError\n"
        "from drift.system import private_mount\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    private_mount.open_top_level(b'/dev/sda', namespace={namespace})\n"
        "except DriftError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Reading the Btrfs filesystem on /dev/sda needs root\n"
