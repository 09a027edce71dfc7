"""Run commands and measure them: time, processor time, memory and bytes read."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KIB = 1024
SAMPLING = 0.01

# A command slower than the first gets three runs at most, one slower than the second a single one.
SLOW = 20.0
SLOWEST = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command and all its processes; `peak` in bytes, 0 where it was not watched."""

    seconds: float
    cpu: float
    read: int
    peak: int


@dataclass(slots=True)
class Runs:
    """All runs of one command. `peak` and `read` come from the one that was watched."""

    runs: list[Run] = field(default_factory=list)
    peak: int = 0
    read: int = 0

    @property
    def count(self) -> int:
        return len(self.runs)

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def spread(self) -> float:
        """The slowest run over the fastest."""
        return max(run.seconds for run in self.runs) / min(run.seconds for run in self.runs)


def runs_for(first: float, wanted: int) -> int:
    """How often to run a command whose first run took `first` seconds."""
    if first >= SLOWEST:
        return 1
    return min(wanted, 3) if first >= SLOW else wanted


def interleaved(names: Sequence[str], counts: Mapping[str, int], rounds: int) -> list[str]:
    """In which order to run: round after round, each beginning with another one.

    What the machine does meanwhile then falls on all of them alike.
    """
    order = []
    for turn in range(rounds):
        start = turn % len(names)
        order += [name for name in (*names[start:], *names[:start]) if counts[name] > turn]
    return order


def run(
    argv: Sequence[str],
    output: Path,
    *,
    cwd: Path,
    environ: Mapping[str, str],
    good: Sequence[int] = (0,),
    watch: bool = False,
    keep: bool = True,
) -> Run:
    """Run `argv` with its stdout in `output`, or nowhere without `keep`; RuntimeError where its exit code isn't `good`.

    With `watch` the memory of all its processes is sampled, which costs a little time.
    """
    errors = output.with_suffix(".err")
    with open(output if keep else os.devnull, "wb") as out, open(errors, "wb") as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env=dict(environ),
            start_new_session=True,
        )
        watcher = _Watcher(child.pid) if watch else None
        try:
            # Left unreaped for a moment, for its account of what was read.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            seconds = time.perf_counter() - started
            read = _bytes_read(child.pid)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        finally:
            peak = watcher.stop() if watcher is not None else 0
    if child.returncode not in good:
        said = errors.read_text(errors="replace").strip()[-500:]
        raise RuntimeError(f"{' '.join(argv)[:200]}: exit code {child.returncode}: {said}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, read, peak)


class _Watcher:
    """Samples the memory of all processes of a session, shared pages counted once."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._over.is_set():
            self._peak = max(self._peak, sum(map(_proportional_set, self._processes())))
            self._over.wait(SAMPLING)

    def _processes(self) -> list[str]:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) >= self._session:
                with suppress(OSError, IndexError):
                    fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self._session:
                        found.append(name)
        return found


def _proportional_set(process: str) -> int:
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * KIB
    except OSError:
        pass
    return 0


def _bytes_read(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/io").read_text().splitlines():
            if line.startswith("rchar:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def measure(
    names: Sequence[str],
    once: Callable[[str, bool], Run],
    wanted: int,
    *,
    first_counts: bool,
    results: dict[str, Runs],
) -> None:
    """Measure all of `names` into `results`, interleaved; `once(name, watch)` runs one of them.

    The first run of each is watched, tells how many there will be and warms the cache; it counts
    itself with `first_counts`, or where it stays the only one.
    """
    counts = {}
    for name in names:
        first = once(name, True)
        results[name] = Runs()
        results[name].peak, results[name].read = first.peak, first.read
        counts[name] = runs_for(first.seconds, wanted)
        if first_counts or counts[name] == 1:
            results[name].runs.append(first)
            counts[name] -= 1
    for name in interleaved(names, counts, max(counts.values(), default=0)):
        results[name].runs.append(once(name, False))
