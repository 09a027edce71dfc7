"""`drift record`: what a command writes is seen wherever it lies, and becomes a sound rule file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import btrfsutil
import pytest
from btrfs_lab import Lab
from hypothesis import given
from hypothesis import strategies as st
from machine_lab import Machine
from terminal import Terminal

from drift.draft import decide, draft, rules_of
from drift.locate import locate
from drift.model import Change, Kind, Status
from drift.moments import Recorder, View
from drift.render.rule_file import render_rule_file
from drift.rulebook import Layer, RuleBook
from drift.rulebook.reading import read_rules
from drift.system.accounts import Account, Accounts
from drift.system.mounts import Mount

PROJECT = Path(__file__).parents[1]
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
PASSWD = "root:x:0:0::/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\nfoo:x:70:70::/:/x\n"


@pytest.fixture
def machine(lab):
    with Machine(lab) as made:
        os.chmod(lab.directory, 0o755)
        made.root.write("/etc/passwd", PASSWD)
        made.root.write("/etc/group", "root:x:0:\nusers:x:100:\nfoo:x:70:\n")
        home = Path(made.live, "home/alice")
        (home / ".config").mkdir(parents=True)
        (home / ".cache").mkdir()
        yield made


def command_line(machine, options, command):
    return [
        sys.executable, "-m", "drift", "record", "--live", machine.live, *map(str, options),
        "--", *(["sh", "-c", command] if isinstance(command, str) else command),
    ]  # fmt: skip


def environment(**more):
    return {
        "PATH": os.environ["PATH"],
        "XDG_CONFIG_HOME": "/nonexistent",
        "XDG_CACHE_HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        **more,
    }


def record(machine, command, *options, env=None, before=()):
    """Exit code, stdout and stderr; a shell command runs in the live root's directory."""
    done = subprocess.run(
        [*before, *command_line(machine, options, command)],
        cwd=machine.live if not before else PROJECT,
        env=environment(PYTHONPATH=str(PROJECT), **(env or {})),
        capture_output=True,
        check=False,
        timeout=60,
    )
    error = done.stderr.decode()
    assert "Traceback" not in error
    return done.returncode, done.stdout.decode(), at_once(error)


def at_once(text):
    """The report as of a machine that is not slow."""
    return re.sub(r" after \d+ seconds?(?=[.,])", " at once", text)


def check(tmp_path, text):
    """What `drift rules check` says of a rule file."""
    file = tmp_path / "recorded.toml"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "drift", "rules", "check", file],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        check=False,
    )
    return done.stdout.decode() + done.stderr.decode()


def rules_in(text):
    rows, faults = read_rules(text.encode(), "recorded.toml", Layer.GIVEN)
    assert faults == []
    return RuleBook(rows).rules


# What a whole run says.

PROGRAM = """
    mkdir home/alice/.config/foo home/alice/.config/foo/GPUCache home/alice/.cache/foo
    echo setting > home/alice/.config/foo/foorc
    echo drawn > home/alice/.config/foo/GPUCache/data
    echo fetched > home/alice/.cache/foo/page
    echo new > home/alice/.foorc.new && mv home/alice/.foorc.new home/alice/.foorc
    mkdir -m 700 var/lib/foo && echo database > var/lib/foo/db && chown -R 70:70 var/lib/foo
    echo option > etc/foo.conf
    mkdir var/log/foo && echo started > var/log/foo/foo.log
    exit 3
"""

REPORT = """\
sh ended with exit code 3 at once.

Written, and no rule decides about it:
  /etc/foo.conf
      1 file, 7 B; lost at the next reboot
  /home/alice/.cache/foo/
      1 file, 8 B; kept: subvolume home
  /home/alice/.config/foo/
      1 file, 8 B; kept: subvolume home
  /home/alice/.config/foo/GPUCache/
      1 file, 6 B; kept: subvolume home
  /home/alice/.foorc
      1 file, 4 B; kept: subvolume home
  /var/lib/foo/
      1 file, 9 B; lost at the next reboot

Written, by it or by another program, and decided already:
  /var/log/
      1 file, 8 B; persist, logs: rules/logs.toml:{line}

Next: look at each verdict, write each why, try it with drift rules check FILE, and put it
into /etc/drift/rules.d/ or ~/.config/drift/rules.d/.
"""

