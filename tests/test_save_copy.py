"""A saved entry is the entry: every byte, hole, link, owner, time and attribute."""

import json
import os
import socket
import stat
import struct
import subprocess

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from save_lab import actions, opened_tree, run_save, temporaries, untimed, whole

from drift.errors import DriftError
from drift.saving import beneath
from drift.saving.beneath import open_beneath
from drift.saving.manifest import Manifest, open_private, read_manifest
from drift.saving.records import from_json, to_json

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


@pytest.fixture
def live(tmp_path):
    path = tmp_path / "live"
    (path / "var/lib/app/sub").mkdir(parents=True)
    return path


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "persist"
    path.mkdir()
    return path


@pytest.fixture
def on_ext4(tmp_path):
    """A store on another filesystem than the live root."""
    image, at = tmp_path / "image", tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    at.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    yield at
    subprocess.run(["umount", at], check=True)


def everything(app):
    """Fill a directory with all that a file can be."""
    (app / "file").write_bytes(b"state" * 10_000)
    (app / "empty").write_bytes(b"")
    (app / "sub/one").write_bytes(b"linked")
    os.link(app / "sub/one", app / "two")
    (app / "link").symlink_to("../../nowhere")
    os.mkfifo(app / "fifo", 0o620)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(app / "socket"))
    with (app / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
        file.truncate(9 << 20)
    (app / "name\nwith\x1b[31m").write_bytes(b"odd")
    (app / os.fsdecode(b"latin-\xfc")).write_bytes(b"odd")
    os.setxattr(app / "file", b"user.note", b"\x00\xff")
    os.setxattr(app / "sub", b"user.note", b"on a directory")
    (app / "sub").chmod(0o1770)
    (app / "file").chmod(0o640)
    if ROOT:
        os.mknod(app / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown(app / "file", 71, 72)
        os.lchown(app / "link", 1000, 100)
        os.chown(app / "sub", 61184, 61184)
        (app / "tool").write_bytes(b"#!")
        os.chown(app / "tool", 5, 6)
        (app / "tool").chmod(0o6755)
        # cap_net_raw+ep as the kernel keeps it (struct vfs_cap_data, revision 2).
        os.setxattr(
            app / "file", b"security.capability", struct.pack("<5I", 0x2000001, 1 << 13, 0, 0, 0)
        )
        os.setxattr(app / "link", b"trusted.note", b"on a link", follow_symlinks=False)
        subprocess.run(["setfacl", "-m", "u:33:rwx,d:g:44:rx", app / "sub"], check=False)
    for path in (app / "sub/one", app / "link", app / "file", app / "sub", app):
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2, follow_symlinks=False)


def test_an_entry_arrives_with_all_that_is_its_own(live, store):
    app = live / "var/lib/app"
    everything(app)
    before = whole(app)
    items = run_save(live, store, [b"/var/lib/app"])
    assert actions(items) == {b"/var/lib/app": "copy"}
    assert whole(store / "var/lib/app") == before
    assert whole(app) == before
    assert temporaries(store) == []


def test_holes_stay_holes(live, store):
    everything(live / "var/lib/app")
    run_save(live, store, [b"/var/lib/app/sparse"])
    made = (store / "var/lib/app/sparse").stat()
    assert (made.st_size, made.st_blocks * 512 <= 65536) == (9 << 20, True)


def test_names_of_one_file_stay_names_of_one_file(live, store):
    app = live / "var/lib/app"
    everything(app)
    os.link(app / "two", live / "three")
    items = run_save(live, store, [b"/three", b"/var/lib/app"])
    assert set(actions(items).values()) == {"copy"}
    numbers = {
        (store / name).stat().st_ino for name in ("three", "var/lib/app/two", "var/lib/app/sub/one")
    }
    assert len(numbers) == 1


def test_a_second_run_links_to_what_the_first_one_saved(live, store):
    (live / "a").write_bytes(b"x")
    os.link(live / "a", live / "b")
    run_save(live, store, [b"/a"])
    assert actions(run_save(live, store, [b"/a", b"/b"])) == {b"/a": "same", b"/b": "copy"}
    assert (store / "a").stat().st_ino == (store / "b").stat().st_ino


def test_a_copy_with_another_time_is_not_linked_to(live, store):
    (live / "a").write_bytes(b"x")
    os.link(live / "a", live / "b")
    run_save(live, store, [b"/a"])
    os.utime(store / "a", ns=(5, 5))
    assert actions(run_save(live, store, [b"/a", b"/b"])) == {b"/a": "same", b"/b": "copy"}
    assert whole_file(store / "b") == whole_file(live / "b")


def whole_file(path):
    found = os.lstat(path)
    return path.read_bytes(), found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns


@pytest.mark.parametrize("kind", ["file", "link", "fifo", "empty", "socket"])
def test_an_entry_may_be_of_any_kind(live, store, kind):
    everything(live / "var/lib/app")
    path = f"var/lib/app/{kind}"
    run_save(live, store, [b"/" + path.encode()])
    assert (
        untimed(whole(store / "var/lib/app"))[b"/" + kind.encode()]
        == (untimed(whole(live / "var/lib/app"))[b"/" + kind.encode()])
    )


@needs_root
def test_parents_are_made_as_they_are_in_the_live_root(live, store):
    os.chown(live / "var/lib/app", 71, 72)
    (live / "var/lib/app").chmod(0o2750)
    (live / "var/lib").chmod(0o711)
    (live / "var/lib/app/sub/file").write_bytes(b"x")
    run_save(live, store, [b"/var/lib/app/sub/file"])
    found = [os.lstat(store / name) for name in ("var/lib", "var/lib/app", "var/lib/app/sub")]
    assert [(one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) for one in found] == [
        (0, 0, 0o711),
        (71, 72, 0o2750),
        (0, 0, 0o755),
    ]


@needs_root
def test_what_a_directory_of_the_store_hands_down_is_taken_off_again(live, store):
    everything(live / "var/lib/app")
    (store / "var/lib").mkdir(parents=True)
    if subprocess.run(["setfacl", "-m", "d:u:33:rwx", store / "var/lib"], check=False).returncode:
        pytest.skip("no ACLs here")
    (store / "var/lib").chmod(0o2777)
    run_save(live, store, [b"/var/lib/app"])
    assert whole(store / "var/lib/app") == whole(live / "var/lib/app")


def test_a_second_run_finds_the_same(live, store):
    everything(live / "var/lib/app")
    run_save(live, store, [b"/var/lib/app"])
    before = whole(store / "var")
    assert actions(run_save(live, store, [b"/var/lib/app"])) == {b"/var/lib/app": "same"}
    assert whole(store / "var") == before


def test_a_change_of_times_alone_is_no_difference(live, store):
    (live / "file").write_bytes(b"x")
    run_save(live, store, [b"/file"])
    os.utime(live / "file", ns=(1, 1))
    assert actions(run_save(live, store, [b"/file"])) == {b"/file": "same"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda app: (app / "file").write_bytes(b"other"), "file: its content differs"),
        (lambda app: (app / "file").unlink(), "file: it is in the copy only"),
        (lambda app: (app / "gile").write_bytes(b""), "gile: it is missing"),
        (lambda app: (app / "file").chmod(0o600), "file: its mode is 0640, not 0600"),
        (lambda app: app.chmod(0o701), "its mode is 0755, not 0701"),
        (
            lambda app: os.setxattr(app / "empty", b"user.x", b"1"),
            "empty: its attributes differ",
        ),
    ],
    ids=["content", "gone", "new", "mode", "own mode", "xattr"],
)
def test_different_data_in_the_store_is_never_overwritten(live, store, change, why):
    app = live / "var/lib/app"
    everything(app)
    run_save(live, store, [b"/var/lib/app"])
    before = whole(store / "var")
    change(app)
    (item,) = run_save(live, store, [b"/var/lib/app"])
    assert (str(item.action), item.why) == ("different", why)
    assert item.stored > 0
    assert item.contents.newest > 0
    assert whole(store / "var") == before


