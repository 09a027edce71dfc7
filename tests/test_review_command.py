"""`drift review` on a machine of its own: asked at a real terminal, listed elsewhere, killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from save_lab import whole
from terminal import Terminal

PROJECT = Path(__file__).parents[1]
ENVIRON = {"XDG_CONFIG_HOME": "/nonexistent"}
pytestmark = pytest.mark.btrfs

NIX = """\
{ ... }:
{
  environment.persistence."/persist" = {
    directories = [
      "/var/lib/nixos"
    ];
  };
}
"""


@pytest.fixture
def machine(lab):
    """A root with five things at stake, and persistent storage of its own."""
    made = Path(os.fsdecode(lab.create("root-blank")))
    for stub in ("persist", "etc", "root", "home", "opt", "srv", "var/lib"):
        (made / stub).mkdir(parents=True)
    for name, line in (("passwd", "root:x:0:0::/root:/bin/sh\n"), ("group", "root:x:0:\n")):
        (made / "etc" / name).write_text(line)
    lab.snapshot("root-blank", "root")
    lab.create("persist")
    lab.live = Path(os.fsdecode(lab.mount_subvolume("root", lab.directory + b"/live")))
    lab.kept = Path(
        os.fsdecode(lab.mount_subvolume("persist", os.fsencode(lab.live) + b"/persist"))
    )
    (lab.live / "etc/machine-id").write_text("0" * 32 + "\n")
    (lab.live / "opt/tool").mkdir()
    (lab.live / "opt/tool/a").write_text("a")
    (lab.live / "opt/tool/b").write_text("b")
    (lab.live / "srv/site").write_text("site")
    (lab.live / "srv/wild*").write_text("wild")
    (lab.live / "var/lib/zed").write_text("zed")
    lab.nix = Path(os.fsdecode(lab.directory)) / "persist.nix"
    lab.nix.write_text(NIX)
    return lab


ALL = ["/etc/machine-id", "/opt/tool", "/srv/site", "/srv/wild*", "/var/lib/zed"]


def drift(machine, *arguments, stdin=subprocess.DEVNULL):
    done = subprocess.run(
        [sys.executable, "-m", "drift", *arguments, "--live", str(machine.live)],
        cwd=PROJECT,
        env={**os.environ, **ENVIRON},
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def at_terminal(machine, *arguments):
    return Terminal("review", "--live", str(machine.live), *arguments, environ=ENVIRON)


def unreviewed(machine, *arguments):
    """Each path that is left to review, with its two columns."""
    code, out, error = drift(machine, "review", "--json", *arguments)
    assert code == 0, error
    return {
        entry["path"]: entry["change"] + entry["fate"]
        for group in json.loads(out)["groups"]
        for entry in group["entries"]
    }


def decisions(machine):
    made = json.loads((machine.kept / ".drift/reviewed.json").read_text())
    return {one["path"]: one["decision"] for one in made["entries"]}


def test_without_a_terminal_everything_is_listed_and_nothing_written(machine):
    before = whole(machine.live)
    assert unreviewed(machine) == dict.fromkeys(ALL, "AD")
    code, out, error = drift(machine, "review")
    assert (code, error) == (0, "Next: drift review on a terminal asks about each.\n")
    assert out.startswith("Never reviewed before: 5 files and directories at stake.\n")
    assert "\nAD  /opt/tool/\n        not recognised\n" in out
    assert drift(machine, "review", "--exit-code", "-q")[0] == 1
    assert os.listdir(machine.kept) == []
    assert whole(machine.live) == before


def test_reading_leaves_no_trace_in_the_times_of_the_live_root(machine):
    os.symlink("a", machine.live / "opt/tool/link")
    paths = [
        machine.live / name for name in ("opt/tool", "opt/tool/a", "opt/tool/link", "srv/site")
    ]
    for path in paths:
        # So old that relatime would note any reading.
        os.utime(path, (0, 0), follow_symlinks=False)
    with at_terminal(machine) as terminal:
        terminal.answer("s", "d", "s", "d", "a")
        terminal.end()
    assert (terminal.code, len(decisions(machine))) == (0, 5)
    assert [path.lstat().st_atime for path in paths] == [0, 0, 0, 0]


def test_what_was_accepted_comes_again_only_when_it_changes(machine):
    before = whole(machine.path("root"))
    assert drift(machine, "review", "--accept-all", "--exit-code")[:2] == (
        0,
        "5 entries marked as seen.\n",
    )
    assert whole(machine.path("root")) == before
    assert unreviewed(machine) == {}
    os.utime(machine.live / "opt/tool/a", (0, 0))
    assert drift(machine, "review", "--exit-code")[0] == 0
    (machine.live / "opt/tool/a").write_text("A")
    (machine.live / "srv/site").chmod(0o600)
    (machine.live / "srv/new").write_text("new")
    assert unreviewed(machine) == {"/opt/tool": "MD", "/srv/site": "MD", "/srv/new": "AD"}
    code, out, _ = drift(machine, "review", "--exit-code", "--list")
    assert code == 1
    assert "since then 1 new and 2 changed.\n" in out
    assert "        changed: content\n" in out
    assert "        changed: mode\n" in out
    told = unreviewed(machine, "--all")
    assert told == dict.fromkeys(ALL, " D") | {
        "/opt/tool": "MD",
        "/srv/site": "MD",
        "/srv/new": "AD",
    }


def test_what_comes_back_the_same_after_the_root_was_made_anew_is_known(machine):
    drift(machine, "review", "--accept-all")
    machine.unmount(os.fsencode(machine.live) + b"/persist")
    machine.unmount(os.fsencode(machine.live))
    machine.delete("root")
    machine.snapshot("root-blank", "root")
    machine.mount_subvolume("root", machine.live)
    machine.mount_subvolume("persist", machine.live / "persist")
    (machine.live / "srv/site").write_text("site")
    (machine.live / "var/lib/zed").write_text("other")
    code, out, _ = drift(machine, "review")
    assert code == 0
    assert " of an earlier root: since then 0 new and 1 changed.\n" in out
    assert unreviewed(machine) == {"/var/lib/zed": "MD"}


def test_each_key_does_what_the_help_says(machine):
    with at_terminal(machine, "--into", str(machine.nix)) as terminal:
        assert "(1/5) AD  /etc/machine-id" in terminal.until("]? ")
        terminal.answer_now("?")
        assert f"p - persist: adds it to {machine.nix}\n" in terminal.until("]? ")
        terminal.answer_now("d")
        assert "decided by rules/machine-id.toml" in terminal.until("]? ")
        terminal.answer_now("p")
        assert "(2/5) AD  /opt/tool/" in terminal.until("]? ")
        assert '"/etc/machine-id"' in machine.nix.read_text()
        terminal.answer_now("d")
        assert "1 B  now  /opt/tool/b\n" in terminal.until("]? ")
        terminal.answer_now("p")
        assert "(3/5) AD  /srv/site" in terminal.until("]? ")
        terminal.answer_now("l")
        assert "(4/5) AD  /srv/wild*" in terminal.until("]? ")
        terminal.answer_now("i")
        assert "No rule can name just this path: its name has a * or ?" in terminal.until("]? ")
        terminal.answer_now("s")
        assert "(5/5) AD  /var/lib/zed" in terminal.until("]? ")
        terminal.answer_now("i")
        terminal.until("back): ")
        terminal.type("it is a test\r")
        terminal.until("good): ")
        terminal.type("yesterday\r")
        assert "yesterday is no date" in terminal.until("good): ")
        terminal.type("2999-01-31\r")
        rest = terminal.end()
    assert terminal.code == 0
    assert "\n1 seen, 2 to persist, 1 ignored, 1 left for later.\n" in rest
    assert f"Next: drift save --config {machine.nix} copies what was added" in rest
    assert machine.nix.with_name("persist.nix.orig").read_text() == NIX
    assert not machine.nix.with_name("persist.nix.orig.1").exists()
    assert '"/opt/tool"' in machine.nix.read_text()
    rules = machine.kept / ".drift/rules.d/reviewed.toml"
    assert 'file      = "/var/lib/zed"\n' in rules.read_text()
    assert 'why       = "it is a test"\n' in rules.read_text()
    assert 'expires   = "2999-01-31"\n' in rules.read_text()
    assert drift_rules_check(rules) == "1 file, 1 rule: no fault\n"
    assert decisions(machine) == {
        "/etc/machine-id": "persist",
        "/opt/tool": "persist",
        "/srv/wild*": "accept",
        "/var/lib/zed": "ignore",
    }
    assert unreviewed(machine) == {"/srv/site": "AD"}
    scanned = json.loads(drift(machine, "scan", "--json")[1])
    zed = [one for one in scanned["groups"] if one["service"] == "reviewed"]
    assert [(one["verdict"], one["entries"][0]["path"]) for one in zed] == [
        ("ephemeral", "/var/lib/zed")
    ]
    assert "it is a test" in drift(machine, "explain", "/var/lib/zed")[1]
    assert drift(machine, "save", "--config", str(machine.nix), "--yes")[0] == 0
    assert (machine.kept / "opt/tool/b").read_text() == "b"
    assert (machine.kept / "etc/machine-id").exists()


def drift_rules_check(file):
    command = [sys.executable, "-m", "drift", "rules", "check", str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout


def test_without_a_nix_file_the_lines_to_paste_are_printed_until_they_are_declared(machine):
    with at_terminal(machine) as terminal:
        terminal.answer("p", "q")
        rest = terminal.end()
    assert terminal.code == 0
    assert "1 to persist, 4 left for later.\n" in rest
    lines = 'To be added to environment.persistence."/persist":\n\nfiles = [\n'
    assert lines in rest
    assert '\n  "/etc/machine-id"\n];\n' in rest
    with at_terminal(machine, "--exit-code") as terminal:
        terminal.answer("a")
        rest = terminal.end()
    assert terminal.code == 0
    assert lines in rest
    code, out, _ = drift(machine, "review")
    assert code == 0
    assert out.endswith("lost at the next reboot:\n  /etc/machine-id\n")
    machine.nix.write_text(
        NIX.replace("    directories", '    files = [ "/etc/machine-id" ];\n    directories')
    )
    code, out, error = drift(machine, "review", "--config", str(machine.nix))
    assert "/etc/machine-id" not in out
    assert error == "1 entry is declared but not saved yet: drift save copies them.\n"
    assert unreviewed(machine, "--all", "--config", str(machine.nix))["/etc/machine-id"] == " K"


def test_rules_go_to_the_file_that_was_named_and_hold_there(machine):
    rules = machine.nix.with_name("drift.toml")
    with at_terminal(machine, "--write-rules", str(rules), "--exit-code") as terminal:
        terminal.answer("l", "i")
        terminal.until("back): ")
        terminal.type("\r")
        terminal.answer("i")
        terminal.until("back): ")
        terminal.type("made again\r")
        terminal.until("good): ")
        terminal.type("\r")
        terminal.answer("q")
        terminal.end()
    assert terminal.code == 1
    assert not (machine.kept / ".drift/rules.d").exists()
    assert 'directory = "/opt/tool"\n' in rules.read_text()
    assert "expires" not in rules.read_text()
    left = unreviewed(machine, "--write-rules", str(rules), "--all")
    assert "/opt/tool" not in left


def test_a_rule_that_does_not_decide_is_said_and_the_answer_stands(machine, tmp_path):
    mine = tmp_path / "drift/rules.d/mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text(
        'service = "mine"\n[[rule]]\ndirectory = "/opt/tool"\nverdict = "review"\nwhy = "mine"\n'
    )
    there = {"XDG_CONFIG_HOME": str(tmp_path)}
    with Terminal("review", "--live", str(machine.live), environ=there) as terminal:
        terminal.answer("l", "i")
        terminal.until("back): ")
        terminal.type("not worth it\r")
        terminal.until("good): ")
        terminal.type("\r")
        terminal.answer("a")
        rest = terminal.end()
    assert f"  but {mine}:2 decides about it all the same\n" in terminal.seen
    assert "3 seen, 1 ignored, 1 left for later.\n" in rest
    with Terminal("review", "--live", str(machine.live), environ=there) as terminal:
        assert "(1/1) AD  /etc/machine-id" in terminal.until("]? ")


def test_an_expired_rule_is_said_and_asked_about(machine):
    with at_terminal(machine) as terminal:
        terminal.answer("s", "i")
        terminal.until("back): ")
        terminal.type("for now\r")
        terminal.until("good): ")
        terminal.type("30d\r")
        terminal.answer("a")
        terminal.end()
    assert unreviewed(machine) == {}
    rules = machine.kept / ".drift/rules.d/reviewed.toml"
    text = rules.read_text()
    (line,) = [line for line in text.split("\n") if line.startswith("expires")]
    rules.write_text(text.replace(line, 'expires = "2020-01-31"'))
    code, out, error = drift(machine, "review", "--exit-code")
    assert code == 1
    assert "MD  /opt/tool/\n        not recognised\n        changed: its rule has expired\n" in out
    assert f"drift: the rule {rules}:4 expired on 2020-01-31 and no longer decides" in error
    assert drift(machine, "review", "--accept-all")[0] == 0
    assert unreviewed(machine) == {}


def test_a_killed_review_has_kept_every_decision(machine):
    with at_terminal(machine) as terminal:
        terminal.answer("s", "s", "l")
        terminal.until("]? ")
        terminal.kill()
    assert decisions(machine) == {"/etc/machine-id": "accept", "/opt/tool": "accept"}
    assert sorted(os.listdir(machine.kept / ".drift")) == ["review.lock", "reviewed.json"]
    with at_terminal(machine) as terminal:
        assert "(1/3) AD  /srv/site" in terminal.until("]? ")
        terminal.answer_now("\x03")
        assert "drift: interrupted" in terminal.end()
    assert terminal.code == 130
    with at_terminal(machine) as terminal:
        terminal.answer("s", "\x04")
        assert "1 seen, 2 left for later.\n" in terminal.end()
    assert terminal.code == 0
    assert set(unreviewed(machine)) == {"/srv/wild*", "/var/lib/zed"}


def test_while_one_review_is_open_another_is_refused(machine):
    with at_terminal(machine) as terminal:
        terminal.until("]? ")
        code, _, error = drift(machine, "review", "--accept-all")
        assert code == 3
        assert error.startswith("drift: another drift review writes to /persist\n")
        assert len(unreviewed(machine)) == 5


def test_a_store_on_the_root_itself_is_refused(machine):
    machine.unmount(os.fsencode(machine.kept))
    before = whole(machine.live)
    for arguments in (["--accept-all"], ["--list"]):
        code, out, error = drift(machine, "review", *arguments)
        assert (code, out) == (3, "")
        assert error == (
            "drift: /persist is a part of the live root and would be lost with it\n"
            "hint: mount the persistent storage there, or say where it is with --persist PATH\n"
        )
    assert whole(machine.live) == before


def test_a_store_that_is_read_only_can_be_listed_and_not_written(machine):
    subprocess.run(["mount", "-o", "remount,bind,ro", machine.kept], check=True)
    assert len(unreviewed(machine)) == 5
    code, out, error = drift(machine, "review", "--accept-all")
    assert (code, out) == (3, "")
    assert error.startswith("drift: /persist can't be written: Read-only file system\nhint: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--list", "--json"], "--list, --json and --accept-all exclude each other"),
        (["--accept-all", "--all"], "--all is for lists"),
        (["--into", "/nonexistent.nix"], "there is no file /nonexistent.nix"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_long_work(machine, arguments, message):
    code, out, error = drift(machine, "review", *arguments)
    assert code in (2, 3)
    assert out == ""
    assert error.startswith(f"drift: {message}\n")


def test_a_damaged_record_is_set_aside_and_the_review_starts_anew(machine):
    drift(machine, "review", "--accept-all")
    record = machine.kept / ".drift/reviewed.json"
    record.write_text(record.read_text()[:50])
    assert len(unreviewed(machine)) == 5
    code, out, error = drift(machine, "review", "--accept-all")
    assert (code, out) == (0, "5 entries marked as seen.\n")
    assert "the file is damaged; it is kept as .drift/reviewed.json.damaged-" in error
    assert unreviewed(machine) == {}