RULE_FILE = """\
service = "Foo"
title   = "Foo"

[[rule]]
file     = "/etc/foo.conf"
verdict  = "persist"
severity = "normal"
why      = "TODO: say what would be lost"
examples = ["/etc/foo.conf"]

[[rule]]
directory = "~/.cache/foo"
verdict   = "ephemeral"
severity  = "low"
why       = "TODO: say why it is safe to lose"
examples  = ["~/.cache/foo/page"]

[[rule]]
directory = "~/.config/foo"
verdict   = "persist"
severity  = "normal"
why       = "TODO: say what would be lost"
examples  = ["~/.config/foo/foorc"]

[[rule]]
directory = "~/.config/foo/GPUCache"
verdict   = "ephemeral"
severity  = "low"
why       = "TODO: say why it is safe to lose"
examples  = ["~/.config/foo/GPUCache/data"]

[[rule]]
file     = "~/.foorc"
verdict  = "persist"
severity = "normal"
replaced = true
why      = "TODO: say what would be lost"
examples = ["~/.foorc"]

[[rule]]
directory = "/var/lib/foo"
verdict   = "persist"
severity  = "normal"
user      = "foo"
group     = "foo"
mode      = "0700"
why       = "TODO: say what would be lost"
examples  = ["/var/lib/foo/db"]
"""


@pytest.mark.btrfs
def test_what_is_written_is_reported_and_becomes_a_rule_file(machine, tmp_path):
    Path(machine.live, "home/alice/.foorc").write_text("old")
    code, out, error = record(machine, PROGRAM, "--service", "Foo")
    logs = next(rule for rule in shipped() if rule.pattern == "/var/log")
    assert (code, out) == (0, RULE_FILE)
    assert error == REPORT.format(line=logs.origin.rpartition(":")[2])
    assert check(tmp_path, out) == "1 file, 6 rules: no fault\n"


def shipped():
    from drift.rulebook import load, shipped_directory

    return load([(Layer.SHIPPED, shipped_directory())], {}).rules


@pytest.mark.btrfs
def test_nothing_written_needs_no_rule(machine):
    before = machine.lab.subvolumes()
    assert record(machine, "cat etc/passwd; ls etc >&2") == (
        0,
        "",
        # What the command prints is not the result.
        PASSWD + "group\npasswd\nsh ended with exit code 0 at once.\n\n"
        "Nothing was written that would need a rule.\n",
    )
    assert machine.lab.subvolumes() == before


@pytest.mark.btrfs
def test_json_holds_all_that_is_known(machine):
    code, out, error = record(
        machine, "echo x > etc/foo.conf; echo 1 > etc/machine-id; kill -9 $$", "--json"
    )
    answer = json.loads(out)
    rule = next(rule for rule in shipped() if rule.pattern == "/etc/machine-id")
    assert (code, error) == (0, "")
    assert answer.pop("seconds") < 30
    assert answer.pop("live") == {
        "path": machine.live,
        "subvolume": "root",
        "id": btrfsutil.subvolume_id(machine.live),
    }
    common = {
        "status": "A", "type": "file", "size": 2, "mode": "0644", "uid": 0, "gid": 0,
        "replaced": False, "kept": None,
    }  # fmt: skip
    assert answer == {
        "schema": "drift.record/1",
        "command": ["sh", "-c", "echo x > etc/foo.conf; echo 1 > etc/machine-id; kill -9 $$"],
        "user": None,
        "exit_code": None,
        "signal": "SIGKILL",
        "written": [
            {
                **common,
                "path": "/etc/foo.conf",
                "service": None,
                "verdict": None,
                "why": None,
                "rule": None,
            },
            {
                **common,
                "path": "/etc/machine-id",
                "service": rule.service,
                "verdict": rule.verdict,
                "why": rule.why,
                "rule": rule.origin,
            },
        ],
        "rule_file": (
            'service = "sh"\ntitle   = "sh"\n\n[[rule]]\nfile     = "/etc/foo.conf"\n'
            'verdict  = "persist"\nseverity = "normal"\nwhy      = "TODO: say what would be lost"\n'
            'examples = ["/etc/foo.conf"]\n'
        ),
        "unseen": [],
        "skipped": [],
    }


