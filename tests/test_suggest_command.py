"""`drift suggest` as it is run: from two directories to text, Nix, JSON and a patched file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from nix_lab import check_module, parse

from drift.cli import cli
from drift.errors import DriftError, UsageError
from drift.system import programs

GUIDE = (Path(__file__).parent / "nix" / "styles" / "guide.nix").read_bytes()
PASSWD = """\
root:x:0:0::/root:/bin/sh
alice:x:1000:100::/home/alice:/bin/sh
colord:x:999:999::/var/lib/colord:/bin/false
"""
GROUP = "root:x:0:\nusers:x:100:\ncolord:x:999:\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


class Machine:
    """Two directories, a live root and its blank; `run` is the command on them."""

    def __init__(self, path: Path) -> None:
        self.live, self.blank = path / "live", path / "blank"
        self.home = path
        for root in (self.live, self.blank):
            root.mkdir()
            root.chmod(0o755)
            self.write("/etc/passwd", PASSWD, root=root)
            self.write("/etc/group", GROUP, root=root)

    def write(self, path, content="x\n", *, mode=0o644, owner=(0, 0), root=None):
        """A file, with directories above it that are new with its owner."""
        file = (root or self.live) / path.lstrip("/")
        for above in reversed(file.parents):
            if not above.exists():
                above.mkdir()
                above.chmod(0o700 if above.name in (".ssh", "bluetooth") else 0o755)
                if os.geteuid() == 0 and above.name != "home":
                    os.chown(above, *owner)
        file.write_text(content)
        file.chmod(mode)
        if os.geteuid() == 0:
            os.chown(file, *owner)

    def run(self, *arguments, code=0):
        """What came out, and what was said beside it; an error is raised."""
        given = ["suggest", "--live", str(self.live), "--blank", str(self.blank), *arguments]
        done = CliRunner().invoke(
            cli, given, env={"HOME": str(self.home), "XDG_CONFIG_HOME": "", "NO_COLOR": ""}
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.write("/etc/machine-id", "0123\n", mode=0o444)
    made.write("/var/lib/bluetooth/AA/info")
    made.write("/var/lib/colord/storage.db", owner=(999, 999))
    made.write("/var/cache/ccache/0/a")
    made.write("/home/alice/.ssh/id_ed25519", mode=0o600, owner=(1000, 100))
    made.write("/opt/scanner/driver")
    return made


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "impermanence.nix"
    path.write_bytes(GUIDE)
    return path


def paths(lists):
    return [one["directory"] for one in lists["directories"]] + [
        one["file"] for one in lists["files"]
    ]


@needs_root
def test_from_a_root_to_the_exact_lists(machine):
    found = json.loads(machine.run("--json")[0])
    owner = {"user": "root", "group": "root"}
    wanted = [
        {key: one[key] for key in ("directory", "user", "group", "mode")}
        for one in found["directories"]
    ]
    assert sorted(wanted, key=lambda one: one["directory"]) == [
        {"directory": "/var/cache/ccache", "mode": "0755"} | owner,
        {"directory": "/var/lib/bluetooth", "mode": "0700"} | owner,
        {"directory": "/var/lib/colord", "user": "colord", "group": "colord", "mode": "0755"},
    ]
    assert [one["file"] for one in found["files"]] == ["/etc/machine-id"]
    [ssh] = found["users"]["alice"]["directories"]
    assert (ssh["directory"], ssh["user"], ssh["group"], ssh["mode"]) == (
        ".ssh",
        "alice",
        "users",
        "0700",
    )
    [review] = found["review"]
    assert (review["path"], review["files"]) == ("/opt/scanner", 1)
    assert isinstance(review["newest"], float)


def test_a_second_store_for_caches(machine):
    found = json.loads(machine.run("--json", "--cache", "/cache")[0])
    assert "/var/cache/ccache" not in paths(found)
    assert (found["cache"]["persist"], paths(found["cache"])) == ("/cache", ["/var/cache/ccache"])


@pytest.mark.nix
def test_the_module_is_one(machine):
    module, beside = machine.run("--nix")
    assert list(check_module(module)["persistence"]) == ["/persist"]
    assert re.search(r'not recognised: .*, written .*\n +# "/opt/scanner"\n', module)
    assert "Next:" in beside


def test_quiet_says_the_result_alone(machine):
    assert machine.run("--nix=lists", "-q")[1] == ""


def test_a_file_at_the_place_of_a_directory_is_no_parent(machine):
    machine.write("/var/lib/private", "no directory\n")
    assert "/persist/var/lib/private" not in machine.run("--nix")[1]


def test_what_lies_beside_a_file_is_looked_at(machine):
    machine.write("/etc/machine-id.tmp")
    assert "/etc/machine-id" not in paths(json.loads(machine.run("--json")[0]))


def test_a_store_on_the_root_is_said_and_not_suggested(machine):
    machine.write("/persist/var/lib/foo/data")
    found = json.loads(machine.run("--json")[0])
    assert [one["path"] for one in found["review"]] == ["/opt/scanner"]
    assert [one["say"][:43] for one in found["advice"] if one["path"] == "/persist"] == [
        "persistent storage lies on the root itself,"
    ]


def test_the_steps_know_what_the_store_holds(machine):
    machine.write("/persist/etc/machine-id", "old\n")
    steps = " ".join(machine.run()[1].split())
    assert "There already, and what the reboot will show, newer or not: /etc/machine-id." in steps


# --into and --write


def test_into_shows_a_patch_and_changes_nothing(machine, file, tmp_path):
    before = sorted(tmp_path.iterdir())
    patch, beside = machine.run("--into", str(file))
    first, second, *lines = patch.splitlines()
    assert (first, second) == (f"--- {file}", f"+++ {file}")
    assert [line for line in lines if line.startswith("-")] == []
    assert {'+      "/etc/machine-id"', '+        directory = "/var/lib/bluetooth";'} <= set(lines)
    assert '+          directory = ".ssh";' in lines
    assert file.read_bytes() == GUIDE
    assert sorted(tmp_path.iterdir()) == before
    assert "1 entry is for you to look at: drift suggest names them.\n" in beside
    assert "Next:" in beside


def test_color_paints_the_patch(machine, file):
    plain = machine.run("--into", str(file), "-q")[0]
    painted = machine.run("--into", str(file), "-q", "--color", "always")[0]
    assert '\x1b[32m+      "/etc/machine-id"\x1b[0m' in painted
    assert re.sub(r"\x1b\[\d*m", "", painted) == plain


@pytest.mark.nix
def test_write_applies_it_once(machine, file, tmp_path):
    patch, beside = machine.run("--into", str(file), "--write")
    assert patch.startswith(f"--- {file}\n")
    assert f"{file} is changed, as it was: {file}.orig" in beside
    assert (tmp_path / "impermanence.nix.orig").read_bytes() == GUIDE
    written = file.read_bytes()
    parse(written)
    store = check_module(written.decode())["persistence"]["/persist"]
    assert {"/var/spool", "/var/lib/bluetooth", "/home/alice/.ssh"} <= {
        one["path"] for one in store["directories"]
    }
    patch, beside = machine.run("--into", str(file), "--write")
    assert patch == ""
    assert beside.startswith(f"Nothing to add to {file}.\n")
    assert file.read_bytes() == written
    assert not (tmp_path / "impermanence.nix.orig.1").exists()


def test_write_follows_a_link(machine, file, tmp_path):
    link = tmp_path / "link.nix"
    link.symlink_to(file.name)
    machine.run("--into", str(link), "--write")
    assert link.is_symlink()
    assert file.read_bytes() != GUIDE
    assert sorted(path.name for path in tmp_path.glob("*.nix*")) == [
        "impermanence.nix",
        "impermanence.nix.orig",
        "link.nix",
    ]


def test_what_a_file_can_not_take_is_left_out_and_said(machine, file):
    file.write_text(
        '{ user, ... }: {\n  environment.persistence."/persist" = {\n'
        '    directories = [ "/var/log" ];\n'
        "    users.${user}.directories = [ ];\n  };\n}\n"
    )
    patch, beside = machine.run("--into", str(file), code=4)
    assert '"/etc/machine-id"' in patch
    assert ".ssh" not in patch
    assert beside.startswith("drift: left out for alice: .ssh\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ a = ; }\n", "line 1 is no Nix that drift can read"),
        (
            "{ environment.persistence = import ./p.nix; }\n",
            (
                "line 1: what environment.persistence holds can't be told without evaluating"
                " `import ./p.nix`"
            ),
        ),
    ],
)
def test_a_file_that_can_not_be_understood_is_left_alone(machine, file, tmp_path, text, message):
    file.write_text(text)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DriftError) as caught:
        machine.run("--into", str(file), "--write")
    assert caught.value.message == f"{file}: {message}"
    assert file.read_text() == text
    assert sorted(tmp_path.iterdir()) == before


def test_what_nix_does_not_take_is_not_written(machine, file, monkeypatch):
    answers = iter([0, 1])
    monkeypatch.setattr(
        programs, "run", lambda *_, **__: programs.Completed(next(answers), b"", b"error")
    )
    with pytest.raises(DriftError) as caught:
        machine.run("--into", str(file), "--write")
    assert caught.value.message == (
        "Nix does not take what drift would write, so nothing was written"
    )
    assert file.read_bytes() == GUIDE


def test_without_nix_it_is_written_all_the_same(machine, file, monkeypatch):
    def missing(*_, **__):
        raise DriftError("nix-instantiate is not installed")

    monkeypatch.setattr(programs, "run", missing)
    machine.run("--into", str(file), "--write")
    assert file.read_bytes() != GUIDE


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nix", "--json"),
        ("--nix=lists", "--preservation"),
        ("--json", "--preservation"),
        ("--into", "a.nix", "--nix"),
        ("--into", "a.nix", "--json"),
        ("--into", "a.nix", "--preservation"),
        ("--write",),
        ("--write", "--nix"),
    ],
    ids=" ".join,
)
def test_forms_exclude_each_other(machine, arguments):
    with pytest.raises(UsageError):
        machine.run(*arguments)
