"""A tree that several processes read is the tree that one reads."""

from __future__ import annotations

import io
import os
import signal
from itertools import count

import pytest

from drift.btrfs import parallel
from drift.btrfs.columns import Columns, read_columns
from drift.btrfs.ioctl import Search
from drift.btrfs.subvolumes import subvolume_id, sync

pytestmark = pytest.mark.btrfs


@pytest.fixture
def tree(lab):
    """A search on a filesystem, and a tree in it with some of everything."""
    root = lab.create(b"root")
    for number in range(400):
        directory = root + b"/d%d" % (number % 37)
        os.makedirs(directory, exist_ok=True)
        name = directory + b"/" + b"n%d" % number * 20
        with open(name, "wb") as file:
            file.write(b"x" * number * 13)
        if number % 5 == 0:
            os.symlink(b"/nix/store/%d" % number, name + b".link")
        if number % 7 == 0:
            os.link(name, root + b"/hard-%d" % number)
    fd = os.open(root, os.O_RDONLY)
    sync(fd)
    search = Search(fd)
    yield search, subvolume_id(fd)
    search.close()
    os.close(fd)


def whole(search, number, since=0):
    columns = Columns()
    assert read_columns(search, number, since, into=columns) is None
    return columns


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("alone", [1, 2, 100])
def test_processes_share_a_tree_without_losing_a_row(monkeypatch, tree, processes, alone):
    search, number = tree
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", alone)
    found, _ = parallel.read_tree(search, number, 0, processes=processes)
    assert found == whole(search, number)
    assert len(found.names) == 400 + 80 + 58 + 37
    assert len(found.targets) == 80


class Inodes:
    """Makes the set of its inodes of each part, which no process can hand on as it is."""

    def __call__(self, _, part):
        return frozenset(part.inodes)

    def packed(self, made):
        return sorted(made)

    def unpacked(self, plain):
        return frozenset(plain)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_part_is_sifted_once_by_whoever_read_it(monkeypatch, tree, processes):
    search, number = tree
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    _, sifted = parallel.read_tree(search, number, 0, sift=Inodes(), processes=processes)
    assert len(sifted) > 1
    assert all(type(part) is frozenset for part in sifted)
    found = [inode for part in sifted for inode in sorted(part)]
    assert found == sorted(set(whole(search, number).inodes))


def test_what_a_killed_process_leaves_is_read_all_the_same(monkeypatch, tree):
    search, number = tree
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    monkeypatch.setattr(parallel, "_work", lambda *_: os._exit(9))
    assert parallel.read_tree(search, number, 0, processes=3)[0] == whole(search, number)


def test_a_process_that_is_killed_when_half_is_written_loses_nothing(monkeypatch, tree):
    search, number = tree
    send, sent = parallel._send, []

    def send_and_die(file, message):
        sent.append(message)
        if len(sent) == 1:
            send(file, message)
            return
        whole_message = io.BytesIO()
        send(whole_message, message)
        file.write(whole_message.getvalue()[:-1])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    monkeypatch.setattr(parallel, "_send", send_and_die)
    assert parallel.read_tree(search, number, 0, processes=2)[0] == whole(search, number)


def test_a_process_that_takes_a_piece_and_dies_loses_nothing(monkeypatch, tree):
    search, number = tree

    def take_and_die(_fd, _shared, tickets, _memory):
        os.read(tickets, 1)
        os._exit(1)

    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    monkeypatch.setattr(parallel, "_work", take_and_die)
    assert parallel.read_tree(search, number, 0, processes=2)[0] == whole(search, number)


@pytest.mark.parametrize(
    ("busy", "waits", "wanted"),
    [(1.0, 99, 2), (0.0, 99, parallel.WAITING_PROCESSES), (0.0, 0, 2)],
    ids=["busy", "waiting", "kept from the processor"],
)
def test_more_processes_read_where_one_waits_for_the_disk(monkeypatch, tree, busy, waits, wanted):
    search, number = tree
    forks = []
    fork = os.fork
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(parallel.os, "fork", lambda: forks.append(1) or fork())
    wall, processor, waited = count(), count(), count(step=waits)
    monkeypatch.setattr(parallel, "_waits", lambda: next(waited))
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(parallel.time, "process_time", lambda: busy * next(processor))
    assert parallel.read_tree(search, number, 0)[0] == whole(search, number)
    assert len(forks) + 1 == wanted


def test_reading_stops_between_inodes_and_goes_on_there(tree):
    search, number = tree
    columns = Columns()
    reached = 256
    stops = 0
    while reached is not None:
        reached = read_columns(search, number, 0, first=reached, into=columns, buffers=1)
        stops += 1
    assert columns == whole(search, number)
    assert stops > 1


def test_progress_is_told_while_others_read(monkeypatch, tree):
    search, number = tree
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    told = []
    parallel.read_tree(search, number, 0, processes=2, progress=told.append)
    assert told
    assert max(told) >= 100
