"""The program as a user runs it: bad input, faults of the machine, and what it prints.

Each end has its sentence and its exit code; no traceback reaches a user, nothing stays mounted.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import btrfsutil
import pytest

PROJECT = Path(__file__).parents[1]

pytestmark = pytest.mark.btrfs

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


class Machine:
    """A root and its blank on one filesystem; the root is mounted at `live`."""

    def __init__(self, lab):
        self.lab = lab
        os.chmod(lab.directory, 0o755)
        self.blank = Path(os.fsdecode(lab.create("root-blank")))
        (self.blank / "etc").mkdir()
        (self.blank / "etc/hosts").write_text("blank\n")
        (self.blank / "etc/gone").write_text("")
        self.live = Path(os.fsdecode(lab.directory)) / "live"

    def boot(self):
        """Roll back and mount, as an initrd does; from here on `live` can be written to."""
        self.lab.snapshot("root-blank", "root")
        self.lab.mount_subvolume("root", self.live)
        return self

    def write(self, name, content=""):
        path = self.live / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def drift(self, *arguments, **how):
        done = drift(*arguments, **how)
        assert self.lab.device not in mounted_elsewhere(self)
        return done

    def diff(self, *arguments, **how):
        return self.drift("diff", "--live", self.live, *arguments, **how)

    def scan(self, *arguments, **how):
        return self.drift("scan", "--live", self.live, *arguments, **how)


def mounted_elsewhere(machine):
    """The words of the mount table without what the lab mounted itself."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    lab = os.fsdecode(machine.lab.directory)
    return {word for line in table if not line.split()[4].startswith(lab) for word in line.split()}


def drift(*arguments, before=(), text=True, **how):
    """Exit code, stdout and stderr."""
    how.setdefault("stdout", subprocess.PIPE)
    env = {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", "/tmp"),
        "XDG_CONFIG_HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        **how.pop("env", {}),
    }
    done = subprocess.run(
        [*before, sys.executable, "-m", "drift", *map(os.fsdecode, arguments)],
        cwd=PROJECT,
        env=env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
        **how,
    )
    error = done.stderr.decode()
    assert "Traceback" not in error
    assert "internal error" not in error
    out = (done.stdout or b"").decode() if text else done.stdout
    return done.returncode, out, error


@pytest.fixture
def machine(lab):
    return Machine(lab)


@pytest.fixture
def booted(machine):
    return machine.boot()