@pytest.mark.btrfs
def test_the_rule_file_goes_to_a_new_file(machine, tmp_path):
    file = tmp_path / "foo.toml"
    code, out, error = record(machine, "echo x > etc/foo.conf", "--output", file)
    assert (code, out) == (0, "")
    assert f"\nThe rules are in {file}.\nNext: look at each verdict" in error
    assert check(tmp_path, file.read_text()) == "1 file, 1 rule: no fault\n"
    said = (
        f"drift: {file} exists already\nhint: name a new file: what you wrote there would be lost\n"
    )
    assert record(machine, "echo x > etc/bar.conf", "--output", file) == (3, "", said)
    # It said so before the command ran.
    assert not Path(machine.live, "etc/bar.conf").exists()


@pytest.mark.btrfs
def test_quiet_prints_the_rule_file_alone(machine):
    code, out, error = record(machine, "echo x > etc/foo.conf; echo said", "-q")
    assert (code, len(rules_in(out)), error) == (0, 1, "said\n")


# How the command runs, and how it ends.


@pytest.mark.btrfs
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 77", "sh ended with exit code 77 at once.\n"),
        ("kill -SEGV $$", "sh was ended by SIGSEGV at once.\n"),
        ("kill -34 $$", "sh was ended by SIGRTMIN at once.\n"),
    ],
)
def test_how_the_command_ended_is_told(machine, command, said):
    code, _, error = record(machine, command)
    assert (code, error.partition("\n\n")[0] + "\n") == (0, said)


@pytest.mark.btrfs
def test_a_program_that_is_not_there(machine, tmp_path):
    assert record(machine, ["no-such-program\n", "--help"]) == (
        2,
        "",
        "drift: there is no program no-such-program\\n\nhint: is its name right?\n",
    )
    plain = tmp_path / "plain"
    plain.write_text("")
    code, _, error = record(machine, [str(plain)])
    assert (code, error) == (2, f"drift: {plain} could not be started: Permission denied\n")


@pytest.mark.btrfs
def test_what_it_needs_to_run(machine):
    hint = "hint: drift record needs root, and a live root that is a Btrfs subvolume\n"
    assert record(machine, "true", before=AS_NOBODY) == (
        3,
        "",
        f"drift: reading Btrfs metadata needs root\n{hint}",
    )
    assert record(machine, "true", "--live", "/proc") == (
        3,
        "",
        f"drift: /proc is on proc, not Btrfs\n{hint}",
    )


@pytest.mark.btrfs
def test_it_runs_as_who_called_sudo_or_as_the_user_given(machine):
    asked = "id -un; echo $HOME $USER $LOGNAME ${SUDO_USER-unset} ${XDG_CONFIG_HOME-unset}"
    import pwd

    nobody = pwd.getpwuid(65534)
    as_nobody = f"nobody\n{nobody.pw_dir} nobody nobody unset unset\n"
    sudo = {"SUDO_USER": "nobody", "HOME": "/root", "USER": "root", "LOGNAME": "root"}
    for options, env in (([], sudo), (["--user", "nobody"], {}), ([], {"DOAS_USER": "nobody"})):
        _, _, error = record(machine, asked, *options, env=env)
        assert error.startswith(f"{as_nobody}sh ended with exit code 0 at once, as nobody.\n")
    _, _, error = record(machine, asked, "--user", "root", env=sudo)
    assert error.startswith("root\n/root root root nobody /nonexistent\nsh ended")
    assert record(machine, "true", "--user", "nobody at all") == (
        2,
        "",
        "drift: there is no user nobody at all\nhint: name one with --user\n",
    )


