"""`drift scan` for other programs and for notes: ncdu's format, metrics, Markdown, files."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_scan_text import BLANK, FULL, LIVE, NOTHING, NOW, counts, entry, group

from drift.errors import DriftError
from drift.model import Kind, Severity, Skipped, Status, Verdict
from drift.names import shown
from drift.output_file import find_place, write_whole
from drift.persistence import Declared
from drift.render import markdown, ncdu, prometheus
from drift.render.scan_text import brief
from drift.report import Hidden
from drift.stakes import counted
from drift.system.declared import State

PROJECT = Path(__file__).parents[1]
HOSTILE = b'/srv/\xff`a``|b\\|\n\x1b[31m\x7f"@team#1 <b>*_$x$ '
# The separator apart, all that a name can be.
name = st.binary(min_size=1, max_size=12).map(
    lambda raw: raw.replace(b"/", b"|").replace(b"\0", b"`")
)
path = st.lists(name, min_size=1, max_size=4).map(lambda names: b"/" + b"/".join(names))


def report_of(*paths, verdict=Verdict.PERSIST, kind=Kind.FILE):
    entries = [entry(one, "because", verdict=verdict, kind=kind) for one in paths]
    return replace(NOTHING, groups=[group("things", *entries)], counts=counts(persist=len(paths)))


def drift(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "drift", *arguments], cwd=PROJECT, capture_output=True, check=False
    )


@pytest.fixture
def two_directories(tmp_path):
    """Arguments for a comparison that needs no Btrfs, with one critical file at stake."""
    live, blank = tmp_path / "live", tmp_path / "blank"
    (live / "etc").mkdir(parents=True)
    (live / "etc" / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    blank.mkdir()
    return ["--live", str(live), "--blank", str(blank)]


# --- ncdu


def read_ncdu(data):
    """The export as nested (info, children) pairs; what the format forbids fails the test."""
    text = data.decode("utf-8", "surrogateescape")
    # ncdu reads these raw bytes in no string.
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    major, minor, about, top = json.loads(text)
    assert (major, minor) == (1, 2)
    assert set(about) == {"progname", "progver", "timestamp"}
    return _read_directory(top)


def _read_directory(block):
    assert isinstance(block, list)
    info, *children = block
    return _read_info(info), [
        _read_directory(child) if isinstance(child, list) else (_read_info(child), None)
        for child in children
    ]


def _read_info(info):
    types = {
        "name": str,
        "asize": int,
        "dsize": int,
        "mtime": int,
        "uid": int,
        "gid": int,
        "mode": int,
        "notreg": bool,
        "read_error": bool,
    }
    assert info["name"]
    for key, value in info.items():
        assert type(value) is types[key], key
    return {**info, "name": os.fsencode(info["name"])}


def flat(tree, above=()):
    """Every node with its names from below the top, in the order of the export."""
    _, children = tree
    for child in children or ():
        names = (*above, child[0]["name"])
        yield names, child[0], child[1] is not None
        yield from flat(child, names)


def test_the_export_groups_by_service_what_would_be_lost():
    told = list(flat(read_ncdu(ncdu.render(FULL, NOW))))
    assert [(b"/".join(names), info.get("asize", 0), nested) for names, info, nested in told] == [
        (b"(could not be read)", 0, True),
        (b"(could not be read)/var", 0, True),
        (b"(could not be read)/var/bad\xff", 0, False),
        (b"(hidden below mount points)", 0, True),
        (b"(hidden below mount points)/var", 0, True),
        (b"(hidden below mount points)/var/log", 2500, True),
        (b"NetworkManager", 0, True),
        (b"NetworkManager/var", 0, True),
        (b"NetworkManager/var/lib", 0, True),
        (b"NetworkManager/var/lib/NetworkManager", 1000, True),
        (b"NetworkManager/var/lib/NetworkManager/secret_key", 1000, False),
        (b"openssh", 0, True),
        (b"openssh/etc", 0, True),
        (b"openssh/etc/ssh", 0, True),
        (b"openssh/etc/ssh/ssh_host_ed25519_key", 1000, False),
        (b"openssh/etc/ssh/ssh_host_rsa_key", 1000, False),
        (b"unrecognised (review)", 0, True),
        (b"unrecognised (review)/opt", 0, True),
        (b"unrecognised (review)/opt/moved", 1000, False),
        (b"unrecognised (review)/srv", 0, True),
        (b"unrecognised (review)/srv/photos", 5 * 10**9, True),
    ]
    assert told[2][1]["read_error"] is True


def test_the_export_has_what_is_safe_to_lose_only_if_asked():
    told = {names[0] for names, _, _ in flat(read_ncdu(ncdu.render(FULL, NOW, verbose=True)))}
    assert b"Chromium (ephemeral)" in told


def test_an_entry_of_the_export_says_what_the_file_is():
    one = entry(b"/x", "because", kind=Kind.FIFO, bytes=0, uid=7, gid=8, mode=0o640)
    report = replace(NOTHING, groups=[group("a/b", one)])
    assert list(flat(read_ncdu(ncdu.render(report, NOW)))) == [
        ((b"a b",), {"name": b"a b"}, True),
        (
            (b"a b", b"x"),
            {
                "name": b"x",
                "mtime": NOW // 10**9 - 3600,
                "uid": 7,
                "gid": 8,
                "mode": stat.S_IFIFO | 0o640,
                "notreg": True,
            },
            False,
        ),
    ]


@given(st.lists(st.tuples(path, st.sampled_from(Kind)), max_size=6, unique_by=lambda one: one[0]))
def test_every_name_is_in_the_export_as_the_bytes_that_it_is(entries):
    made = [entry(one, "because", kind=kind, bytes=1) for one, kind in entries]
    report = replace(NOTHING, groups=[group("things", *made)] if made else [])
    told = [
        (b"/" + b"/".join(names[1:]), nested)
        for names, info, nested in flat(read_ncdu(ncdu.render(report, NOW)))
        if "asize" in info
    ]
    assert sorted(one for one, _ in told) == sorted(one for one, _ in entries)
    directories = {one for one, kind in entries if kind in (Kind.DIRECTORY, Kind.SUBVOLUME)}
    assert directories <= {one for one, nested in told if nested}


def test_a_path_of_any_depth_and_the_root_itself_are_in_the_export():
    deep = b"/d" * 5000
    data = ncdu.render(report_of(deep, b"/", kind=Kind.DIRECTORY), NOW)
    assert data.count(b'{"name":"d"') == 5000
    assert data.count(b"[") == data.count(b"]") == 5000 + 3


@pytest.mark.skipif(shutil.which("ncdu") is None, reason="needs the program ncdu")
def test_ncdu_reads_the_export_and_writes_the_same():
    report = replace(FULL, groups=[*FULL.groups, *report_of(HOSTILE, b"/" + b"\xff" * 255).groups])
    data = ncdu.render(report, NOW)
    done = subprocess.run(
        ["ncdu", "-f", "-", "-o", "-"], input=data, capture_output=True, check=True
    )
    assert done.stderr == b""
    extended = ("mode", "uid", "gid", "mtime")

    def told(export):
        return [
            (names, {key: value for key, value in info.items() if key not in extended}, nested)
            for names, info, nested in flat(read_ncdu(export))
        ]

    assert sorted(told(done.stdout), key=str) == sorted(told(data), key=str)


# --- Prometheus

SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>[^}\\"]*(?:"(?:[^"\\\n]|\\[\\n"])*"[^}\\"]*)*)\})?'
    r" (?P<value>-?[0-9]+(?:\.[0-9]+)?)"
)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def read_metrics(text):
    """The samples by name and labels, as the text format's grammar has them and no other way."""
    assert text.endswith("\n")
    samples: dict[str, dict] = {}
    lines = text[:-1].split("\n")
    while lines:
        helped = re.fullmatch(r"# HELP ([a-z_]+) ([^\\]+)", lines.pop(0))
        assert helped
        family = helped[1]
        assert lines.pop(0) == f"# TYPE {family} gauge"
        # A family is in one piece.
        assert family not in samples
        samples[family] = {}
        while lines and not lines[0].startswith("#"):
            found = SAMPLE.fullmatch(lines.pop(0))
            assert found
            assert found["name"] == family
            labels = _read_labels(found["labels"] or "")
            assert labels not in samples[family]
            samples[family][labels] = float(found["value"])
    return samples