class TestWhatCannotRun:
    def test_not_root(self, booted):
        assert booted.diff(before=AS_NOBODY) == (
            3,
            "",
            (
                "drift: reading Btrfs metadata needs root\n"
                "hint: run drift with sudo, or give --live and --blank directories with --engine walk\n"
            ),
        )

    def test_a_root_that_may_not_be_entered(self, booted):
        os.chmod(booted.lab.directory, 0o700)
        assert booted.scan(before=AS_NOBODY) == (
            3,
            "",
            (
                f"drift: the live root {booted.live} can't be entered: permission denied\n"
                "hint: run it with sudo\n"
            ),
        )

    def test_not_btrfs(self):
        assert drift("scan", "--live", "/proc") == (
            3,
            "",
            (
                "drift: /proc is on proc, not Btrfs\n"
                "hint: give --live and --blank directories to compare them entry by entry\n"
            ),
        )

    def test_no_directory(self, booted):
        assert booted.drift("scan", "--live", "/nowhere\n") == (
            3,
            "",
            "drift: the live root /nowhere\\n is no directory\nhint: give --live a mounted root\n",
        )
        assert booted.scan("--blank", "./nowhere") == (
            3,
            "",
            (
                "drift: the blank ./nowhere is no directory\n"
                "hint: give --blank a directory, a subvolume's name, or none\n"
            ),
        )

    def test_a_directory_inside_a_subvolume(self, booted):
        assert booted.drift("diff", "--live", booted.live / "etc") == (
            3,
            "",
            (
                f"drift: {booted.live}/etc is a directory inside a Btrfs subvolume, not the top of one\n"
                "hint: give --live the directory where the root's subvolume is mounted\n"
            ),
        )

    def test_no_blank_lists_the_subvolumes(self, lab):
        for name in ("root", "home", b"odd\n\xff"):
            lab.create(name)
        live = lab.mount_subvolume("root", lab.directory + b"/live")
        assert drift("scan", "--live", live) == (
            3,
            "",
            (
                "drift: no blank snapshot was found among the subvolumes of this filesystem:\n"
                "  home\n"
                "  odd\\n\\xff\n"
                "hint: name the one that is restored at boot with --blank NAME, or compare with nothing"
                " by --blank none\n"
            ),
        )

    def test_several_candidates_are_listed(self, lab):
        for name in ("root", "root-blank", "snapshots/root-blank"):
            lab.create(name)
        live = lab.mount_subvolume("root", lab.directory + b"/live")
        assert drift("scan", "--live", live) == (
            3,
            "",
            (
                "drift: several subvolumes could be the blank:\n"
                "  root-blank\n"
                "  snapshots/root-blank\n"
                "hint: name the one that is restored at boot, as in --blank root-blank\n"
            ),
        )

    def test_no_subvolume_of_that_name(self, booted):
        assert booted.diff("--blank", "@blank") == (
            3,
            "",
            (
                "drift: there is no subvolume @blank on this filesystem, which has:\n"
                "  root-blank\n"
                "hint: give --blank one of these, a directory, or none\n"
            ),
        )

    def test_a_lineage_that_the_engine_needs(self, lab):
        lab.create("root")
        lab.create("root-blank")
        live = lab.mount_subvolume("root", lab.directory + b"/live")
        assert drift("diff", "--live", live, "--engine", "generation") == (
            3,
            "",
            (
                "drift: the engine `generation` needs two subvolumes of proved lineage, and these have"
                " none\n"
                "hint: leave --engine out, or use --engine metadata\n"
            ),
        )

    def test_every_fault_of_a_rule_file_at_once(self, booted, tmp_path):
        broken = tmp_path / "broken.toml"
        broken.write_text(
            'service = "x"\ntitle = 5\n\n[[rule]]\nfile = "etc/x"\nverdict = "keep"\n'
        )
        code, out, error = booted.scan("--rules", broken)
        assert (code, out) == (3, "")
        for line, key in ((2, "title"), (5, "file"), (6, "verdict")):
            assert re.search(rf"{re.escape(str(broken))}:{line}: .*{key}", error), (key, error)
        assert re.search(r"\nhint: correct these \d+ faults first: nothing runs on half", error)


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (
                ["diff", "--json", "-z"],
                "drift: --json and -z exclude each other\nhint: choose one\n",
            ),
            (
                ["suggest", "--json", "--preservation"],
                (
                    "drift: --nix, --preservation, --json and --into exclude each other\n"
                    "hint: choose one form\n"
                ),
            ),
        ],
    )
    def test_options_that_exclude_each_other(self, arguments, sentence):
        assert drift(*arguments) == (2, "", sentence)

    @pytest.mark.parametrize(
        "arguments",
        [["scna"], ["scan", "--nope"], ["diff", "--engine", "fast"], ["scan", "surplus"]],
        ids=" ".join,
    )
    def test_unknown_words(self, arguments):
        code, out, error = drift(*arguments)
        assert (code, out) == (2, "")
        assert "Usage: drift" in error