@pytest.mark.btrfs
def test_ctrl_c_ends_the_command_and_not_the_recording(machine):
    file = machine.live + "/etc/foo.conf"
    command = f"test -t 0 && test -t 1 && echo on > {file}; echo ready; exec sleep 60"
    options = ("record", "--live", machine.live, "--", "sh", "-c", command)
    with Terminal(*options, environ={"XDG_CONFIG_HOME": "/nonexistent"}) as terminal:
        terminal.until("ready\n")
        terminal.type("\x03")
        text = at_once(terminal.end())
    assert terminal.code == 0
    assert "sh was ended by SIGINT at once.\n" in text
    # On a terminal the command has stdout as well, and all comes in order.
    report, _, rest = text.partition('\n\nservice = "sh"\n')
    assert "  /etc/foo.conf\n      1 file, 3 B; lost at the next reboot" in report
    assert 'file     = "/etc/foo.conf"' in rest.partition("\n\nNext: ")[0]


@pytest.mark.btrfs
def test_a_signal_to_drift_reaches_the_command(machine):
    running = subprocess.Popen(
        command_line(machine, (), "trap 'echo ended; exit 5' TERM; echo ready; sleep 60 & wait"),
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert running.stderr.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stderr.readline() == "ended\n"
        assert at_once(running.stderr.readline()) == "sh ended with exit code 5 at once.\n"
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


# What is seen, and what isn't.


class Recorded:
    """Runs a function between two readings, and lists what was written."""

    def __init__(self, machine):
        self.live = Path(machine.live)
        self.machine = machine

    def __call__(self, act):
        located = locate(os.fsencode(self.live), b"none", "metadata")
        recorder = Recorder(located)
        try:
            act(self.live)
            return [summary(change) for change in recorder.written()]
        finally:
            recorder.close()
            located.close()


def summary(change):
    text = f"{change.status} {os.fsdecode(change.path)}"
    if change.source is not None:
        text += f" from {os.fsdecode(change.source)}"
    return text + " replaced" * change.replaced


@pytest.fixture
def recorded(machine):
    return Recorded(machine)


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.btrfs
def test_each_way_of_writing(recorded):
    etc = recorded.live / "etc"
    write(etc / "moved/inside")
    for name in (
        *("edited", "kept-time", "same-bytes", "read", "mode", "owner", "xattr", "renamed"),
        *("linked", "gone", "swapped", "type", "touched", "replaced"),
    ):
        write(etc / name)

    def act(live):
        assert live == recorded.live
        write(etc / "new")
        write(etc / "edited", "other")
        times = os.stat(etc / "kept-time")
        write(etc / "kept-time", "y")
        os.utime(etc / "kept-time", ns=(times.st_atime_ns, times.st_mtime_ns))
        write(etc / "same-bytes")
        (etc / "read").read_text()
        os.listdir(etc / "moved")
        os.chmod(etc / "mode", 0o600)
        os.chown(etc / "owner", 70, 70)
        os.setxattr(etc / "xattr", "user.a", b"1")
        os.rename(etc / "renamed", etc / "renamed-to")
        os.link(etc / "linked", etc / "linked-too")
        os.unlink(etc / "gone")
        write(etc / "replaced.new", "y")
        os.rename(etc / "replaced.new", etc / "replaced")
        os.rename(etc / "touched", etc / "swapped")
        os.unlink(etc / "type")
        os.symlink("x", etc / "type")
        os.rename(etc / "moved", etc / "moved-to")
        write(etc / "passing")
        os.unlink(etc / "passing")

    assert recorded(act) == [
        "M /etc/edited",
        "M /etc/kept-time",
        "A /etc/linked-too",
        "P /etc/mode",
        "R /etc/moved-to from /etc/moved",
        "A /etc/new",
        "P /etc/owner",
        "R /etc/renamed-to from /etc/renamed",
        "M /etc/replaced replaced",
        "M /etc/same-bytes",
        "M /etc/swapped replaced",
        "T /etc/type",
        "M /etc/xattr",
    ]


@pytest.mark.btrfs
def test_all_places_where_state_may_lie(recorded, tmp_path):
    machine, live = recorded.machine, recorded.live
    machine.bind("/etc/nixos")
    machine.bind("/etc/one", directory=False)
    write(machine.below("/home/early"))
    machine.lab.create("root/var/lib/machines")
    machine.lab.create("elsewhere")
    machine.lab.snapshot("root", "frozen", readonly=True)
    with Lab() as other:
        other.create("games")
        os.mkdir(live / "games")
        other.mount_subvolume("games", live / "games")

        def act(_):
            write(live / "home/alice/.foo")
            write(live / "persist/kept")
            write(live / "etc/nixos/configuration.nix")
            write(live / "etc/one", "changed")
            write(live / "var/lib/machines/image")
            write(live / "games/save")
            write(live / "nix/store/abc-foo/bin")
            write(live / "nix/persist/kept")
            # Out of sight: below a mount point, and in a subvolume that is mounted nowhere.
            write(machine.below("/home/hidden"))
            write(Path(os.fsdecode(machine.lab.path("elsewhere"))) / "file")
            write(Path(machine.lab.create("root/var/lib/portables").decode()) / "made")
            machine.lab.snapshot("root", "root/snapshot")

        assert recorded(act) == [
            "A /etc/nixos/configuration.nix",
            "M /etc/one",
            "A /games/save",
            "A /home/alice/.foo",
            "A /nix/persist",
            "A /nix/persist/kept",
            "A /persist/kept",
            # A new snapshot is one entry, whatever it holds.
            "A /snapshot",
            "A /var/lib/machines/image",
            "A /var/lib/portables",
            "A /var/lib/portables/made",
        ]


@pytest.mark.btrfs
def test_what_was_read_under_relatime_is_not_written(recorded):
    write(recorded.live / "etc/read")
    recorded.machine.lab.sync()
    old = time.time_ns() - 3 * 86400 * 10**9
    os.utime(recorded.live / "etc/read", ns=(old, old))
    os.utime(recorded.live / "etc", ns=(old, old))

    def act(live):
        (live / "etc/read").read_text()
        os.listdir(live / "etc")
        # The reading left a trace for drift to see through.
        assert os.stat(live / "etc/read").st_atime_ns > old

    assert recorded(act) == []


@pytest.mark.btrfs
def test_mounts_that_are_no_btrfs_are_named(machine):
    boot = Path(machine.live, "boot")
    boot.mkdir()
    image = Path(os.fsdecode(machine.lab.directory), "ext4")
    with open(image, "wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, boot], check=True)
    try:
        _, _, error = record(machine, "true")
    finally:
        subprocess.run(["umount", boot], check=True)
    assert "\nNot looked at, being no Btrfs:\n  /boot  ext4 on /dev/loop" in error


@pytest.mark.btrfs
def test_hostile_names_make_a_sound_rule_file(machine, tmp_path):
    names = [
        b"new\nline",
        b"\xff\xfe",
        b"**",
        b"quo\"te'\\",
        b"\x1b[31m",
        "\u202eltr\u00e9".encode(),
    ]
    for name in names:
        os.mkdir(os.path.join(os.fsencode(machine.live), b"home/alice", name))
    script = "import os\n" + "".join(
        f"open(os.path.join({os.fsencode(machine.live)!r}, b'home/alice', {name!r}, {name!r}), 'w')\n"
        for name in names
    )
    code, out, error = record(machine, [sys.executable, "-c", script])
    assert code == 0
    assert (out + error).replace("\n", "").isprintable()
    # What TOML can't hold and what a pattern means otherwise is any letter.
    assert sorted(rule.pattern for rule in rules_in(out)) == [
        "~/\x1b[31m/\x1b[31m",
        "~/??/??",
        "~/new\nline/new\nline",
        "~/quo\"te'\\/quo\"te'\\",
        "~/\u202eltr\u00e9/\u202eltr\u00e9",
    ]
    assert check(tmp_path, out) == "1 file, 5 rules: no fault\n"


# The pure parts.


def mount(root, point, device="0:1"):
    return point, Mount(1, 0, device, root, point, "btrfs", b"/dev/x", "", "")


VIEW = View(
    [
        mount(b"/root", b"/"),
        mount(b"/home", b"/home"),
        mount(b"/persist", b"/persist"),
        mount(b"/persist/etc/nixos", b"/etc/nixos"),
        mount(b"/persist/etc/id", b"/etc/id"),
        mount(b"/", b"/top"),
        mount(b"/other", b"/root/other", "0:2"),
    ]
)


@pytest.mark.parametrize(
    ("inside", "seen"),
    [
        (b"/root/etc/passwd", b"/etc/passwd"),
        (b"/root", b"/"),
        (b"/root/home/hidden", b"/top/root/home/hidden"),
        (b"/home/alice", b"/home/alice"),
        (b"/persist/x", b"/persist/x"),
        (b"/persist/etc/nixos/x", b"/etc/nixos/x"),
        (b"/persist/etc/id", b"/etc/id"),
        (b"/persist/etc/idx", b"/persist/etc/idx"),
        (b"/root-blank/x", b"/top/root-blank/x"),
    ],
)
def test_a_path_is_shown_where_a_program_meets_it(inside, seen):
    assert VIEW.path("0:1", inside) == seen


def test_a_filesystem_that_is_mounted_nowhere_shows_nothing():
    assert VIEW.path("0:3", b"/x") is None
    assert not VIEW.shows("0:3", b"/x")


HOMES = {"alice": b"/home/alice", "bob": b"/home/bob", "root": b"/root"}
ACCOUNTS = Accounts(
    users={"alice": Account("alice", 1000, 100, b"/home/alice", b"")},
    groups={},
    homes=HOMES,
    skipped=(),
    _user_names={0: "root", 70: "foo", 71: "not a name"},
    _group_names={0: "root", 70: "foo"},
    _owners={home: name for name, home in HOMES.items()},
)


class NothingMadeAgain:
    def reason(self, path, kind, target=None):
        return None


def change(text, kind=Kind.FILE, **more):
    """`A /etc/x`; with a slash at the end a directory."""
    status, _, path = text.partition(" ")
    if path.endswith("/"):
        kind = Kind.DIRECTORY
    path = os.fsencode(path.rstrip("/"))
    return Change(Status(status), path, kind, 1, 0o644, 0, 0, 1, **more)


def drafted(changes, *, book=RuleBook(), owners=None):  # noqa: B008 - it is never changed
    stores = [b"/persist"]
    written = [
        (one, decide(one, book, NothingMadeAgain(), ACCOUNTS.home_directories, stores))
        for one in changes
    ]
    return draft("foo", written, ACCOUNTS, stores, (owners or {}).get, book)


def said(drafts):
    return [f"{one.rule.kind} {one.rule.pattern} {one.rule.verdict}" for one in drafts]


@pytest.mark.parametrize(
    ("written", "rules"),
    [
        (["M /etc/foo.conf"], ["file /etc/foo.conf persist"]),
        (["M /var/lib/foo/a/b"], ["directory /var/lib/foo persist"]),
        (["M /home/alice/.config/foo/rc"], ["directory ~/.config/foo persist"]),
        (
            ["A /home/alice/.config/", "A /home/alice/.config/foorc"],
            ["file ~/.config/foorc persist"],
        ),
        (["M /home/alice/.foo/a/rc"], ["directory ~/.foo persist"]),
        (["M /home/alice/Documents/letter"], ["file ~/Documents/letter persist"]),
        (
            ["A /home/alice/Documents/foo/", "A /home/alice/Documents/foo/x"],
            ["directory ~/Documents/foo persist"],
        ),
        (["M /etc/ssh/foo"], ["file /etc/ssh/foo persist"]),
        (["M /srv/photos/x"], ["file /srv/photos/x persist"]),
        (["A /srv/foo/", "A /srv/foo/a/", "A /srv/foo/a/x"], ["directory /srv/foo persist"]),
        (["A /home/alice/.empty/"], ["directory ~/.empty persist"]),
        (["A /var/lib/machines/"], ["directory /var/lib/machines persist"]),
        (["M /var/cache/foo/x"], ["directory /var/cache/foo ephemeral"]),
        (["M /home/alice/.cache/foo/x"], ["directory ~/.cache/foo ephemeral"]),
        (
            ["M /var/lib/foo/db", "M /var/lib/foo/cache/x"],
            ["directory /var/lib/foo persist", "directory /var/lib/foo/cache ephemeral"],
        ),
        (["M /var/lib/foo/cache/x"], ["directory /var/lib/foo/cache ephemeral"]),
        (["M /etc/foo.lock"], ["file /etc/foo.lock ephemeral"]),
        (["M /persist/etc/x"], []),
        (["R /etc/moved/"], ["directory /etc/moved persist"]),
    ],
    ids=lambda value: value[-1] if value else "none",
)
def test_a_rule_speaks_for_what_is_one_programs(written, rules):
    assert said(drafted([change(text) for text in written])) == rules


def test_a_socket_is_made_again():
    [one] = drafted([change("A /etc/foo.sock", Kind.SOCKET)])
    assert one.rule.verdict == "ephemeral"


def test_what_a_rule_decides_is_not_drafted():
    toml = b'service="x"\n[[rule]]\ndirectory="/var/lib/foo"\nverdict="persist"\nwhy="y"\n'
    rows, faults = read_rules(toml, "x.toml", Layer.GIVEN)
    book = RuleBook(rows)
    assert faults == []
    written = [change("A /var/lib/foo/"), change("A /var/lib/foo/x"), change("A /var/lib/bar/x")]
    assert said(drafted(written, book=book)) == ["directory /var/lib/bar persist"]
    known = decide(written[1], book, NothingMadeAgain(), (), ())
    assert (known.service, known.rule, known.anchor) == ("x", "x.toml:2", b"/var/lib/foo")


def test_two_homes_are_one_pattern():
    drafts = drafted([change("A /home/alice/.foorc"), change("A /home/bob/.foorc")])
    assert [one.anchor for one in drafts] == [b"/home/alice/.foorc", b"/home/bob/.foorc"]
    assert [rule.pattern for rule in rules_of(drafts)] == ["~/.foorc"]


@pytest.mark.parametrize(
    ("path", "ids", "expected"),
    [
        ("/var/lib/foo/x", (0, 0, 0o755), (None, None, None)),
        ("/var/lib/foo/x", (70, 70, 0o750), ("foo", "foo", 0o750)),
        ("/var/lib/foo/x", (71, 72, 0o755), ("71", "72", None)),
        ("/var/lib/private/foo/x", (61200, 61200, 0o755), (None, None, None)),
        ("/home/alice/.foo/x", (0, 0, 0o700), (None, None, 0o700)),
    ],
)
def test_owner_and_mode_are_said_where_they_are_unusual(path, ids, expected):
    place = os.fsencode(os.path.dirname(path))
    [one] = drafted([change(f"A {path}")], owners={place: ids})
    assert (one.rule.user, one.rule.group, one.rule.mode) == expected


def test_a_file_that_was_replaced_says_so_and_a_directory_needs_not():
    [file] = drafted([change("M /etc/foo.conf", replaced=True)])
    [directory] = drafted([change("M /var/lib/foo/state", replaced=True)])
    assert (file.rule.replaced, directory.rule.replaced) == (True, False)


def test_examples_are_few_and_no_other_rules():
    toml = b'service="x"\n[[rule]]\ndirectory="/var/lib/foo/b"\nverdict="persist"\nwhy="y"\n'
    book = RuleBook(read_rules(toml, "x.toml", Layer.GIVEN)[0])
    names = ["b", "a", "c", "d", "e"]
    [one] = drafted([change(f"A /var/lib/foo/{name}") for name in names], book=book)
    assert one.rule.examples == ("/var/lib/foo/a", "/var/lib/foo/c", "/var/lib/foo/d")


name = st.binary(min_size=1, max_size=12).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..")
)
place = st.sampled_from([b"/etc", b"/var/lib", b"/home/alice", b"/home/alice/.config", b"/srv"])


@given(place, st.lists(name, min_size=1, max_size=3), st.text(min_size=1, max_size=10))
def test_every_path_gets_a_rule_that_is_valid_and_decides_it(place, names, service):
    path = b"/".join([place, *names])
    one = Change(Status.ADDED, path, Kind.FILE, 1, 0o644, 0, 0, 1)
    known = decide(one, RuleBook(), NothingMadeAgain(), ACCOUNTS.home_directories, ())
    drafts = draft(service, [(one, known)], ACCOUNTS, (), {}.get, RuleBook())
    text = render_rule_file(rules_of(drafts))
    assert text.replace("\n", "").isprintable()
    rules = rules_in(text)
    book = RuleBook(rules)
    decision = book.decide(path, Kind.FILE, ACCOUNTS.home_directories)
    assert decision is not None
    assert decision.rule == rules[0]


def test_no_rules_make_no_file():
    assert render_rule_file([]) == ""