def _read_labels(text):
    labels = {}
    while text:
        found = LABEL.match(text)
        assert found, text
        assert found[1] not in labels
        labels[found[1]] = re.sub(r'\\[\\n"]', lambda one: UNESCAPED[one[0]], found[2])
        text = text[found.end() :]
    return tuple(labels.items())


METRICS = """\
# HELP drift_scan_info Constant 1, labelled with the version of drift and with how the root was compared.
# TYPE drift_scan_info gauge
drift_scan_info{version="0.1.0",engine="generation",lineage="live-from-blank"} 1
# HELP drift_scan_timestamp_seconds When the last scan ended.
# TYPE drift_scan_timestamp_seconds gauge
drift_scan_timestamp_seconds 1700000000.000000000
# HELP drift_scan_duration_seconds How long it took.
# TYPE drift_scan_duration_seconds gauge
drift_scan_duration_seconds 0.100
# HELP drift_changed_entries Entries that differ from the blank, by verdict.
# TYPE drift_changed_entries gauge
drift_changed_entries{verdict="persist"} 7
drift_changed_entries{verdict="review"} 3
drift_changed_entries{verdict="ephemeral"} 1200
drift_changed_entries{verdict="regenerated"} 40
drift_changed_entries{verdict="kept"} 2
# HELP drift_at_stake Files and directories that the next reboot would take, as drift scan lists them.
# TYPE drift_at_stake gauge
drift_at_stake{verdict="persist",severity="critical"} 2
drift_at_stake{verdict="persist",severity="high"} 0
drift_at_stake{verdict="persist",severity="normal"} 2
drift_at_stake{verdict="persist",severity="low"} 0
drift_at_stake{verdict="review",severity="critical"} 0
drift_at_stake{verdict="review",severity="high"} 0
drift_at_stake{verdict="review",severity="normal"} 2
drift_at_stake{verdict="review",severity="low"} 0
# HELP drift_service_at_stake Files and directories of a service that the next reboot would take.
# TYPE drift_service_at_stake gauge
drift_service_at_stake{service="NetworkManager",verdict="persist",severity="normal"} 2
drift_service_at_stake{service="openssh",verdict="persist",severity="critical"} 2
drift_service_at_stake{service="unrecognised",verdict="review",severity="normal"} 2
# HELP drift_service_at_stake_bytes Their size.
# TYPE drift_service_at_stake_bytes gauge
drift_service_at_stake_bytes{service="NetworkManager",verdict="persist",severity="normal"} 2000
drift_service_at_stake_bytes{service="openssh",verdict="persist",severity="critical"} 2000
drift_service_at_stake_bytes{service="unrecognised",verdict="review",severity="normal"} 5000001000
# HELP drift_service_newest_timestamp_seconds When the newest of them was written.
# TYPE drift_service_newest_timestamp_seconds gauge
drift_service_newest_timestamp_seconds{service="NetworkManager",verdict="persist",severity="normal"} 1699996400.000000000
drift_service_newest_timestamp_seconds{service="openssh",verdict="persist",severity="critical"} 1699996400.000000000
drift_service_newest_timestamp_seconds{service="unrecognised",verdict="review",severity="normal"} 1699996400.000000000
# HELP drift_hidden_bytes Size of what the root holds below its mount points.
# TYPE drift_hidden_bytes gauge
drift_hidden_bytes 2500
# HELP drift_unsaved_declarations Paths declared to be persisted, not active yet, whose data is in no store as it is now.
# TYPE drift_unsaved_declarations gauge
drift_unsaved_declarations 1
# HELP drift_skipped_paths Paths that could not be read.
# TYPE drift_skipped_paths gauge
drift_skipped_paths 1
"""

