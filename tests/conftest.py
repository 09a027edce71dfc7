"""Fixtures and marks that every test module shares.

A test that needs a machine's feature only carries a mark (`btrfs`, `nix`); where the feature is
missing it is skipped with the reason, and fails instead when the environment variable CI is set.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
from typing import TYPE_CHECKING

import btrfs_lab
import pytest
from histories import Histories
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = ("btrfs", "histories")

# Machines are noisy: what is true is true however long it takes.
settings.register_profile(
    "drift", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("drift")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drift")
    group.addoption("--histories", type=int, default=25, help="how many random histories to run")
    group.addoption("--history-seed", type=int, help="run the one history of this seed")
    group.addoption("--history-start", type=int, default=0, help="the first seed of --histories")


def pytest_sessionstart(session: pytest.Session) -> None:
    # A shell has its background jobs ignore it, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    btrfs_lab.stop_on_termination()
    if os.geteuid() == 0:
        btrfs_lab.remove_stale()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: a fault shows within seconds, the long proof comes last."""
    items.sort(key=_stage)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, reason in (("btrfs", _no_btrfs), ("histories", _no_btrfs), ("nix", _no_nix)):
        if item.get_closest_marker(mark) and (why := reason()):
            if os.environ.get("CI"):
                pytest.fail(f"{why}, and in CI nothing may be skipped", pytrace=False)
            pytest.skip(why)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `history_seed` one run for each seed of the command line."""
    if "history_seed" in metafunc.fixturenames:
        option = metafunc.config.getoption
        start = option("--history-start")
        one = option("--history-seed")
        seeds = range(start, start + option("--histories")) if one is None else [one]
        metafunc.parametrize("history_seed", seeds)


@pytest.fixture
def lab() -> Iterator[btrfs_lab.Lab]:
    """A filesystem of the test's own."""
    with btrfs_lab.Lab() as made:
        yield made


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[btrfs_lab.Lab]:
    """One filesystem for all tests: each works in subvolumes with names of its own."""
    with btrfs_lab.Lab() as made:
        yield made


@pytest.fixture(scope="session")
def histories() -> Iterator[Histories]:
    """Plays random histories, on one filesystem of each kind for all tests."""
    with Histories() as played:
        yield played


def _stage(item: pytest.Item) -> int:
    return max(
        (ORDER.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in ORDER),
        default=0,
    )


@functools.cache
def _no_btrfs() -> str:
    return btrfs_lab.missing()


@functools.cache
def _no_nix() -> str:
    return "" if shutil.which("nix-instantiate") else "needs the program nix-instantiate"
