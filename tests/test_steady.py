"""A live root that changes while it is read: no crash, no hang, no path that never existed."""

from __future__ import annotations

import os
import random
import threading
from typing import Any

import pytest

engines: Any = pytest.importorskip("engines")

pytestmark = pytest.mark.btrfs


class Writer(threading.Thread):
    """Creates, renames and deletes below `top` until stopped; `ever` are all paths that existed."""

    def __init__(self, top: bytes, seed: int) -> None:
        super().__init__()
        self.top = top
        self.random = random.Random(seed)
        self.ever: set[bytes] = {b"/busy"}
        self.now: set[bytes] = set()
        self.stopped = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            directory = b"/busy/d%d" % self.random.randrange(40)
            act = self.random.randrange(6)
            if act < 3:
                self.make(directory, b"f%d" % self.random.randrange(30))
            elif act == 3:
                self.move(directory, b"/busy/d%d" % self.random.randrange(40))
            elif act == 4:
                self.move(b"/busy/d%d/f%d" % (number % 40, number % 30), directory + b"/g")
            else:
                self.delete(directory + b"/f%d" % self.random.randrange(30))

    def make(self, directory: bytes, name: bytes) -> None:
        self.ever.update((directory, directory + b"/" + name))
        self.now.update((directory, directory + b"/" + name))
        os.makedirs(self.top + directory, exist_ok=True)
        with open(self.top + directory + b"/" + name, "wb") as file:
            file.write(b"x")

    def move(self, old: bytes, new: bytes) -> None:
        moved = [path for path in self.now if path == old or path.startswith(old + b"/")]
        if not moved or new in self.now or b"/busy/d" not in new:
            return
        if os.path.dirname(new) != b"/busy" and os.path.dirname(new) not in self.now:
            return
        # Named before it is so: what is never there must never be named.
        arriving = {new + path[len(old) :] for path in moved}
        self.ever |= arriving
        os.rename(self.top + old, self.top + new)
        self.now -= set(moved)
        self.now |= arriving

    def delete(self, path: bytes) -> None:
        if path in self.now:
            os.unlink(self.top + path)
            self.now.remove(path)


@pytest.mark.parametrize("engine", ["auto", "metadata", "walk"])
@pytest.mark.parametrize("empty_blank", [True, False], ids=["blank empty", "blank full"])
def test_a_busy_root_gives_no_path_that_never_existed(lab, engine, empty_blank):
    root = lab.create(b"root")
    if empty_blank:
        lab.snapshot(b"root", b"root-blank", readonly=True)
    os.makedirs(root + b"/still")
    os.mkdir(root + b"/busy")
    for number in range(3000):
        os.makedirs(root + b"/still/s%d" % (number % 100), exist_ok=True)
        with open(root + b"/still/s%d/%d" % (number % 100, number), "wb") as file:
            file.write(b"y" * (number % 50))
    if not empty_blank:
        lab.snapshot(b"root", b"root-blank", readonly=True)
        for number in range(0, 3000, 7):
            with open(root + b"/still/s%d/%d" % (number % 100, number), "ab") as file:
                file.write(b"z")
    blank = lab.path(b"root-blank")
    quiet = [c for c in engines.diff(root, blank, engine) if not c.path.startswith(b"/busy")]
    assert len(quiet) == (3101 if empty_blank else 429)
    writer = Writer(root, seed=7)
    writer.start()
    try:
        for _ in range(5):
            changes, _skipped = engines.diff_and_skipped(root, blank, engine)
            told = {change.path for change in changes if change.path.startswith(b"/busy/")}
            assert told <= writer.ever
            stable = [c for c in changes if not c.path.startswith(b"/busy")]
            assert stable == quiet
    finally:
        writer.stopped.set()
        writer.join()
