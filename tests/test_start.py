"""Commands start and end quickly: what costs time is left for when it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

# Ends as drift does, and says what was imported.
PROGRAM = """
import os, sys
from drift.cli import main
file = sys.argv.pop()
def end(code):
    with open(file, "w") as opened:
        opened.write("\\n".join(sys.modules))
    sys.exit(code)
os._exit = end
main()
"""

# Each takes milliseconds, of the hundred that a whole command takes.
SLOW = {
    "asyncio",
    "difflib",
    "email",
    "hashlib",
    "humanize",
    "importlib.metadata",
    "json",
    "multiprocessing",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "ssl",
    "subprocess",
    "tabulate",
    "tempfile",
    "textwrap",
    "tomllib",
    "tree_sitter",
    "urllib",
    "xml",
    "drift.rulebook.compiling",
    "drift.rulebook.reading",
    "drift.suggestion",
}


@pytest.mark.parametrize("command", ["scan", "diff", "explain"])
def test_nothing_slow_is_imported_where_nothing_has_changed(command, tmp_path):
    for side in ("live", "blank"):
        (tmp_path / side / "etc").mkdir(parents=True)
        (tmp_path / side / "etc/hosts").write_text("localhost")
    (tmp_path / "run").mkdir(mode=0o700)
    sides = ["--live", tmp_path / "live", "--blank", tmp_path / "blank"]
    arguments = ["/etc/machine-id"] if command == "explain" else sides
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    environ.pop("COLUMNS", None)
    # The first run may have to compile the rules.
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, command, *arguments, tmp_path / "modules"],
            cwd=PROJECT,
            env=environ,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    imported = set((tmp_path / "modules").read_text().split("\n"))
    assert "drift.model" in imported
    assert imported & SLOW == set()


def test_a_scan_ends_without_taking_apart_what_it_holds():
    program = """
import atexit, sys
from drift.cli import main
atexit.register(print, "taken apart")
sys.argv = ["drift", "--version"]
main()
"""
    shown = []
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=PROJECT,
            env={**os.environ, "DRIFT_DEBUG": debug},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        shown.append(done.stdout.split("\n")[1:])
    assert shown == [[""], ["taken apart", ""]]