def test_replace_moves_the_old_aside_first(live, store):
    (live / "var/lib/app/file").write_bytes(b"new")
    (store / "var/lib/app").mkdir(parents=True)
    (store / "var/lib/app/file").write_bytes(b"old")
    items = run_save(live, store, [b"/var/lib/app"], replace=True)
    assert actions(items) == {b"/var/lib/app": "replace"}
    assert whole(store / "var/lib/app") == whole(live / "var/lib/app")
    (old,) = (store / "var/lib").glob("app.before-*")
    assert (old / "file").read_bytes() == b"old"
    assert old.name == "app.before-20231114-221320"


def test_an_empty_directory_that_the_module_made_gives_way(live, store):
    everything(live / "var/lib/app")
    (store / "var/lib/app").mkdir(parents=True)
    assert actions(run_save(live, store, [b"/var/lib/app"])) == {b"/var/lib/app": "copy"}
    assert whole(store / "var/lib/app") == whole(live / "var/lib/app")


def test_a_path_below_another_one_is_saved_with_it(live, store):
    everything(live / "var/lib/app")
    items = run_save(live, store, [b"/var/lib/app/file", b"/var/lib/app", b"/var/lib/app"])
    assert actions(items) == {b"/var/lib/app": "copy"}


def test_one_that_fails_does_not_stop_the_others(live, store):
    (live / "b").write_bytes(b"x")
    items = run_save(live, store, [b"/a", b"/b"])
    assert [(item.path, str(item.action), item.why) for item in items] == [
        (b"/a", "failed", "there is no such path"),
        (b"/b", "copy", ""),
    ]


