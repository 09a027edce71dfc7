"""`drift guard`: a reboot waits while critical state would be lost, and no longer."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_scan_text import FULL, NOTHING, entry, group

from drift.errors import DriftError
from drift.guard import reason, stand_guard
from drift.model import Kind, Severity, Verdict
from drift.pipeline import Scan
from drift.system.programs import held

PROJECT = Path(__file__).parents[1]

# Stands in for systemd-inhibit: notes what it was asked, runs the program, notes its end.
INHIBIT = """\
#!/bin/sh
for argument; do printf '%s\\n' "$argument"; done >>"$RECORD"
while [ "${1#--}" != "$1" ]; do shift; done
"$@"
code=$?
echo released >>"$RECORD"
exit "$code"
"""


def scan(report, pending=()):
    return Scan(report, None, b"/", (), b"/persist", (), tuple(pending), ())


def no_rule(path, kind):
    raise AssertionError((path, kind))


class TestReason:
    def test_nothing_at_stake(self):
        assert reason(scan(NOTHING), Severity.LOW, no_rule) == ""

    def test_critical_state_is_named_by_service(self):
        assert reason(scan(FULL), Severity.CRITICAL, no_rule) == (
            "6 files and directories would be lost at reboot, 2 critical;"
            " 1 path could not be read: openssh"
        )

    @pytest.mark.parametrize(
        ("threshold", "named"),
        [
            (Severity.CRITICAL, ""),
            (Severity.HIGH, "cups"),
            (Severity.NORMAL, "cups, bash"),
            (Severity.LOW, "cups, bash, sudo"),
        ],
    )
    def test_what_is_less_severe_counts_only_if_asked(self, threshold, named):
        groups = [
            group("cups", entry(b"/a", "because", severity=Severity.HIGH)),
            group("bash", entry(b"/b", "because")),
            group("sudo", entry(b"/c", "because", severity=Severity.LOW)),
        ]
        told = reason(scan(replace(NOTHING, groups=groups)), threshold, no_rule)
        assert told.partition(": ")[2] == named

    def test_what_is_for_review_holds_nothing_back(self):
        unknown = entry(b"/x", "because", verdict=Verdict.REVIEW, severity=Severity.CRITICAL)
        report = replace(NOTHING, groups=[group("unrecognised", unknown)])
        assert reason(scan(report), Severity.LOW, no_rule) == ""

    def test_many_services_are_counted_and_odd_names_shown(self):
        groups = [
            group(name, entry(b"/%d" % place, "because", severity=Severity.CRITICAL))
            for place, name in enumerate(["a\n\x1b[31m", "b", "b", "c", "d", "e", "f"])
        ]
        told = reason(scan(replace(NOTHING, groups=groups)), Severity.CRITICAL, no_rule)
        assert told == (
            "7 files and directories would be lost at reboot, 7 critical:"
            " a\\n\\x1b[31m, b, c, d and 2 more"
        )

    def test_what_is_declared_and_in_no_store_counts_as_its_rule_says(self):
        rules = {
            b"/etc/ssh": ("openssh", Severity.CRITICAL),
            b"/etc/cups": ("cups", Severity.HIGH),
            b"/srv": None,
        }
        pending = [entry(path, "declared", kind=Kind.DIRECTORY) for path in rules]
        told = reason(scan(NOTHING, pending), Severity.CRITICAL, lambda path, kind: rules[path])
        assert told == "declared, and not copied to the store yet: openssh"


class Watch:
    """Plays a guard: `looks` are the reasons it finds, `lost` those whose lock breaks at once."""

    def __init__(self, *looks, waits=99, lost=()):
        self.looks = list(looks)
        self.waits = waits
        self.lost = list(lost)
        self.events = []

    def look(self):
        found = self.looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    @contextmanager
    def hold(self, why):
        self.events.append(f"hold {why}")
        lost = bool(self.lost) and self.lost[0] == why and bool(self.lost.pop(0))
        yield lambda: not lost
        self.events.append(f"let {why} go")

    def wait(self):
        self.events.append("wait")
        self.waits -= 1
        return self.waits > 0

    def stand(self):
        return stand_guard(self.look, self.hold, self.wait)


class TestStandGuard:
    def test_nothing_at_stake_holds_nothing(self):
        watch = Watch("")
        assert (watch.stand(), watch.events) == ("", [])

    def test_it_holds_until_nothing_is_at_stake(self):
        watch = Watch("keys", "keys", "")
        assert watch.stand() == ""
        assert watch.events == ["hold keys", "wait", "wait", "let keys go"]

    def test_a_new_reason_is_held_before_the_old_one_is_let_go(self):
        watch = Watch("two", "one", "")
        assert watch.stand() == ""
        assert watch.events == ["hold two", "wait", "hold one", "let two go", "wait", "let one go"]

    def test_it_lets_go_when_the_time_is_over(self):
        watch = Watch("keys", "keys", waits=2)
        assert watch.stand() == "keys"
        assert watch.events == ["hold keys", "wait", "wait", "let keys go"]

    def test_it_lets_go_when_it_can_no_longer_look(self):
        watch = Watch("keys", DriftError("unreadable"))
        with pytest.raises(DriftError, match="unreadable"):
            watch.stand()
        assert watch.events[:2] == ["hold keys", "wait"]
        assert watch.looks == []

    def test_a_lock_that_was_lost_is_taken_again(self):
        watch = Watch("keys", "keys", "", lost=["keys"])
        assert watch.stand() == ""
        assert watch.events.count("hold keys") == 2


class TestHeld:
    def test_it_runs_as_long_as_the_context_lasts(self):
        with held(["env"]) as is_held:
            assert is_held()
        assert not is_held()

    def test_its_end_is_seen(self, tmp_path):
        note = tmp_path / "pid"
        with held(["sh", "-c", f'echo $$ >{note}; exec "$@"', "sh"]) as is_held:
            os.kill(int(note.read_text()), signal.SIGKILL)
            deadline = time.monotonic() + 10
            while is_held() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not is_held()

    @pytest.mark.parametrize(
        ("argv", "complaint"),
        [
            (["sh", "-c", "echo sh: no lock for you >&2; exit 7"], "sh failed: no lock for you"),
            (["false"], "false failed: exit code 1"),
            (["/nonexistent/systemd-inhibit"], "systemd-inhibit is not installed"),
            (["/etc/passwd"], "passwd could not be started: Permission denied"),
        ],
        ids=["complains", "fails", "missing", "no program"],
    )
    def test_what_can_not_be_held_is_an_error(self, argv, complaint):
        with pytest.raises(DriftError) as caught, held(argv):
            pytest.fail("it was held")
        assert caught.value.message == complaint


@pytest.fixture
def machine(tmp_path):
    """A critical file at stake in a plain directory, and a stand-in for systemd-inhibit."""
    live, blank, programs = (tmp_path / name for name in ("live", "blank", "bin"))
    (live / "etc").mkdir(parents=True)
    (live / "etc" / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    blank.mkdir()
    programs.mkdir()
    script = programs / "systemd-inhibit"
    script.write_text(INHIBIT)
    script.chmod(0o755)
    return tmp_path


@contextmanager
def guarding(machine, *options):
    roots = ["--live", machine / "live", "--blank", machine / "blank"]
    process = subprocess.Popen(
        [sys.executable, "-m", "drift", "guard", *options, *roots],
        cwd=PROJECT,
        env={
            **os.environ,
            "PATH": f"{machine / 'bin'}:{os.environ['PATH']}",
            "RECORD": str(machine / "record"),
            "XDG_CONFIG_HOME": "/nonexistent",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def record(machine):
    file = machine / "record"
    return file.read_text().splitlines() if file.exists() else []


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


ASKED = [
    "--what=shutdown",
    "--mode=block",
    "--who=drift",
    "--why=1 file or directory would be lost at reboot, 1 critical: machine-id",
    "cat",
]


def test_a_reboot_waits_until_the_state_is_saved(machine):
    with guarding(machine, "--every", "0.005") as process:
        until(lambda: record(machine) == ASKED)
        (machine / "live" / "etc" / "machine-id").unlink()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out == (
        "A reboot has to wait: 1 file or directory would be lost at reboot, 1 critical:"
        " machine-id.\nA reboot need not wait.\n"
    )
    assert record(machine) == [*ASKED, "released"]


def test_it_looks_at_once_when_told_to(machine):
    with guarding(machine, "--every", "600") as process:
        until(lambda: record(machine) == ASKED)
        (machine / "live" / "etc" / "machine-id").unlink()
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert record(machine) == [*ASKED, "released"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_lock_ends_with_the_guard_however_that_ends(machine, number):
    with guarding(machine) as process:
        until(lambda: record(machine) == ASKED)
        process.send_signal(number)
        process.wait(timeout=30)
        until(lambda: record(machine) == [*ASKED, "released"])


def test_no_reboot_waits_for_ever(machine):
    with guarding(machine, "--at-most", "0.0003") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")
    assert out.endswith(
        "A reboot has waited for 0.0003 hours and need not wait any longer:"
        " 1 file or directory would be lost at reboot, 1 critical: machine-id.\n"
    )
    assert record(machine) == [*ASKED, "released"]


def test_where_nothing_critical_is_at_stake_no_lock_is_asked_for(machine):
    (machine / "live" / "etc" / "machine-id").unlink()
    (machine / "live" / "etc" / "adjtime").write_text("0.0 0 0.0\n")
    with guarding(machine) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "A reboot need not wait.\n", "")
    assert record(machine) == []


def test_mode_severity_and_quiet_are_heard(machine):
    (machine / "live" / "etc" / "machine-id").unlink()
    (machine / "live" / "etc" / "adjtime").write_text("0.0 0 0.0\n")
    options = ("--severity", "low", "--mode", "block-weak", "--quiet", "--at-most", "0.0003")
    with guarding(machine, *options) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (1, "", "")
    assert record(machine)[1] == "--mode=block-weak"
    assert record(machine)[3].endswith(": hwclock")


def test_a_lock_that_is_refused_is_said(machine):
    (machine / "bin" / "systemd-inhibit").write_text(
        "#!/bin/sh\necho 'Failed to inhibit: Access denied' >&2\nexit 1\n"
    )
    with guarding(machine) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, "")
    assert err == (
        "drift: systemd-inhibit failed: Failed to inhibit: Access denied\n"
        "hint: the guard needs logind: is it running?\n"
    )
