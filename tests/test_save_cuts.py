"""A save that is cut short anywhere leaves nothing half done, and a second one completes it."""

import errno
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from save_lab import actions, run_save, temporaries, untimed, whole

from drift import save as saves
from drift.errors import DriftError
from drift.saving import beneath, copying, store

# Every call through which a save changes anything.
CALLS = (
    "mkdir", "symlink", "mknod", "link", "chown", "chmod", "utime", "setxattr", "removexattr",
    "rename", "unlink", "pwrite", "ftruncate", "fsync", "rmdir", "open",
)  # fmt: skip
MEMORY = "/dev/shm"
PATHS = [b"/etc/machine-id", b"/home/alice/link", b"/var/lib/app", b"/var/lib/old"]


@pytest.fixture
def memory():
    """A directory where to sync takes no time, if there is one that keeps attributes."""
    path = Path(tempfile.mkdtemp(prefix="drift-cuts-", dir=MEMORY if _keeps_xattrs() else None))
    yield path
    shutil.rmtree(path)


def _keeps_xattrs():
    try:
        with tempfile.NamedTemporaryFile(dir=MEMORY) as file:
            os.setxattr(file.name, b"user.x", b"y")
    except OSError:
        return False
    return True


class Cut:
    """Counts the calls that change something; at the call number `at` comes the end."""

    def __init__(self, at, end):
        self.at, self.end, self.count = at, end, 0

    def step(self, call):
        def stepping(*arguments, **named):
            self.count += 1
            if self.count == self.at:
                if call.__name__ == "pwrite":
                    # Torn in the middle of a write.
                    call(arguments[0], bytes(arguments[1])[:3], *arguments[2:])
                self.end()
            return call(*arguments, **named)

        return stepping

    def install(self, patch):
        for name in CALLS:
            patch(os, name, self.step(getattr(os, name)))
        renaming, syncing = self.step(beneath.rename_new), self.step(beneath.sync_filesystem)
        cloning = self.step(copying.clone)  # type: ignore[attr-defined]
        for module in (saves, store):
            patch(module, "rename_new", renaming)
        patch(saves, "sync_filesystem", syncing)
        patch(copying, "clone", cloning)
        return self


def build(top):
    live, kept = top / "live", top / "persist"
    kept.mkdir(parents=True, exist_ok=True)
    app = live / "var/lib/app"
    app.mkdir(parents=True)
    (app / "sub").mkdir(mode=0o700)
    (app / "sub/one").write_bytes(b"1" * 5000)
    os.link(app / "sub/one", app / "two")
    os.mkfifo(app / "fifo")
    os.setxattr(app / "sub", b"user.x", b"y")
    for name in "abcdefgh":
        (app / "sub" / name).write_bytes(name.encode() * 100)
    (live / "etc").mkdir(mode=0o711)
    (live / "etc/machine-id").write_bytes(b"0123")
    (live / "home/alice").mkdir(parents=True, mode=0o700)
    (live / "home/alice/link").symlink_to("target")
    (live / "var/lib/old").mkdir()
    (live / "var/lib/old/new").write_bytes(b"new")
    (kept / "var/lib/old").mkdir(parents=True)
    (kept / "var/lib/old/data").write_bytes(b"precious")
    return live, kept


def check_whole_or_absent(live, kept):
    """What is in the store under its name is all that it should be."""
    for path in ("etc/machine-id", "home/alice/link"):
        if os.path.lexists(kept / path):
            parent = os.path.dirname(path)
            name = b"/" + os.path.basename(path).encode()
            assert untimed(whole(kept / parent))[name] == untimed(whole(live / parent))[name]
    if (kept / "var/lib/app").exists():
        assert whole(kept / "var/lib/app") == whole(live / "var/lib/app")
    for parent in ("etc", "home", "home/alice", "var", "var/lib"):
        if (kept / parent).exists() and parent not in ("var", "var/lib"):
            found, expected = os.lstat(kept / parent), os.lstat(live / parent)
            assert (found.st_mode, found.st_uid) == (expected.st_mode, expected.st_uid)
    olds = [*(kept / "var/lib").glob("old.before-*/data"), kept / "var/lib/old/data"]
    assert [old.read_bytes() for old in olds if old.exists()] == [b"precious"]
    if (kept / "var/lib/old/new").exists():
        assert whole(kept / "var/lib/old") == whole(live / "var/lib/old")


def check_complete(live, kept):
    check_whole_or_absent(live, kept)
    assert temporaries(kept) == []
    for path in PATHS:
        assert os.path.lexists(os.fsencode(kept) + path)
    assert (kept / "var/lib/old/new").exists()
    with store.open_store(os.fsencode(kept), b"/persist") as opened:
        assert [one.path for one in opened.manifest.saved] == PATHS
        assert opened.manifest.pending == ()


def steps(memory, monkeypatch):
    """How many calls a whole save makes."""
    live, kept = build(memory / "counted")
    with monkeypatch.context() as patched:
        cut = Cut(-1, lambda: None).install(patched.setattr)
        items = run_save(live, kept, PATHS, replace=True)
    assert set(actions(items).values()) == {"copy", "replace"}
    check_complete(live, kept)
    return cut.count


def killed_at(number, live, kept):
    """Save in a process of its own that is killed at a call; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            Cut(number, lambda: os.kill(os.getpid(), signal.SIGKILL)).install(setattr)
            run_save(live, kept, PATHS, replace=True)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_call_it_leaves_nothing_half_and_is_completed(memory, monkeypatch):
    total = steps(memory, monkeypatch)
    assert total >= 200
    for number in range(1, total + 1):
        live, kept = build(memory / str(number))
        assert killed_at(number, live, kept), number
        check_whole_or_absent(live, kept)
        run_save(live, kept, PATHS, replace=True)
        check_complete(live, kept)


def test_killed_twice_it_is_completed_all_the_same(memory, monkeypatch):
    total = steps(memory, monkeypatch)
    for number in range(5, total, 9):
        live, kept = build(memory / str(number))
        killed_at(number, live, kept)
        killed_at(number // 2 + 3, live, kept)
        check_whole_or_absent(live, kept)
        run_save(live, kept, PATHS, replace=True)
        check_complete(live, kept)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_an_error_at_any_call_leaves_nothing_half_and_is_completed(memory, monkeypatch, number):
    total = steps(memory, monkeypatch)

    def fail():
        raise OSError(number, os.strerror(number))

    for at in range(1, total + 1, 2 if number == errno.EIO else 1):
        live, kept = build(memory / str(at))
        with monkeypatch.context() as patched:
            Cut(at, fail).install(patched.setattr)
            with suppress(OSError, DriftError):
                run_save(live, kept, PATHS, replace=True)
        check_whole_or_absent(live, kept)
        run_save(live, kept, PATHS, replace=True)
        check_complete(live, kept)


@pytest.mark.btrfs
def test_on_btrfs_it_is_no_different(lab, memory, monkeypatch):
    """With extents that are shared, and a store that is a subvolume of its own."""
    total = steps(memory, monkeypatch)
    for number in range(3, total, 5):
        top = Path(os.fsdecode(lab.create(str(number))))
        lab.create(f"{number}/persist")
        live, kept = build(top)
        # What is cloned takes fewer calls than what is written.
        if not killed_at(number, live, kept):
            break
        check_whole_or_absent(live, kept)
        run_save(live, kept, PATHS, replace=True, shared=True)
        check_complete(live, kept)
        assert killed_at(-1, live, kept) is False
        check_complete(live, kept)
    assert number > 150
