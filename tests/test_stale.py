"""`drift stale`: each file of a store is somebody's or nobody's, and what is declared in vain."""

import json
import os
import shutil
import subprocess
import tempfile

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from stale_lab import age, declare, listed, make_root, paths, run

from drift.cli import cli
from drift.model import Kind
from drift.render import stale_text
from drift.render.stale_text import Style
from drift.stale import DAY, Named, Orphaned, Stale, StoreReport, Undeclared, Unfilled, Unused
from drift.storage.batch import Batch, Moved, new_date
from drift.storage.expected import Expected, Fate, Role
from drift.storage.survey import Ids, Survey
from drift.system.declared import State

NOW = 1_700_000_000 * 10**9


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "live")


NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff", b"new\nline", b" ", b"\x1b[31m", b"..."])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: b"/" + b"/".join(names))


@st.composite
def stores(draw):
    """Files and empty directories of a store, and paths with a role, most of them of the store."""
    files = draw(st.lists(PATHS, max_size=12, unique=True))
    directories = draw(st.lists(PATHS, max_size=4, unique=True))
    known = [
        b"/".join(path.split(b"/")[:count])
        for path in files
        for count in range(2, path.count(b"/") + 2)
    ]
    some = st.one_of(PATHS, st.sampled_from(known)) if known else PATHS
    roles = draw(st.lists(st.tuples(some, st.sampled_from(Role)), max_size=5))
    return files, directories, sorted(roles, key=lambda role: (list(Role).index(role[1]), role[0]))


def build(top, files, directories):
    """Make what can be made: a path below a file is passed over."""
    for path in files:
        try:
            os.makedirs(os.path.dirname(top + path), exist_ok=True)
            with open(top + path, "xb") as file:
                file.write(path)
        except OSError:
            continue
    for path in directories:
        try:
            os.makedirs(top + path, exist_ok=True)
        except OSError:
            continue


def read_survey(top, expected, ids=None):
    opened = os.open(top, os.O_RDONLY)
    try:
        survey = Survey(opened, ids or Ids(None, None))
        survey.read(expected.root)
    finally:
        os.close(opened)
    return survey


def is_in(path, tops):
    return [top for top in tops if path == top or path.startswith(top + b"/")]


@settings(max_examples=150)
@given(stores())
def test_every_file_is_in_exactly_one_place(store):
    files, directories, roles = store
    directory = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        top = os.fsencode(directory)
        build(top, files, directories)
        expected = Expected()
        for path, role in roles:
            expected.add(path, role)
        survey = read_survey(top, expected)
        own = [
            path for path, _ in roles if expected.fate(path) == Fate(Role.OWN, path, leads=False)
        ]
        nobodys = [tally.path for tally in survey.undeclared]
        outermost = [tally for tally in survey.claimed.values() if tally.above is None]
        somebodys = [tally.path for tally in outermost]
        counted = dict.fromkeys([*nobodys, *somebodys], 0)
        for above, _, names in os.walk(top):
            for name in names:
                path = os.path.join(above, name)[len(top) :]
                fate = expected.fate(path)
                places = [*is_in(path, nobodys), *is_in(path, somebodys)]
                if fate.role is Role.OWN:
                    assert is_in(path, own), path
                    continue
                assert not is_in(path, own), path
                assert len(places) == 1, (path, places)
                assert (places[0] in nobodys) is (fate.role is None), (path, fate)
                counted[places[0]] += 1
        for tally in [*survey.undeclared, *outermost]:
            assert tally.files == counted[tally.path]
        for path in nobodys:
            # It is the topmost: what is above it leads to something that has a role.
            above = path.rpartition(b"/")[0]
            assert above == b"" or expected.fate(above) == Fate(None, above, leads=True)
            found = expected.fate(path)
            assert found.role is None
            assert not found.leads or not os.path.isdir(top + path)
    finally:
        shutil.rmtree(directory)


def test_a_mention_gives_way_to_what_is_declared_in_it():
    expected = Expected()
    expected.add(b"/home/alice/.ssh", Role.DECLARED)
    expected.add(b"/home", Role.NAMED)
    expected.add(b"/home/alice/.ssh/key", Role.NAMED)
    expected.add(b"/passwords", Role.NAMED)
    expected.add(b"/passwords/alice", Role.NAMED)
    assert {
        path: expected.fate(path)
        for path in (b"/home", b"/home/bob", b"/home/alice/.ssh/key", b"/passwords/alice")
    } == {
        b"/home": Fate(None, b"/home", leads=True),
        b"/home/bob": Fate(None, b"/home/bob", leads=False),
        b"/home/alice/.ssh/key": Fate(Role.DECLARED, b"/home/alice/.ssh", leads=False),
        b"/passwords/alice": Fate(Role.NAMED, b"/passwords", leads=False),
    }


def test_nested_declarations_count_for_the_inner_and_the_outer(tmp_path):
    (tmp_path / "var/lib/app").mkdir(parents=True)
    (tmp_path / "var/lib/one").write_bytes(b"1" * 10)
    (tmp_path / "var/lib/app/two").write_bytes(b"2" * 20)
    expected = Expected()
    expected.add(b"/var", Role.DECLARED)
    expected.add(b"/var/lib/app", Role.DECLARED)
    survey = read_survey(os.fsencode(tmp_path), expected)
    assert {path: (one.files, one.bytes) for path, one in survey.claimed.items()} == {
        b"/var": (2, 30),
        b"/var/lib/app": (1, 20),
    }


def test_a_deep_tree_is_read_to_its_end(tmp_path):
    current = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=current)
        below = os.open("deeper", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)
    [tally] = read_survey(os.fsencode(tmp_path), Expected()).undeclared
    assert (tally.path, tally.files) == (b"/deeper", 1)
    subprocess.run(["rm", "-r", tmp_path / "deeper"], check=True)