UNSAVED = Declared(
    b"/var/lib/new", "declared, not active yet", State.PENDING, b"/persist/var/lib/new", saved=False
)


def test_the_metrics_are_these():
    text = prometheus.render(replace(FULL, kept=[*FULL.kept, UNSAVED]), NOW)
    assert text == METRICS
    read_metrics(text)


def test_where_nothing_is_at_stake_the_metrics_say_so():
    told = read_metrics(prometheus.render(NOTHING, NOW))
    assert set(told["drift_at_stake"].values()) == {0}
    assert len(told["drift_at_stake"]) == 8
    assert told["drift_service_at_stake"] == {}


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_the_name_of_a_service_is_a_label_whatever_it_is(service):
    report = replace(NOTHING, groups=[group(service, entry(b"/x", "because"))])
    told = read_metrics(prometheus.render(report, NOW))["drift_service_at_stake"]
    ((labels, count),) = told.items()
    assert count == 1
    if service.isprintable():
        assert dict(labels)["service"] == service


def test_all_outputs_count_alike():
    critical = entry(b"/a", "because", severity=Severity.CRITICAL)
    normal = entry(b"/b", "because")
    empty = entry(b"/d", "because", kind=Kind.DIRECTORY, files=0)
    inside = entry(b"/d/e", "because")
    changed = entry(b"/p", "because", kind=Kind.DIRECTORY, files=0, status=Status.PROPERTIES)
    below = entry(b"/p/q", "because")
    report = replace(NOTHING, groups=[group("s", critical, normal, empty, inside, changed, below)])
    assert brief(report) == "5 files and directories would be lost at reboot, 1 critical.\n"
    assert sum(counted(report).values()) == 5
    assert counted(report)[Verdict.PERSIST, Severity.CRITICAL] == 1
    told = read_metrics(prometheus.render(report, NOW))
    assert sum(told["drift_at_stake"].values()) == 5
    assert sum(told["drift_service_at_stake"].values()) == 5
    assert markdown.render(report, NOW).count("| s |") == 5