class TestFaultsOfTheMachine:
    def test_an_unreadable_file(self, booted):
        tmp_path = booted.live
        for side in ("live", "blank"):
            (tmp_path / side).mkdir()
            (tmp_path / side / "secret").write_text(f"{side:5}")
            (tmp_path / side / "secret").chmod(0o600)
            (tmp_path / side / "closed\n").mkdir()
            (tmp_path / side / "closed\n").chmod(0o700)
        roots = ("--live", tmp_path / "live", "--blank", tmp_path / "blank")
        assert drift("diff", *roots, before=AS_NOBODY) == (
            4,
            "M\t/secret\n",
            (
                "drift: 2 paths could not be read:\n"
                "  /closed\\n: permission denied\n"
                "  /secret: permission denied\n"
            ),
        )
        code, out, _ = drift("scan", *roots, "--exit-code", before=AS_NOBODY)
        assert code == 4
        assert "  /closed\\n: permission denied\n" in out

    def test_a_damaged_sector(self, machine):
        marks = {}
        for side in ("blank", "root"):
            if side == "root":
                machine.boot()
            content = os.urandom(1 << 16) * 4
            marks[side] = content[:4096]
            path = (machine.live if side == "root" else machine.blank) / "etc/data"
            path.write_bytes(content)
        machine.write("etc/new", "fine")
        machine.lab.sync()
        image = machine.lab.directory + b"/image"
        with open(image, "r+b") as file:
            whole = file.read()
            place = whole.find(marks["root"])
            assert place >= 0
            file.seek(place)
            file.write(b"damage")
            os.fsync(file.fileno())
        machine.lab.remount()
        assert machine.diff() == (
            4,
            "M\t/etc/data\nA\t/etc/new\n",
            (
                "drift: 1 path could not be read:\n"
                "  /etc/data: the disk gave an error when reading it\n"
            ),
        )

    def test_a_full_filesystem(self, booted):
        booted.write("etc/new")
        booted.lab.sync()
        with open(booted.live / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(os.urandom(1 << 20))
            except OSError:
                pass
        assert booted.diff() == (0, "A\t/etc/new\nA\t/filler\n", "")
        assert booted.scan("--brief")[0] == 0

    def test_a_read_only_filesystem(self, booted):
        booted.write("etc/new")
        booted.lab.remount("ro")
        assert booted.diff() == (0, "A\t/etc/new\n", "")
        booted.lab.remount("rw")

    def test_few_open_files(self, booted):
        directory = booted.live
        for _ in range(100):
            directory = directory / "d"
        directory.mkdir(parents=True)
        for number in range(200):
            (booted.blank / f"f{number}").write_text("")
            (directory / f"f{number}").write_text("x")

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        wanted = booted.diff()
        assert wanted[0] == 0
        assert wanted[1].count("\n") == 100 + 200 + 200
        assert booted.diff(preexec_fn=few) == wanted
        plain = booted.diff("--blank", booted.blank, "--engine", "walk", preexec_fn=few)
        assert plain == wanted

    def test_a_reader_that_has_seen_enough(self, booted):
        for number in range(20000):
            (booted.live / f"file{number}").write_text("")
        for command in (["diff"], ["diff", "--json"], ["diff", "-z"]):
            running = subprocess.Popen(
                [sys.executable, "-m", "drift", *command, "--live", booted.live],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            running.stdout.read(10)
            running.stdout.close()
            assert (running.stderr.read(), running.wait(30)) == (b"", 0)
            running.stderr.close()

    @pytest.mark.parametrize("command", ["diff", "scan", "suggest"])
    def test_an_output_that_is_full(self, booted, command):
        booted.write("etc/machine-id", "id")
        with open("/dev/full", "wb") as full:
            code, _, error = booted.drift(command, "-q", "--live", booted.live, stdout=full)
        assert (code, error) == (
            3,
            "drift: the output can't be written: No space left on device\n",
        )

    def test_a_root_that_changes_while_it_is_read(self, booted):
        churn = f"""
import os, itertools
os.chdir({str(booted.live)!r})
for number in itertools.count():
    name = "churn%d" % (number % 50)
    try:
        os.makedirs(name + "/below")
        open(name + "/below/file", "w").close()
        os.rename(name, "moved")
        os.unlink("moved/below/file")
        os.removedirs("moved/below")
    except OSError:
        pass
"""
        booted.write("etc/stable")
        writer = subprocess.Popen([sys.executable, "-c", churn])
        try:
            for engine in ("auto", "metadata", "walk"):
                code, out, _ = booted.diff("--engine", engine)
                assert code in (0, 4)
                assert "A\t/etc/stable\n" in out
        finally:
            writer.kill()
            writer.wait()

    def test_nothing_stays_after_a_kill(self, machine):
        for name in ("a", "b"):
            (machine.blank / name).write_bytes(b"\0" * (1 << 16) + os.urandom(48 << 20))
        machine.boot()
        for name in ("a", "b"):
            content = (machine.live / name).read_bytes()
            (machine.live / name).write_bytes(content)
        for delay in (0.05, 0.15, 0.25, 0.35, 0.45):
            running = subprocess.Popen(
                [sys.executable, "-m", "drift", "diff", "--live", machine.live],
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
            )
            time.sleep(delay)
            running.send_signal(signal.SIGKILL)
            running.wait()
            assert machine.lab.device not in mounted_elsewhere(machine)
        # The lab's own end fails if anything still holds the filesystem.

    def test_an_interrupt_ends_with_a_word(self):
        program = """
import os, signal, sys
from drift import locate
from drift.cli import main
locate.locate = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["drift", "diff"]
main()
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr.strip()) == (
            130,
            "",
            "drift: interrupted",
        )


ODD = [b"new\nline", b"tab\tbed", b"back\\slash", b"\xff\xfe", "\N{FOX FACE}".encode(), b"\x1b[31m"]


class TestDiffOutput:
    @pytest.fixture
    def odd(self, booted):
        top = os.fsencode(booted.live)
        for name in ODD:
            Path(os.fsdecode(top + b"/" + name)).write_bytes(b"x")
        os.rename(top + b"/etc/hosts", top + b"/etc/hosts\n")
        os.unlink(top + b"/etc/gone")
        return booted

    def test_text(self, odd):
        assert odd.diff() == (
            0,
            (
                "A\t/\\x1b[31m\n"
                "A\t/back\\\\slash\n"
                "D\t/etc/gone\n"
                "R\t/etc/hosts\t/etc/hosts\\n\n"
                "A\t/new\\nline\n"
                "A\t/tab\\tbed\n"
                "A\t/\N{FOX FACE}\n"
                "A\t/\\xff\\xfe\n"
            ),
            "",
        )

    def test_nul(self, odd):
        assert odd.diff("-z", text=False) == (
            0,
            (
                b"A\0/\x1b[31m\0"
                b"A\0/back\\slash\0"
                b"D\0/etc/gone\0"
                b"R\0/etc/hosts\0/etc/hosts\n\0"
                b"A\0/new\nline\0"
                b"A\0/tab\tbed\0"
                b"A\0/\xf0\x9f\xa6\x8a\0"
                b"A\0/\xff\xfe\0"
            ),
            "",
        )

    def test_json(self, odd):
        code, out, error = odd.diff("--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert (code, error) == (0, "")
        assert out.isascii()
        fields = ["status", "path", "type", "size", "mode", "uid", "gid", "mtime"]
        assert {tuple(sorted(row)) for row in rows} == {
            tuple(sorted(fields)),
            tuple(sorted([*fields, "from"])),
        }
        paths = [row["path"].encode("utf-8", "surrogateescape") for row in rows]
        assert paths == sorted(paths, key=lambda path: path.split(b"/"))
        assert set(paths) >= {b"/" + name for name in ODD}
        renamed = next(row for row in rows if row["status"] == "R")
        stat = os.lstat(odd.live / "etc/hosts\n")
        assert renamed == {
            "status": "R",
            "path": "/etc/hosts\n",
            "from": "/etc/hosts",
            "type": "file",
            "size": 6,
            "mode": f"{stat.st_mode & 0o7777:04o}",
            "uid": 0,
            "gid": 0,
            "mtime": stat.st_mtime,
        }
        assert f'"mtime": {stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09d}}}' in out

    def test_a_file_below_a_mount_point_is_hidden_by_it(self, booted):
        booted.write("var/log/old", "hidden")
        booted.write("var/lognot/seen", "")
        booted.lab.create("log")
        booted.lab.mount_subvolume("log", booted.live / "var/log")
        _, out, _ = booted.diff("--json")
        rows = {row["path"]: row.get("hidden_by") for row in map(json.loads, out.splitlines())}
        assert rows == {
            "/var": None,
            "/var/log": None,
            "/var/log/old": "/var/log",
            "/var/lognot": None,
            "/var/lognot/seen": None,
        }
        assert "A\t/var/log/old\n" in booted.diff()[1]
        booted.lab.unmount(booted.live / "var/log")

    @pytest.mark.parametrize("form", [(), ("-z",), ("--json",)], ids=["text", "nul", "json"])
    def test_the_same_output_twice(self, odd, form):
        assert odd.diff(*form, text=False) == odd.diff(*form, text=False)

    def test_the_engines_print_the_same(self, odd):
        first, *others = (odd.diff("--engine", engine) for engine in ("auto", "metadata", "walk"))
        assert others == [first, first]


REPORT = {
    "schema", "live", "blank", "engine", "lineage", "base_generation", "counts", "groups",
    "kept", "hidden", "skipped", "seconds",
}  # fmt: skip
GROUP = {
    "service", "title", "verdict", "severity", "files", "bytes", "newest", "entries",
}  # fmt: skip
ENTRY = {
    "path", "kind", "status", "verdict", "why", "rule", "files", "bytes", "newest",
    "uid", "gid", "mode",
}  # fmt: skip


class TestScanOutput:
    @pytest.fixture
    def lived_in(self, booted):
        """The state that the guide's own test makes, and a little more."""
        booted.write("etc/machine-id", "0123456789abcdef\n")
        booted.write("etc/ssh/ssh_host_ed25519_key", "secret").chmod(0o600)
        booted.write("imperm_test/testfile", "remember me")
        booted.write("var/cache/fontconfig/x", "cache")
        btrfsutil.create_subvolume(booted.live / "nested")
        booted.write("nested/file", "1234")
        booted.write("var/log/old", "hidden")
        booted.lab.create("log")
        booted.lab.mount_subvolume("log", booted.live / "var/log")
        yield booted
        booted.lab.unmount(booted.live / "var/log")

    def test_json_has_the_fields_of_the_interface_and_its_counts_add_up(self, lived_in):
        code, out, error = lived_in.scan("--json")
        assert (code, error) == (0, "")
        report = json.loads(out)
        assert set(report) == REPORT
        assert (report["schema"], report["engine"], report["lineage"]) == (
            "drift.scan/1",
            "generation",
            "live-from-blank",
        )
        assert (
            set(report["live"]) == set(report["blank"]) == {"path", "subvolume", "id", "generation"}
        )
        assert (report["live"]["path"], report["live"]["subvolume"]) == (str(lived_in.live), "root")
        assert report["blank"]["path"] == report["blank"]["subvolume"] == "root-blank"
        counts = report["counts"]
        assert set(counts) == {"changed", "regenerated", "kept", "ephemeral", "persist", "review"}
        assert counts["changed"] == sum(counts.values()) - counts["changed"]
        changed = lived_in.diff()[1].count("\n")
        assert counts["changed"] == changed
        (kept,) = report["kept"]
        assert (kept["path"], kept["by"]) == ("/var/log", "subvolume log")
        (hidden,) = report["hidden"]
        assert hidden.pop("newest") > 0
        assert hidden == {"path": "/var/log", "under": "/var/log", "files": 1, "bytes": 6}
        assert report["skipped"] == []
        assert {tuple(sorted(group)) for group in report["groups"]} == {tuple(sorted(GROUP))}
        entries = [entry for group in report["groups"] for entry in group["entries"]]
        assert {tuple(sorted(entry)) for entry in entries} == {tuple(sorted(ENTRY))}
        for group in report["groups"]:
            assert {entry["verdict"] for entry in group["entries"]} == {group["verdict"]}
            for number in ("files", "bytes"):
                assert group[number] == sum(entry[number] for entry in group["entries"])
        told = {
            entry["path"]: (entry["verdict"], entry["kind"], entry["mode"]) for entry in entries
        }
        assert told["/etc/machine-id"] == ("persist", "file", "0644")
        assert told["/etc/ssh/ssh_host_ed25519_key"] == ("persist", "file", "0600")
        assert told["/imperm_test"] == ("review", "directory", "0755")
        assert told["/nested"] == ("review", "subvolume", "0755")

    def test_the_guides_own_test_is_named(self, lived_in):
        assert "not recognised: holds only /imperm_test/testfile" in lived_in.scan()[1]

    def test_the_same_output_twice(self, lived_in):
        def settled(*arguments):
            return re.sub(r'"seconds": [\d.]+', "", lived_in.scan(*arguments)[1])

        for form in ((), ("--json",), ("-v",)):
            assert settled(*form) == settled(*form)

    def test_exit_codes(self, lived_in):
        assert lived_in.scan("--brief")[0] == 0
        assert lived_in.scan("--brief", "--exit-code")[0] == 1
        assert lived_in.drift("suggest", "-q", "--live", lived_in.live)[0] == 0

    def test_nothing_lost_exits_with_0(self, booted):
        assert booted.scan("--exit-code", "--brief") == (
            0,
            "Nothing would be lost at reboot.\n",
            "",
        )

    @pytest.mark.parametrize(("columns", "longest"), [("80", 80), ("120", 120), ("wide", 100)])
    def test_lines_follow_the_width(self, lived_in, columns, longest):
        lived_in.write("imperm_test2/" + "long" * 50 + "/" + "name" * 40, "")
        out = lived_in.scan("-v", env={"COLUMNS": columns})[1]
        table = out.split("SERVICE", 1)[1]
        assert max(map(len, table.splitlines())) <= longest

    @pytest.mark.parametrize(
        ("arguments", "environ", "coloured"),
        [
            ((), {}, False),
            (("--color", "always"), {}, True),
            (("--color", "always"), {"NO_COLOR": "1"}, True),
            (("--color", "never"), {}, False),
        ],
    )
    def test_colours(self, lived_in, arguments, environ, coloured):
        out = lived_in.scan(*arguments, env=environ)[1]
        assert ("\x1b[" in out) == coloured

    def test_a_terminal_that_knows_ascii_only(self, booted):
        booted.write("srv/zo\N{LATIN SMALL LETTER E WITH DIAERESIS}", "")
        code, out, _ = booted.scan(env={"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
        assert code == 0
        assert "/srv/zo\\xeb" in out