def test_owners_without_an_account_are_counted_with_their_shallowest_entry(tmp_path):
    for path, uid, gid in (
        ("home/bob/deep/file", 1005, 100),
        ("home/bob/a", 1005, 100),
        ("home/bob", 1005, 1005),
        ("b", 0, 7),
        ("a", 0, 7),
    ):
        made = tmp_path / path
        made.parent.mkdir(parents=True, exist_ok=True)
        if not made.exists():
            made.touch()
        os.chown(made, uid, gid)
    survey = read_survey(os.fsencode(tmp_path), Expected(), Ids({0}, {0, 100}))
    assert {key: (one.entries, one.example) for key, one in survey.strangers.items()} == {
        ("uid", 1005): (3, b"/home/bob"),
        ("gid", 1005): (1, b"/home/bob"),
        ("gid", 7): (2, b"/a"),
    }


def test_looking_leaves_no_trace_in_the_access_times(tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").touch()
    for path in ("dir", "dir/file"):
        os.utime(tmp_path / path, (1000, 2000))
    read_survey(os.fsencode(tmp_path), Expected())
    assert os.stat(tmp_path / "dir").st_atime == 1000


def test_topmost_undeclared_paths_are_listed_with_what_is_in_them(root):
    declare(root, "/var/lib/bluetooth", "/etc/nixos")
    root.write("/persist/var/lib/bluetooth/adapter", "x")
    root.write("/persist/etc/nixos/flake.nix", "x")
    root.write("/persist/etc/nix/nix.conf", "12345")
    root.write("/persist/var/lib/docker/image/layer", "1234567890")
    root.write("/persist/var/lib/docker/engine", "12")
    root.write("/persist/srv/x", "1")
    store = listed(root)
    assert [
        (one["path"], one["kind"], one["files"], one["bytes"]) for one in store["undeclared"]
    ] == [
        ("/persist/etc/nix", "directory", 1, 5),
        ("/persist/srv", "directory", 1, 1),
        ("/persist/var/lib/docker", "directory", 2, 12),
    ]
    assert store["declared"] == {"entries": 2, "files": 2, "bytes": 2}
    assert store["unfilled"] == store["owners"] == []


def test_what_the_store_needs_itself_is_not_listed(root):
    declare(root, "/etc/nixos")
    root.write("/persist/etc/nixos/x", "x")
    root.at("/persist/.drift").mkdir(mode=0o700)
    root.write("/persist/.drift/anything", "x")
    root.at("/persist/lost+found").mkdir()
    root.at("/persist/home/alice").mkdir(parents=True)
    root.at("/persist/var/lib").mkdir(parents=True)
    assert listed(root, "--exit-code", code=1)["undeclared"] == []


def test_an_empty_directory_of_no_one_is_listed_all_the_same(root):
    declare(root, "/var/lib/app")
    root.write("/persist/var/lib/app/x", "x")
    root.at("/persist/var/lib/gone").mkdir()
    assert paths(listed(root)["undeclared"]) == ["/persist/var/lib/gone"]


def test_a_declaration_of_a_configuration_counts(root, tmp_path):
    root.write("/persist/var/lib/app/x", "x")
    root.write("/persist/home/alice/.ssh/key", "x")
    config = tmp_path / "impermanence.nix"
    config.write_text(
        '{ environment.persistence."/persist" = {'
        ' directories = [ "/var/lib/app" ]; users.alice.directories = [ ".ssh" ]; }; }'
    )
    assert paths(listed(root)["undeclared"]) == ["/persist/home", "/persist/var"]
    assert listed(root, "--config", str(config))["undeclared"] == []


def test_nix_keeps_its_own_where_the_store_is_nix(root):
    root.write("/nix/var/nix/db/x", "x")
    root.write("/nix/other/x", "x")
    assert paths(listed(root, "--persist", "/nix")["undeclared"]) == ["/nix/other"]


def test_a_store_in_another_one_is_looked_at_apart(root):
    root.write("/persist/system/etc/x", "x")
    root.write("/persist/y", "y")
    made = json.loads(
        run(root, "--json", "--persist", "/persist", "--persist", "/persist/system").stdout
    )
    assert [(one["path"], paths(one["undeclared"])) for one in made["stores"]] == [
        ("/persist", ["/persist/y"]),
        ("/persist/system", ["/persist/system/etc"]),
    ]


def test_what_a_store_in_another_one_has_is_declared_there(root):
    root.activate(
        root.system(
            "1",
            {
                "systemd/system/a.mount": "[Mount]\nWhat=/persist/system/etc/x\nWhere=/etc/x\nOptions=bind\n",
                "systemd/system/b.mount": "[Mount]\nWhat=/persist/etc/y\nWhere=/etc/y\nOptions=bind\n",
            },
        )
    )
    root.write("/persist/system/etc/x/file", "x")
    root.write("/persist/etc/y/file", "x")
    made = json.loads(run(root, "--json").stdout)
    assert [
        (one["path"], one["declared"]["entries"], one["undeclared"], one["unfilled"])
        for one in made["stores"]
    ] == [("/persist", 1, [], []), ("/persist/system", 1, [], [])]


def test_links_on_the_way_to_what_is_declared_are_part_of_it(root):
    declare(root, "/var/lib/app")
    root.write("/persist/state/lib/app/x", "x")
    root.link("/persist/second", "state")
    root.link("/persist/var", "/persist/second")
    root.write("/persist/state/lib/other", "x")
    assert paths(listed(root)["undeclared"]) == ["/persist/state/lib/other"]


def test_a_store_that_is_a_link_is_called_as_the_configuration_calls_it(root):
    declare(root, "/var/lib/app")
    root.at("/persist").rmdir()
    root.write("/nix/persist/var/lib/app/x", "x")
    root.write("/nix/persist/var/lib/gone", "x")
    root.link("/persist", "/nix/persist")
    assert paths(listed(root)["undeclared"]) == ["/persist/var/lib/gone"]


@pytest.mark.parametrize(
    ("made", "why"),
    [(None, "absent"), ("directory", "empty"), ("directories", "empty"), ("file", "empty")],
)
def test_declared_with_nothing_in_the_store(root, made, why):
    declare(root, "/var/lib/app", active=False)
    match made:
        case "directory":
            root.at("/persist/var/lib/app").mkdir(parents=True)
        case "directories":
            root.at("/persist/var/lib/app/a/b").mkdir(parents=True)
        case "file":
            root.write("/persist/var/lib/app")
    assert listed(root, "--exit-code", code=1)["unfilled"] == [
        {
            "path": "/var/lib/app",
            "source": "/persist/var/lib/app",
            "by": "unit var-lib-app.mount",
            "state": "declared, not active yet",
            "why": why,
            "live_only": False,
        }
    ]


def test_what_is_on_the_live_root_alone_is_said_to_be(root):
    declare(root, "/var/lib/app", active=False)
    root.write("/var/lib/app/data", "x")
    [one] = listed(root)["unfilled"]
    assert (one["path"], one["why"], one["live_only"]) == ("/var/lib/app", "absent", True)
    assert "run drift save /var/lib/app" in run(root).stdout


def test_not_used_for_long_means_neither_written_nor_read(root):
    declare(root, "/var/lib/old", "/var/lib/written", "/var/lib/read", "/var/lib/listed")
    for name in ("old", "written", "read", "listed"):
        root.write(f"/persist/var/lib/{name}/sub/file", "x")
        age(root.at(f"/persist/var/lib/{name}"), 200)
    long_ago = os.stat(root.at("/persist/var/lib/old/sub/file")).st_mtime
    root.write("/persist/var/lib/written/sub/file", "y")
    os.utime(root.at("/persist/var/lib/read/sub/file"), (long_ago + 190 * 86400, long_ago))
    # Who lists a directory does not use what is in it.
    os.utime(root.at("/persist/var/lib/listed/sub"), (long_ago + 190 * 86400, long_ago))
    assert paths(listed(root)["unused"]) == ["/var/lib/listed", "/var/lib/old"]
    assert paths(listed(root, "--unused", "5")["unused"]) == [
        "/var/lib/listed",
        "/var/lib/old",
        "/var/lib/read",
    ]
    assert listed(root, "--unused", "300")["unused"] == []
    assert listed(root)["unused"][1]["used"] == pytest.approx(long_ago)


def test_what_is_not_active_yet_could_not_be_used(root):
    declare(root, "/var/lib/old", active=False)
    root.write("/persist/var/lib/old/file", "x")
    age(root.at("/persist/var/lib/old"), 500)
    assert listed(root)["unused"] == []


def test_owners_are_those_of_the_root_and_ranges_count(root):
    root.write("/etc/subuid", "alice:100000:65536\n")
    root.write("/persist/x/known", "x")
    numbers = (1000, 1001, 100_000, 165_535, 165_536, 61_184, 65_534, 600_000)
    for number in numbers:
        root.write(f"/persist/x/{number}", "x")
        os.chown(root.at(f"/persist/x/{number}"), number, 100)
    assert listed(root, "--exit-code", code=1)["owners"] == [
        {"kind": "uid", "id": 1001, "entries": 1, "example": "/persist/x/1001"},
        {"kind": "uid", "id": 165_536, "entries": 1, "example": "/persist/x/165536"},
    ]


def test_without_accounts_nothing_is_said_of_owners(root):
    root.at("/etc/passwd").unlink()
    root.write("/persist/x", "x")
    os.chown(root.at("/persist/x"), 4242, 4242)
    assert [(one["kind"], one["id"]) for one in listed(root)["owners"]] == [("gid", 4242)]


def test_what_the_configuration_names_is_no_ones_to_move(root):
    spec = "/nix/store/" + "0" * 32 + "-users-groups.json"
    script = "/nix/store/" + "1" * 32 + "-unit-script-app-start/bin/app-start"
    declare(
        root,
        "/var/lib/app",
        files={
            "ssh/sshd_config": "HostKey /persist/etc/ssh/key\n# not /mnt/persist/other, /persistent/x\n",
            "systemd/system/app.service": f"[Service]\nExecStart={script}\n",
        },
    )
    root.write(
        os.readlink(root.at("/nix/var/nix/profiles/system-2-link")) + "/activate",
        f"update-users {spec}\n",
    )
    root.write(spec, '{"users": [{"hashedPasswordFile": "/persist/pass words/alice"}]}')
    root.write(script, "exec app --state=/persist/app-state; true\n")
    for path in (
        "var/lib/app/x",
        "etc/ssh/key",
        "etc/ssh/key.pub",
        "pass words/alice",
        "app-state/x",
    ):
        root.write(f"/persist/{path}", "x")
    root.write("/persist/other", "x")
    store = listed(root)
    assert paths(store["undeclared"]) == ["/persist/etc/ssh/key.pub", "/persist/other"]
    assert [(one["path"], one["by"]) for one in store["named"]] == [
        ("/persist/app-state", "unit-script-app-start"),
        ("/persist/etc/ssh/key", "/etc/ssh/sshd_config"),
        ("/persist/pass words/alice", "users-groups.json"),
    ]


def test_what_home_manager_links_to_is_named(root):
    files = "/nix/store/" + "2" * 32 + "-home-manager-files"
    root.link("/home/alice/.local/state/nix/profiles/home-manager", files + "/generation")
    root.link(files + "/generation/home-files", files)
    root.link(files + "/.config/app", "/nix/store/" + "3" * 32 + "-hm_app")
    root.link("/nix/store/" + "3" * 32 + "-hm_app", "/persist/dotfiles/app")
    root.link("/home/alice/.config/app", files + "/.config/app")
    root.write("/persist/dotfiles/app/conf", "x")
    root.write("/persist/dotfiles/other", "x")
    store = listed(root)
    assert paths(store["undeclared"]) == ["/persist/dotfiles/other"]
    assert [(one["path"], one["by"]) for one in store["named"]] == [
        ("/persist/dotfiles/app", "home-manager's link /home/alice/.config/app")
    ]


def test_what_only_the_running_system_names_stays_until_the_boot(root):
    running = root.system("1", {"app.conf": "state=/persist/app\n"})
    root.activate(running)
    root.boot_next(root.system("2", {"app.conf": "nothing\n"}))
    root.write("/persist/app/x", "x")
    [one] = listed(root)["undeclared"]
    assert (one["path"], one["held"]) == (
        "/persist/app",
        "it is named by the running system (/etc/app.conf), though not by the next one",
    )


def test_a_store_that_is_lost_with_the_root_is_said_to_be(root):
    root.write("/persist/x", "x")
    assert run(root).stdout.splitlines()[1:4] == [
        "  nothing is mounted at /persist: it is lost with the root. Cure: mount a",
        "  subvolume of its own at /persist, with neededForBoot = true, or name the",
        "  storage with --persist",
    ]
    assert listed(root, "--exit-code", code=1)["problem"].startswith(
        "nothing is mounted at /persist"
    )


@pytest.mark.parametrize("arguments", [(), ("--persist", "/other")])
def test_without_a_store_it_says_so(root, arguments):
    root.at("/persist").rmdir()
    path = arguments[-1] if arguments else "/persist"
    done = CliRunner().invoke(cli, ["stale", "--live", os.fsdecode(root.bytes), *arguments])
    assert str(done.exception) == f"there is no persistent storage at {path}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("/persist/x",),
        ("--yes",),
        ("--dry-run",),
        ("--quarantine", "--json"),
        ("--quarantine", "--exit-code"),
        ("--quarantine", "--restore", "2026-01-01"),
        ("--persist", "/"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(root, arguments):
    done = CliRunner().invoke(cli, ["stale", "--live", os.fsdecode(root.bytes), *arguments])
    assert done.exception.exit_code == 2


def test_what_can_not_be_read_is_listed(root, monkeypatch):
    """Root reads everything: the disk has to fail."""
    declare(root, "/var/lib/app", "/var/lib/sure")
    root.write("/persist/var/lib/app/bad/x", "x")
    root.write("/persist/var/lib/sure/x", "x")
    age(root.at("/persist/var/lib/app"), 500)
    from drift.storage import survey

    real = survey.open_beneath

    def failing(top, path, flags):
        if path.endswith(b"/bad"):
            raise OSError(5, os.strerror(5), path)
        return real(top, path, flags)

    monkeypatch.setattr(survey, "open_beneath", failing)
    done = run(root, code=4)
    assert done.stderr.splitlines()[-2:] == [
        "drift: 1 path could not be read:",
        "  /persist/var/lib/app/bad: Input/output error",
    ]
    made = json.loads(run(root, "--json", code=4).stdout)
    assert made["skipped"] == [{"path": "/persist/var/lib/app/bad", "reason": "Input/output error"}]
    # What is not known to be empty or unused is not said to be.
    assert (made["stores"][0]["unfilled"], made["stores"][0]["unused"]) == ([], [])


def test_a_damaged_record_of_drift_is_listed_as_not_read(root):
    root.at("/persist/.drift").mkdir(mode=0o700)
    root.write("/persist/.drift/saved.json", "{")
    made = json.loads(run(root, "--json", code=4).stdout)
    assert made["skipped"] == [
        {"path": "/persist/.drift", "reason": "the manifest of what was saved can't be read"}
    ]


def test_json_is_whole_and_exact(root):
    root.write("/persist/new\n\x1b[31m", "x")
    os.utime(root.at("/persist/new\n\x1b[31m"), ns=(0, 1_234_567_890_123_456_789))
    text = run(root, "--json").stdout
    assert '"newest": 1234567890.123456789' in text
    made = json.loads(text)
    problem = made["stores"][0].pop("problem")
    assert problem.startswith("nothing is mounted")
    newest = made["stores"][0]["undeclared"][0].pop("newest")
    assert newest == pytest.approx(1234567890.123)
    assert made == {
        "schema": "drift.stale/1",
        "unused_days": 180,
        "stores": [
            {
                "path": "/persist",
                "on": "",
                "only_writes": made["stores"][0]["only_writes"],
                "declared": {"entries": 0, "files": 0, "bytes": 0},
                "undeclared": [
                    {
                        "path": "/persist/new\n\x1b[31m",
                        "kind": "file",
                        "files": 1,
                        "bytes": 1,
                        "held": None,
                        "saved": None,
                    }
                ],
                "unfilled": [],
                "unused": [],
                "owners": [],
                "named": [],
                "quarantined": [],
            }
        ],
        "skipped": [],
    }


REPORT = StoreReport(
    path=b"/persist",
    describe="subvolume persist",
    problem="",
    only_writes=True,
    entries=2,
    files=1234,
    bytes=5_600_000,
    undeclared=(
        Undeclared(b"/persist/etc/x\x1b", Kind.FILE, 1, 10, NOW - 3 * DAY, saved=NOW - 2 * DAY),
        Undeclared(b"/persist/var/lib/docker", Kind.DIRECTORY, 50, 900_000, NOW - 400 * DAY),
        Undeclared(
            b"/persist/srv",
            Kind.DIRECTORY,
            1,
            1,
            NOW,
            held="it is mounted at /srv and still in use by somebody who is not to be disturbed",
        ),
    ),
    unfilled=(
        Unfilled(b"/etc/a", b"/persist/etc/a", "x", State.PENDING, "absent", saved=False),
        Unfilled(b"/etc/b", b"/persist/etc/b", "x", State.PENDING, "absent", saved=True),
        Unfilled(b"/etc/c", b"/persist/etc/c", "x", State.ACTIVE, "empty", saved=True),
    ),
    unused=(Unused(b"/var/lib/old", b"/persist/var/lib/old", 2, 100, NOW - 800 * DAY),),
    orphaned=(
        Orphaned("uid", 1005, 3, b"/persist/home/bob"),
        Orphaned("gid", 7, 1, b"/persist/x"),
    ),
    named=(Named(b"/persist/passwords", "users-groups.json", 2, 200),),
    quarantined=(Batch("2023-01-01T00-00-00", (Moved(b"/a", Kind.FILE, 1, 2000),)),),
)
TEXT = """\
/persist (subvolume persist): 2 declared entries, 1,234 files, 5.6 MB

Declared nowhere: 3 paths, 900.0 kB
  /persist/var/lib/docker/  (50 files, 900.0 kB, last write 1 year ago)
  /persist/etc/x\\x1b  (1 file, 10 B, last write 3 days ago)
      drift save put it there 2 days ago; nothing declares it yet
  /persist/srv/  (1 file, 1 B, last write now)
      it is mounted at /srv and still in use by somebody who is not to be
      disturbed

Declared, with nothing in the store:
  /etc/a  (/persist/etc/a is absent)
      its data is on the live root alone: run drift save /etc/a before the
      reboot
  /etc/b  (/persist/etc/b is absent)
      declared, not active yet: the next boot makes it
  /etc/c  (/persist/etc/c is empty)

Declared, and neither written to nor read for 180 days:
  /var/lib/old  (2 files, 100 B, last used 2 years ago)
  The store is mounted with noatime: only writing counts.

Owners that no account has:
  uid 1005: 3 entries, such as /persist/home/bob
  gid 7: 1 entry, at /persist/x

Not declared, but named by the configuration, and so left alone:
  /persist/passwords  (2 files, 200 B): users-groups.json

In quarantine, below /persist/.drift/quarantine:
  2023-01-01T00-00-00  (1 path, 2.0 kB)
"""


def test_the_list_for_people():
    stale = Stale((REPORT,), (), (), ())
    assert stale_text.render(stale, Style(NOW, 180)) == TEXT
    assert stale_text.next_steps(stale) == (
        "\nNext: drift stale --quarantine moves what is declared nowhere to a dated\n"
        "directory in the same store; nothing is deleted. Look through the list before.\n"
        "drift stale --restore 2023-01-01T00-00-00 moves back what is in quarantine.\n"
    )


def test_a_store_without_anything_stale_takes_two_lines(root):
    declare(root, "/var/lib/app")
    root.write("/persist/var/lib/app/x", "x")
    stale = Stale(
        (StoreReport(b"/persist", "", "", False, 1, 1, 1, (), (), (), (), (), ()),), (), (), ()
    )
    assert stale_text.render(stale, Style(NOW, 180)) == (
        "/persist: 1 declared entry, 1 file, 1 B\n"
        "Nothing is stale: all in it is declared, and what is declared is there and used.\n"
    )
    assert stale_text.next_steps(stale) == ""


def test_where_nothing_is_declared_it_says_so(root):
    root.write("/persist/x", "x")
    done = run(root)
    assert done.stdout.splitlines()[4:] == [
        "  nothing that drift sees declares anything in it; --config FILE tells what will",
        "",
        "Declared nowhere: 1 path, 1 B",
        "  /persist/x  (1 file, 1 B, last write now)",
    ]
    assert "Next:" not in done.stderr


def test_a_long_list_shows_its_largest_and_counts_the_rest(root):
    declare(root, "/etc/nixos")
    root.write("/persist/etc/nixos/x", "x")
    for number in range(30):
        root.write(f"/persist/{number:02}", "x" * number)
    lines = run(root, "--quiet").stdout.splitlines()[5:]
    assert lines[0] == "Declared nowhere: 30 paths, 435 B"
    assert lines[1].startswith("  /persist/29  (1 file, 29 B, ")
    assert lines[21:] == ["  and 10 more: --verbose lists them"]
    assert len(run(root, "--quiet", "-v").stdout.splitlines()[6:]) == 30


@given(st.lists(st.integers(0, 5), max_size=12))
def test_dates_are_never_given_twice(seconds):
    taken = []
    for second in seconds:
        date = new_date(NOW + second * 10**9, taken)
        assert date.startswith(f"2023-11-14T22-13-2{second}")
        taken.append(date)
    assert len(set(taken)) == len(seconds)