# --- hostile trees


@pytest.mark.parametrize("link", ["var", "var/lib", "var/lib/app"])
def test_a_symlink_in_the_store_leads_nowhere(live, store, tmp_path, link):
    everything(live / "var/lib/app")
    outside = tmp_path / "outside"
    (outside / "lib/app").mkdir(parents=True)
    (outside / "app").mkdir()
    (store / link).parent.mkdir(parents=True, exist_ok=True)
    (store / link).symlink_to(outside)
    before = whole(outside)
    (item,) = run_save(live, store, [b"/var/lib/app"])
    assert str(item.action) == ("different" if link == "var/lib/app" else "failed")
    assert whole(outside) == before
    assert (store / link).is_symlink()


def test_a_symlink_in_the_live_root_is_not_followed_either(live, store, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (live / "way").symlink_to(tmp_path / "outside")
    (item,) = run_save(live, store, [b"/way/secret"])
    assert (str(item.action), item.why) == (
        "failed",
        "one of its parent directories is no directory",
    )
    assert not (store / "way").exists()


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize(
    "path", [b"../x", b"a/../../x", b"link/x", b"a/link/x", b"absolute/passwd"]
)
def test_no_path_leads_out_of_its_directory(tmp_path, path, in_steps):
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "x").write_bytes(b"")
    (tmp_path / "top/link").symlink_to("..")
    (tmp_path / "top/a/link").symlink_to("../..")
    (tmp_path / "top/absolute").symlink_to("/etc")
    with opened_tree(tmp_path / "top") as tree, pytest.raises(OSError):
        os.close(open_beneath(tree.top, path, os.O_RDONLY, in_steps=in_steps))


