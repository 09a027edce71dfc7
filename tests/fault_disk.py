"""A disk that fails where and when a test says, under a real filesystem.

    with FaultDisk() as disk, Lab("-m", "single", through=disk) as lab:
        disk.fail([(offset, length)])

An image file is served again by a small FUSE server of its own process, on which the lab's loop
device stands; so an error or a delay comes from below the filesystem, as from device-mapper's
targets, and needs nothing but FUSE in the kernel.
"""

from __future__ import annotations

import errno
import json
import os
import select
import stat
import subprocess
import sys
import tempfile
from enum import IntEnum
from struct import Struct
from typing import Self

Range = tuple[int, int]
EVERYTHING: Range = (0, 2**63)


# linux/fuse.h
class Opcode(IntEnum):
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


UNANSWERED = (Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.DESTROY)
HEADER_IN = Struct("<IIQQIIIHH")
HEADER_OUT = Struct("<IiQ")
INIT_OUT = Struct("<IIIIHHIIHHII24x")
ATTR_OUT = Struct("<QII QQQ QQQ III IIIIIII")
OPEN_OUT = Struct("<QIi")
IO_IN = Struct("<QQIIQII")
WRITE_OUT = Struct("<II")
BIG_WRITES_AND_ASYNC_READ = 0x20 | 1
DIRECT_IO = 1
MOST_WRITTEN = 1 << 17


class FaultDisk:
    """Serve an image file once it is called with one, until the end; healthy at first."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None
        self._point = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is None:
            return
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()
        os.unlink(self._point)

    def __call__(self, image: bytes) -> bytes:
        file, self._point = tempfile.mkstemp(prefix="drift-fault-disk-")
        os.close(file)
        self._server = subprocess.Popen(
            [sys.executable, __file__, os.fsdecode(image), self._point],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._told() == "serving"
        return os.fsencode(self._point)

    def fail(self, ranges: list[Range]) -> None:
        """Let what touches these (offset, length) end in EIO, and all else go well."""
        self._ask("fail", ranges)

    def hold(self, ranges: list[Range]) -> None:
        """Let reads of these wait until `release`; only then may others be held."""
        self._ask("hold", ranges)

    def held(self) -> None:
        """Wait until a read is being held."""
        assert self._told() == "held"

    def release(self) -> None:
        self._ask("hold", [])

    def heal(self) -> None:
        self.fail([])
        self.release()

    def _ask(self, what: str, ranges: list[Range]) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([what, ranges]) + "\n")
        self._server.stdin.flush()
        while (said := self._told()) != "done":
            assert said == "held"

    def _told(self) -> str:
        assert self._server is not None
        assert self._server.stdout is not None
        ready, _, _ = select.select([self._server.stdout], [], [], 30)
        assert ready, "the disk does not answer"
        return self._server.stdout.readline().strip()


def missing() -> str:
    """Say why no such disk can be made here; empty if one can."""
    return "" if os.path.exists("/dev/fuse") else "needs FUSE"


class Server:
    """Answers the kernel's requests for the one file that is its whole filesystem."""

    def __init__(self, image: str, point: str) -> None:
        self.image = os.open(image, os.O_RDWR)
        self.point = point
        self.fuse = os.open("/dev/fuse", os.O_RDWR)
        self.failing: list[Range] = []
        self.holding: list[Range] = []
        self.waiting: list[tuple[int, int, bytes]] = []
        subprocess.run(
            [
                *("mount", "-i", "-t", "fuse", "-o"),
                f"fd={self.fuse},rootmode=100000,user_id=0,group_id=0,allow_other",
                *("drift-fault-disk", point),
            ],
            pass_fds=[self.fuse],
            check=True,
        )

    def run(self) -> None:
        """Until stdin ends; its lines are commands."""
        tell("serving")
        commands = b""
        while True:
            for ready in select.select([self.fuse, 0], [], [])[0]:
                if ready == 0:
                    more = os.read(0, 65536)
                    if not more:
                        # Lazily: where a test was killed, its filesystem still stands on it.
                        subprocess.run(["umount", "--lazy", self.point], check=False)
                        return
                    *lines, commands = (commands + more).split(b"\n")
                    for line in lines:
                        self.command(*json.loads(line))
                else:
                    self.request()

    def command(self, what: str, ranges: list[Range]) -> None:
        if what == "fail":
            self.failing = ranges
        else:
            self.holding = ranges
            waiting, self.waiting = self.waiting, []
            for asked in waiting:
                self.answer(*asked)
        tell("done")

    def request(self) -> None:
        try:
            data = os.read(self.fuse, MOST_WRITTEN + 65536)
        except FileNotFoundError:
            # Whoever asked was killed meanwhile.
            return
        _, opcode, unique, *_ = HEADER_IN.unpack_from(data)
        if opcode == Opcode.READ and self.holding and _touches(data, self.holding):
            self.waiting.append((opcode, unique, data))
            tell("held")
        elif opcode not in UNANSWERED:
            self.answer(opcode, unique, data)

    def answer(self, opcode: int, unique: int, data: bytes) -> None:
        try:
            body, fault = self.body(opcode, data), 0
        except OSError as error:
            body, fault = b"", -(error.errno or errno.EIO)
        try:
            os.write(self.fuse, HEADER_OUT.pack(HEADER_OUT.size + len(body), fault, unique) + body)
        except FileNotFoundError:
            return

    def body(self, opcode: int, data: bytes) -> bytes:
        match opcode:
            case Opcode.INIT:
                flags = BIG_WRITES_AND_ASYNC_READ
                return INIT_OUT.pack(7, 31, 1 << 17, flags, 16, 12, MOST_WRITTEN, 1, 0, 0, 0, 0)
            case Opcode.GETATTR | Opcode.SETATTR:
                size = os.fstat(self.image).st_size
                mode = stat.S_IFREG | 0o600
                return ATTR_OUT.pack(
                    *(3600, 0, 0, 1, size, size // 512),
                    *(0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0),
                )
            case Opcode.OPEN:
                # Nothing is kept in memory, so that a later fault hits what was read before.
                return OPEN_OUT.pack(0, DIRECT_IO, 0)
            case Opcode.READ:
                self.must_work(data)
                _, offset, size, *_ = IO_IN.unpack_from(data, HEADER_IN.size)
                return os.pread(self.image, size, offset)
            case Opcode.WRITE:
                self.must_work(data)
                _, offset, size, *_ = IO_IN.unpack_from(data, HEADER_IN.size)
                start = HEADER_IN.size + IO_IN.size
                return WRITE_OUT.pack(os.pwrite(self.image, data[start : start + size], offset), 0)
            case Opcode.RELEASE | Opcode.FSYNC | Opcode.FLUSH:
                return b""
            case _:
                raise OSError(errno.ENOSYS, "not needed")

    def must_work(self, data: bytes) -> None:
        if _touches(data, self.failing):
            raise OSError(errno.EIO, "as asked for")


def _touches(data: bytes, ranges: list[Range]) -> bool:
    _, offset, size, *_ = IO_IN.unpack_from(data, HEADER_IN.size)
    return any(start < offset + size and offset < start + length for start, length in ranges)


def tell(what: str) -> None:
    os.write(1, what.encode() + b"\n")


if __name__ == "__main__":
    Server(*sys.argv[1:]).run()
