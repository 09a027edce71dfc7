"""The record of what was reviewed, open for one review: its lock, and how it is written."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from drift.btrfs.ioctl import lock
from drift.errors import DriftError
from drift.names import exact, shown
from drift.reviewing.rules import DIRECTORY, FILE
from drift.reviewing.state import DamagedError, State, read_state, set_aside, write_state
from drift.saving.manifest import open_private
from drift.saving.store import open_top

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from drift.reviewing.state import Record, Reviewed
    from drift.saving.targets import Destination

_LOCK = b"review.lock"


class Opened:
    """`root` is the live root as it is reviewed now; `private` is None where nothing is written."""

    def __init__(self, state: State, root: Reviewed, private: int | None, host: bytes) -> None:
        self.state = state
        self.root = root
        self._private = private
        self._host = host

    def decide(
        self, records: Mapping[bytes, Record], present: Collection[bytes] | None = None
    ) -> None:
        """Remember decisions, at once and for good; with `present` old ones are forgotten."""
        assert self._private is not None
        state = self.state.decided(self.root, records)
        if present is not None:
            state = state.without_old(present, self.root.when)
        write_state(self._private, state)
        self.state = state

    def rules_file(self) -> bytes:
        """The store's own file for rules, whose directory is made if it is missing."""
        directory = os.path.join(self._host, DIRECTORY)
        try:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        except OSError as error:
            raise _read_only(directory, error) from error
        return os.path.join(self._host, FILE)


@contextmanager
def open_reviewed(
    place: Destination, root: Reviewed, say: Callable[[str], None], *, write: bool
) -> Iterator[Opened]:
    """Open the record in the store at `place`; without `write`, nothing is made or moved there.

    A damaged record counts as none: `say` is told so, and to write, it is set aside.
    """
    with ExitStack() as stack:
        top = open_top(place.host, place.path)
        stack.callback(os.close, top)
        try:
            private = open_private(top, make=write)
        except FileNotFoundError:
            yield Opened(State(), root, None, place.host)
            return
        except OSError as error:
            raise _read_only(place.path, error) from error
        stack.callback(os.close, private)
        if write:
            stack.callback(os.close, _locked(private, place.path))
        try:
            state = read_state(private)
        except DamagedError as error:
            state = State()
            if write:
                name = exact(set_aside(private, time.time_ns()))
                say(f"{error.message}; it is kept as .drift/{name}, and the review starts anew")
            else:
                say(f"{error.message}, so everything counts as new")
        yield Opened(state, root, private if write else None, place.host)


def _locked(private: int, store: bytes) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(_LOCK, flags, 0o600, dir_fd=private)
    except OSError as error:
        raise _read_only(store, error) from error
    if not lock(fd):
        os.close(fd)
        raise DriftError(f"another drift review writes to {shown(store)}", "finish that one first")
    return fd


def _read_only(path: bytes, error: OSError) -> DriftError:
    return DriftError(
        f"{shown(path)} can't be written: {error.strerror}",
        "a review remembers decisions in persistent storage; mount it writable, or use --list",
    )