@pytest.mark.parametrize("in_steps", [False, True])
def test_both_ways_to_open_open_the_same(tmp_path, in_steps):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x")
    with opened_tree(tmp_path) as tree:
        for path in (b"", b"/", b"a", b"/a/b", b"a//b/./file"):
            fd = open_beneath(tree.top, path, os.O_RDONLY, in_steps=in_steps)
            expected = os.stat(os.path.join(os.fsencode(tmp_path), path.lstrip(b"/")))
            assert os.fstat(fd).st_ino == expected.st_ino
            os.close(fd)


def test_older_kernels_save_the_same(live, store, monkeypatch):
    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(beneath, "_openat2", missing)
    everything(live / "var/lib/app")
    run_save(live, store, [b"/var/lib/app"])
    assert whole(store / "var/lib/app") == whole(live / "var/lib/app")


def test_a_tree_deeper_than_the_program_can_go_is_named_and_left(live, store):
    top = os.open(live, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=top)
        below = os.open("d", os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.close(top)
    (live / "b").write_bytes(b"x")
    items = run_save(live, store, [b"/b", b"/d"])
    assert actions(items) == {b"/b": "copy", b"/d": "failed"}
    assert temporaries(store) == []
    subprocess.run(["rm", "-rf", live / "d"], check=True)


def test_a_file_that_changes_while_it_is_read_is_not_saved_half(live, store, monkeypatch):
    """Read from the live root itself: a writer that never rests."""
    from drift.saving import copying

    (live / "log").write_bytes(b"0")

    def append(source, target):
        with (live / "log").open("ab") as file:
            file.write(b"more")
        return False

    monkeypatch.setattr(copying, "clone", append)
    (item,) = run_save(live, store, [b"/log"])
    assert (str(item.action), item.why) == ("failed", "it changed while it was copied")
    assert not (store / "log").exists()
    assert temporaries(store) == []


def test_a_file_that_changed_once_is_read_again(live, store, monkeypatch):
    from drift.saving import copying

    (live / "log").write_bytes(b"0")
    turns: list[int] = []

    def append(source, target):
        if not turns:
            (live / "log").write_bytes(b"longer")
        turns.append(1)
        return False

    monkeypatch.setattr(copying, "clone", append)
    assert actions(run_save(live, store, [b"/log"])) == {b"/log": "copy"}
    assert (store / "log").read_bytes() == b"longer"


def test_a_copy_that_is_not_what_it_should_be_is_seen(live, store, monkeypatch):
    from drift.saving import copying

    (live / "file").write_bytes(b"right")

    def wrong(source, target):
        os.write(target, b"wrong")
        return True

    monkeypatch.setattr(copying, "clone", wrong)
    (item,) = run_save(live, store, [b"/file"])
    assert str(item.action) == "failed"
    assert not (store / "file").exists()


# --- room


@pytest.mark.btrfs
def test_another_filesystem_holds_the_same(live, on_ext4):
    everything(live / "var/lib/app")
    run_save(live, on_ext4, [b"/var/lib/app"])
    assert whole(on_ext4 / "var/lib/app") == whole(live / "var/lib/app")


@pytest.mark.btrfs
def test_a_store_that_is_too_small_gets_nothing(live, on_ext4):
    (live / "large").write_bytes(os.urandom(40 << 20))
    (live / "small").write_bytes(b"x")
    before = sorted(os.listdir(on_ext4))
    with pytest.raises(DriftError) as caught:
        run_save(live, on_ext4, [b"/large", b"/small"])
    assert caught.value.message.startswith("/persist has not enough room: 42.0 MB are needed, ")
    assert sorted(os.listdir(on_ext4)) == sorted([".drift", *before])


@pytest.mark.btrfs
def test_a_store_that_fills_up_meanwhile_keeps_nothing_half(live, on_ext4, monkeypatch):
    from drift.saving import plan

    (live / "large").write_bytes(os.urandom(40 << 20))
    (live / "small").write_bytes(b"x")
    monkeypatch.setattr(plan.Plan, "require_room", lambda self, store: None)
    items = run_save(live, on_ext4, [b"/large", b"/small"])
    assert [(item.path, str(item.action), item.why) for item in items] == [
        (b"/large", "failed", "the persistent storage is full"),
        (b"/small", "copy", ""),
    ]
    assert not (on_ext4 / "large").exists()
    assert temporaries(on_ext4) == []


# --- the manifest


def test_the_manifest_holds_digests_and_no_content(live, store):
    (live / "key").write_bytes(b"-----BEGIN SECRET-----")
    run_save(live, store, [b"/key"])
    file = store / ".drift/saved.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((store / ".drift").stat().st_mode) == 0o700
    assert "SECRET" not in file.read_text()
    made = json.loads(file.read_text())
    assert (made["schema"], made["pending"]) == ("drift.saved/1", [])
    (saved,) = made["saved"]
    (entry,) = saved["entries"]
    found = (live / "key").stat()
    assert saved["path"] == "/key"
    assert entry == {
        "path": "",
        "kind": "file",
        "mode": "0644",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime": found.st_mtime_ns,
        "size": 22,
        "xxh3": xxhash.xxh3_128_hexdigest(b"-----BEGIN SECRET-----"),
    }


def test_the_manifest_adds_up_over_runs(live, store):
    for name in ("b", "a"):
        (live / name).write_bytes(b"x")
        run_save(live, store, [b"/" + name.encode()])
    with opened_tree(store) as tree:
        private = open_private(tree.top, make=False)
        manifest = read_manifest(private)
        os.close(private)
    assert [one.path for one in manifest.saved] == [b"/a", b"/b"]
    for one in manifest.saved:
        assert tuple(from_json(to_json(record)) for record in one.records) == one.records


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": "drift.saved/1"}'])
def test_a_damaged_manifest_is_a_sentence(live, store, text):
    (store / ".drift").mkdir(mode=0o700)
    (store / ".drift/saved.json").write_text(text)
    (live / "a").write_bytes(b"x")
    with pytest.raises(DriftError):
        run_save(live, store, [b"/a"])
    assert not (store / "a").exists()


def test_a_store_whose_manifest_others_may_write_is_refused(live, store):
    (store / ".drift").mkdir()
    (store / ".drift").chmod(0o777)
    with pytest.raises(DriftError, match="may be written by others"):
        run_save(live, store, [b"/a"])


def test_two_runs_at_once_are_kept_apart(live, store):
    from drift.saving.store import open_store

    with (
        open_store(os.fsencode(store), b"/persist"),
        pytest.raises(DriftError, match="another drift save is writing to /persist"),
        open_store(os.fsencode(store), b"/persist"),
    ):
        pass


def test_an_empty_manifest_is_that_of_a_new_store(store):
    with opened_tree(store) as tree:
        private = open_private(tree.top, make=True)
        assert read_manifest(private) == Manifest()
        os.close(private)


# --- all trees


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
LEAVES = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=50).filter(lambda t: b"\0" not in t)),
)
TREES = st.recursive(LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12)


def build(path, tree):
    if isinstance(tree, dict):
        os.mkdir(path)
        for name, below in tree.items():
            build(path + b"/" + name, below)
    elif isinstance(tree, tuple):
        os.symlink(tree[1], path)
    else:
        with open(path, "wb") as file:
            file.write(tree)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=st.dictionaries(NAMES, TREES, max_size=4))
def test_any_tree_arrives_whole(tmp_path_factory, tree):
    place = os.fsencode(tmp_path_factory.mktemp("any"))
    os.mkdir(place + b"/live")
    os.mkdir(place + b"/persist")
    build(place + b"/live/top", tree)
    assert actions(run_save(place + b"/live", place + b"/persist", [b"/top"])) == {b"/top": "copy"}
    assert whole(place + b"/persist/top") == whole(place + b"/live/top")
    assert actions(run_save(place + b"/live", place + b"/persist", [b"/top"])) == {b"/top": "same"}
