"""A user's file is replaced whole or not at all, and its old text is kept."""

from __future__ import annotations

import os
import stat

import pytest

from drift import rewrite
from drift.errors import DriftError
from drift.rewrite import read_original, replace_text

OLD, NEW = b"{ }\n", b"{ a = 1; }\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "impermanence.nix"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def named(path):
    return os.fsencode(path)


def contents(directory):
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.is_file() and not path.is_symlink()
    }


def test_the_new_text_takes_its_place_and_the_old_stays_beside(file, tmp_path):
    kept = replace_text(read_original(named(file)), NEW)
    assert kept == named(tmp_path / "impermanence.nix.orig")
    assert contents(tmp_path) == {"impermanence.nix": NEW, "impermanence.nix.orig": OLD}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_old_files_that_are_there_are_left_alone(file, tmp_path):
    for name in ("impermanence.nix.orig", "impermanence.nix.orig.1"):
        (tmp_path / name).write_bytes(b"older\n")
    kept = replace_text(read_original(named(file)), NEW)
    assert kept == named(tmp_path / "impermanence.nix.orig.2")
    assert contents(tmp_path) == {
        "impermanence.nix": NEW,
        "impermanence.nix.orig": b"older\n",
        "impermanence.nix.orig.1": b"older\n",
        "impermanence.nix.orig.2": OLD,
    }


def test_a_symlink_is_followed_and_stays(file, tmp_path):
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()
    link = elsewhere / "link.nix"
    link.symlink_to("../other.nix")
    (tmp_path / "other.nix").symlink_to("impermanence.nix")
    original = read_original(named(link))
    assert (original.given, original.path) == (named(link), named(file))
    replace_text(original, NEW)
    assert link.is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["link.nix"]
    assert link.read_bytes() == NEW


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_attributes_stay(file):
    os.chown(file, 1000, 100)
    os.setxattr(file, "trusted.drift", b"1")
    replace_text(read_original(named(file)), NEW)
    assert (file.stat().st_uid, file.stat().st_gid) == (1000, 100)
    assert os.getxattr(file, "trusted.drift") == b"1"


def test_nobody_reads_the_new_file_before_it_is_in_place(file, monkeypatch):
    seen = []
    rename = os.rename

    def watch(source, *rest, **more):
        found = os.stat(source, dir_fd=more["src_dir_fd"])
        seen.append(stat.S_IMODE(found.st_mode))
        rename(source, *rest, **more)

    monkeypatch.setattr(rewrite.os, "rename", watch)
    replace_text(read_original(named(file)), NEW)
    assert seen == [0o640]


def test_a_file_that_changed_meanwhile_is_left_alone(file, tmp_path):
    original = read_original(named(file))
    file.write_bytes(b"# by somebody else\n")
    with pytest.raises(DriftError) as caught:
        replace_text(original, NEW)
    assert caught.value.message == f"{file} was changed by another program just now"
    assert contents(tmp_path) == {"impermanence.nix": b"# by somebody else\n"}


@pytest.mark.parametrize("call", ["fsync", "link", "rename", "fchmod"])
def test_whatever_fails_everything_is_as_it_was(file, tmp_path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    original = read_original(named(file))
    monkeypatch.setattr(rewrite.os, call, fail)
    with pytest.raises(DriftError) as caught:
        replace_text(original, NEW)
    monkeypatch.undo()
    assert caught.value.message == f"{file} can't be replaced: No space left on device"
    assert contents(tmp_path) == {"impermanence.nix": OLD}


def test_without_hard_links_the_old_text_is_copied(file, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(rewrite.os, "link", refuse)
    (tmp_path / "impermanence.nix.orig").write_bytes(b"older\n")
    replace_text(read_original(named(file)), NEW)
    assert contents(tmp_path) == {
        "impermanence.nix": NEW,
        "impermanence.nix.orig": b"older\n",
        "impermanence.nix.orig.1": OLD,
    }


def test_a_directory_that_can_not_be_synced_is_no_failure(file, monkeypatch):
    fsync = os.fsync

    def refuse(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(fd)

    monkeypatch.setattr(rewrite.os, "fsync", refuse)
    replace_text(read_original(named(file)), NEW)
    assert file.read_bytes() == NEW


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    said = {}
    for name in ("", "fifo", "dangling", "circle", "missing"):
        with pytest.raises(DriftError) as caught:
            read_original(named(tmp_path / name))
        said[name] = (caught.value.message, caught.value.hint)
    new = "drift suggest --nix prints a module to save as a new one"
    assert said == {
        "": (f"{tmp_path} is no file", "name a .nix file in it"),
        "fifo": (f"{tmp_path}/fifo is no file", "name a .nix file"),
        "dangling": (f"there is no file {tmp_path}/dangling", new),
        "circle": (
            f"{tmp_path}/circle can't be read: Too many levels of symbolic links",
            "",
        ),
        "missing": (f"there is no file {tmp_path}/missing", new),
    }


def test_a_file_of_the_store_is_refused(file, monkeypatch):
    original = read_original(named(file))
    stored = rewrite.Original(b"/etc/nixos/a.nix", b"/nix/store/x/a.nix", OLD, original.status)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(rewrite.os, "open", refuse)
    with pytest.raises(DriftError) as caught:
        replace_text(stored, NEW)
    assert caught.value.message == (
        "/etc/nixos/a.nix leads into the Nix store, where nothing can be changed"
    )
