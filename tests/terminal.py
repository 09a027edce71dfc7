"""Run a program at a real terminal (a pty), wait for what it says, and type keys."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).parent.parent
PATIENCE = 60.0


class Terminal:
    """`drift` with its arguments, at a terminal of its own; `seen` is all that it printed."""

    def __init__(self, *arguments: str, columns: int = 80, environ: dict[str, str] | None = None):
        self.seen = ""
        self._read = 0
        self.code: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.environ |= {"TERM": "xterm", "NO_COLOR": "1", "PYTHONPATH": str(PROJECT)}
            os.environ.pop("COLUMNS", None)
            os.environ |= environ or {}
            os.execv(sys.executable, [sys.executable, "-m", "drift", *arguments])
        ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
        os.close(self._fd)

    def until(self, text: str) -> str:
        """Wait for `text`, and return what was printed since the last time, it included."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen[self._read :]:
            assert self._more(deadline), f"{text!r} did not come:\n{self.seen}"
        end = self.seen.index(text, self._read) + len(text)
        part, self._read = self.seen[self._read : end], end
        return part

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def answer(self, *keys: str) -> None:
        """Type each key when the program asks for one."""
        for key in keys:
            self.until("]? ")
            self.answer_now(key)

    def answer_now(self, key: str) -> None:
        """Type a key once the program reads single keys: what comes before is thrown away."""
        while termios.tcgetattr(self._fd)[3] & termios.ICANON:
            time.sleep(0.005)
        self.type(key)

    def end(self) -> str:
        """Wait for the end of the program, and return the rest that it printed."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        self._reap()
        part, self._read = self.seen[self._read :], len(self.seen)
        return part

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _more(self, deadline: float) -> bool:
        ready = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            # What Linux says once the last program has closed the terminal.
            return False
        text = data.decode(errors="backslashreplace").replace("\r\n", "\n")
        self.seen += re.sub(r"\x1b\[K|\r", "", text)
        return bool(data)
