"""The whole story on real Btrfs: what was saved comes back, what was not is lost and said to be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
pytestmark = pytest.mark.btrfs


def story(*arguments):
    apart = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run(
        [*apart, sys.executable, "whole_story.py", *arguments],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def standings(told):
    """How many checks of `drift verify --json` stand how."""
    found: dict[str, int] = {}
    for check in json.loads(told[1])["checks"]:
        found[check["standing"]] = found.get(check["standing"], 0) + 1
    return found


@pytest.mark.parametrize("store", ["btrfs", "ext4"])
def test_what_was_saved_comes_back_in_everything(store):
    told = story(store, "--save")
    count = len(told["paths"])
    assert count > 20
    assert {said[0] for said in told["told"].values()} == {0}, told["told"]
    assert standings(told["told"]["verify before"]) == {"waiting": count}
    assert told["after"] == told["before"]
    assert standings(told["told"]["verify"]) == {"back": count}
    assert told["told"]["verify text"][1] == f"{count} entries back as it was saved\n"
    assert f"/persist: {count} entries there already, the same" in told["told"]["again"][1]
    assert told["unfinished"] == []
    assert [name for name in told["subvolumes"] if name.startswith("drift-")] == []


def test_what_was_not_saved_is_lost_and_said_to_be():
    told = story("btrfs")
    assert told["after"] != told["before"]
    changed = {path for path in told["paths"] if told["after"][path] != told["before"][path]}
    assert changed == set(told["paths"])
    assert told["told"]["verify"][0] == 1
    assert "/var/lib/postgresql: declared, but nothing was saved" in told["told"]["verify text"][1]


def test_a_store_without_room_gets_nothing_and_says_so():
    told = story("full", "--save")
    code, _, error = told["told"]["save"]
    assert (code, told["left"]) == (3, [".drift", "lost+found"])
    assert "/persist can't hold that many files" in error or "not enough room" in error
    assert told["told"]["verify"][0] == 1
