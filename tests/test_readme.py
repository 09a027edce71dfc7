"""The README, the changelog and the commands' own help say the same."""

import functools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import drift

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


@functools.cache
def help_of(*command):
    done = subprocess.run(
        [sys.executable, "-m", "drift", *command, "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def commands():
    """The names that `drift --help` lists."""
    _, listed = help_of().split("\nCommands:\n")
    return set(re.findall(r"^  ([a-z]+)", listed, re.MULTILINE))


def table(heading):
    """The first column of the table below a heading of the README."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `?([^|`]+?)`? \|", section, re.MULTILINE)[1:]


@pytest.mark.btrfs
def test_the_first_example_is_what_drift_prints():
    done = subprocess.run(
        [sys.executable, "tests/readme_example.py"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    # Where a machine keeps /mnt for something else, the demo takes another place.
    live = done.stdout.splitlines()[0].rsplit(" ", 1)[1]
    shown = README.split("```console\n")[1].split("```")[0]
    assert done.stdout.replace(live, "/mnt") == shown


def test_the_readme_lists_the_commands_that_there_are():
    assert {row.removeprefix("drift ") for row in table("Commands")} == commands()


def test_the_help_of_every_command_has_an_example():
    without = [name for name in commands() if not re.search(rf"^ +.*drift {name}", example(name))]
    assert without == []


def example(name):
    """What follows the word Example in a command's help; empty where it has none."""
    _, _, rest = help_of(name).partition("\n  Example")
    return rest.partition("\n")[2]


def test_every_option_in_the_readme_is_in_the_help_of_its_command():
    used = re.findall(r"drift ([a-z]+)((?: --?[a-z][a-z-]*)+)", README)
    assert used
    for name, options in used:
        for option in options.split():
            assert option in help_of(name), f"drift {name} {option}"


def test_the_exit_codes_are_those_of_the_program():
    from drift.errors import ExitCode

    assert table("Exit codes") == [str(int(code)) for code in ExitCode]


def test_the_verdicts_are_those_of_the_model():
    from drift.model import Verdict

    assert set(table("How it works")) == {str(verdict) for verdict in Verdict}


def test_the_rule_file_of_the_readme_is_valid(tmp_path):
    toml = README.split("```toml\n")[1].split("```")[0]
    assert [rule["verdict"] for rule in tomllib.loads(toml)["rule"]] == ["persist", "ephemeral"]
    file = tmp_path / "plantwatch.toml"
    file.write_text(toml)
    done = subprocess.run(
        [sys.executable, "-m", "drift", "rules", "check", file],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_the_changelog_tells_of_this_version():
    text = (PROJECT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(drift.__version__)}\] - ", text, re.MULTILINE)
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == drift.__version__