# --- Markdown

MARKDOWN = """\
## drift: 6 files and directories would be lost at reboot, 2 critical; 1 path could not be read

Compared `/` (subvolume `root`) with `root-blank`, on 2023-11-14 22:13 UTC, by drift 0.1.0.

| Service | Verdict | Severity | Path | Files | Size | Last change | Why |
| --- | --- | --- | --- | --: | --: | --- | --- |
| openssh | persist | critical | `/etc/ssh/ssh_host_ed25519_key` | 1 | 1.0 kB | 2023-11-14 | the keys that prove who this machine is; with new ones SSH clients refuse it |
| openssh | persist | critical | `/etc/ssh/ssh_host_rsa_key` | 1 | 1.0 kB | 2023-11-14 | the keys that prove who this machine is; with new ones SSH clients refuse it |
| NetworkManager | persist | normal | `/var/lib/NetworkManager/` | 3 | 1.0 kB | 2023-11-14 | when connections were last used |
| NetworkManager | persist | normal | `/var/lib/NetworkManager/secret_key` | 1 | 1.0 kB | 2023-11-14 | the key of stable addresses |
| unrecognised | review | normal | `/opt/moved` (renamed) | 1 | 1.0 kB | 2023-11-14 | not recognised |
| unrecognised | review | normal | `/srv/photos/` | 1,234 | 5.0 GB | 2023-11-14 | not recognised |

| Verdict | Changed entries |
| --- | --: |
| persist | 7 |
| review | 3 |
| ephemeral | 1,200 |
| regenerated | 40 |
| kept | 2 |

### Declared, not active yet, and lost at the next boot unless it is copied before

| Path | Not in, or older there |
| --- | --- |
| `/var/lib/new` | `/persist/var/lib/new` |

### Hidden below mount points, gone at the next reboot

| Path | Files | Size | Last change |
| --- | --: | --: | --- |
| `/var/log` | 2 | 2.5 kB | 2023-11-14 |

### Could not be read, and so may be missing above

| Path | Reason |
| --- | --- |
| `/var/bad\\xff` | the disk gave an error when reading it |
"""


def test_the_report_to_paste():
    assert markdown.render(replace(FULL, kept=[*FULL.kept, UNSAVED]), NOW) == MARKDOWN


def test_the_report_to_paste_says_more_if_asked():
    text = markdown.render(replace(FULL, kept=[*FULL.kept, UNSAVED]), NOW, verbose=True)
    assert "### Not at stake\n\n| Service |" in text
    assert "| Chromium | ephemeral | normal | `/root/.cache/chromium` |" in text
    assert (
        "### Kept already\n\n| Path | By |\n| --- | --- |\n| `/home` | subvolume home |\n" in text
    )
    assert text.count("/var/lib/new") == 2


def test_a_report_of_nothing_has_no_empty_table():
    assert markdown.render(replace(NOTHING, blank=None), NOW) == (
        "## drift: Nothing would be lost at reboot\n\n"
        "Compared `/` (subvolume `root`) with nothing: everything in it counts as new,"
        " on 2023-11-14 22:13 UTC, by drift 0.1.0.\n"
    )


def test_a_hostile_name_is_no_markdown():
    text = markdown.render(report_of(HOSTILE, b"/tail`", b"/`` "), NOW)
    told = r"""```/srv/\xff`a``\|b\\\|\n\x1b[31m\x7f"@team#1 <b>*_$x$ ```"""
    assert f"| {told} |" in text
    assert "| `` /tail` `` |" in text
    assert "| ```/`` ``` |" in text


def cells(text):
    """The rows of the first table as GitHub's Markdown has them: code spans without their fences."""
    lines = text.split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith("| ---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line:
            break
        # A bar ends a cell unless a backslash is before it, in code as well.
        row = re.findall(r"(?:[^|\\]|\\.)+", line)
        rows.append([_content(cell.strip(" ")) for cell in row])
    return rows


def _content(cell):
    cell = cell.replace("\\|", "|")
    found = re.fullmatch(r"(`+)(?!`)(.*?[^`]|[^`])\1", cell, re.DOTALL)
    if found is None:
        return re.sub(r"\\(.)", r"\1", cell.replace("<!-- -->", ""))
    inner = found[2]
    if inner[:1] == inner[-1:] == " " and inner.strip(" "):
        return inner[1:-1]
    return inner


@given(path)
def test_every_name_is_in_the_table_as_it_is_shown(raw):
    rows = cells(markdown.render(report_of(raw), NOW))
    assert [len(row) for row in rows] == [8]
    assert rows[0][3] == shown(raw)


@given(st.text())
def test_a_reason_is_plain_text(why):
    report = replace(NOTHING, groups=[group("s", entry(b"/x", why))])
    text = markdown.render(report, NOW)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<&~$](?!!-- -->)", markdown.escaped(why))
    assert not re.search(r"[@#]\w", markdown.escaped(why))
    assert text.count("\n") == markdown.render(report_of(b"/x"), NOW).count("\n") - 4


# --- The command


@pytest.mark.parametrize(
    "forms",
    [
        ("--json", "--brief"),
        ("--ncdu", "--json"),
        ("--markdown", "--prometheus"),
        ("--ncdu", "--brief"),
    ],
    ids=" ".join,
)
def test_forms_exclude_each_other(forms, two_directories):
    done = drift("scan", *forms, *two_directories)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(
        "drift: --json, --brief, --markdown, --ncdu and --prometheus exclude each other\n"
    )


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("--ncdu", b'[1,2,{"progname":"drift"'),
        ("--prometheus", b"# HELP drift_scan_info "),
        ("--markdown", b"## drift: 1 file or directory would be lost at reboot, 1 critical\n"),
    ],
)
def test_each_form_is_printed_and_tells_with_its_exit_code(form, start, two_directories):
    done = drift("scan", form, "--exit-code", *two_directories)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.startswith(start)
    assert b"machine-id" in done.stdout


def test_output_goes_to_a_file_that_others_may_read(two_directories, tmp_path):
    file = tmp_path / "drift.prom"
    done = drift("scan", "--prometheus", "--output", str(file), *two_directories)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    told = read_metrics(file.read_text())
    assert told["drift_at_stake"][(("verdict", "persist"), ("severity", "critical"))] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["blank", "drift.prom", "live"]


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("/dev/null", "drift: /dev/null is no file\n"),
        ("/nonexistent/x", "/nonexistent is no directory\n"),
        ("/proc/self/status/x", "Not a directory\n"),
    ],
)
def test_a_place_for_no_file_is_refused_and_left_as_it_is(where, complaint, two_directories):
    before = os.path.exists(where) and os.stat(where).st_rdev
    done = drift("scan", "--brief", "--output", where, *two_directories)
    assert (done.returncode, done.stdout) == (3, b"")
    assert complaint in done.stderr.decode()
    assert (os.path.exists(where) and os.stat(where).st_rdev) == before


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    file = tmp_path / "brief"
    file.write_text("old")
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    with file.open() as reader:
        write_whole(find_place(bytes(link)), b"new\n")
        assert reader.read() == "old"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new\n", 0o640)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["brief", "link"]


def test_what_can_not_be_written_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "brief"
    file.write_text("old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DriftError, match="can't be written: No space left on device"):
        write_whole(bytes(file), b"new")
    assert os.listdir(tmp_path) == ["brief"]
    assert file.read_text() == "old"


def test_a_path_told_twice_is_one_node_of_the_export():
    skipped = [Skipped(b"/x", "one"), Skipped(b"/x", "other"), Skipped(b"/x/y", "below")]
    hidden = [Hidden(b"/x", b"/x", 1, 10, NOW)]
    report = replace(NOTHING, live=LIVE, blank=BLANK, skipped=skipped, hidden=hidden)
    assert [(names, nested) for names, _, nested in flat(read_ncdu(ncdu.render(report, NOW)))] == [
        ((b"(could not be read)",), True),
        ((b"(could not be read)", b"x"), True),
        ((b"(could not be read)", b"x", b"y"), False),
        ((b"(hidden below mount points)",), True),
        ((b"(hidden below mount points)", b"x"), True),
    ]
