"""From changes to verdicts: rules first, then what the machine says, then what can be guessed."""

import stat
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.btrfs.columns import OWNER, Columns
from drift.diff.stream import Block, Links, Subtree
from drift.judge import Facts, Judge
from drift.model import Change, Kind, Status, Verdict
from drift.report import Hidden
from drift.rulebook import load
from drift.rulebook.rule import Layer
from drift.system.mounts import mounts_below, parse_mountinfo

RULES = """
service = "daemon"
title = "A daemon"

[[rule]]
directory = "/var/lib/daemon"
verdict = "persist"
severity = "high"
why = "its database"

[[rule]]
directory = "/var/lib/daemon/cache"
verdict = "ephemeral"
why = "made again"

[[rule]]
file = "/etc/daemon.conf"
verdict = "persist"
severity = "critical"
why = "its key"

[[rule]]
file = "/opt/unknown/known"
verdict = "persist"
why = "a file in a directory that nobody knows"

[[rule]]
file = "/var/lib/daemon/*.log"
verdict = "ephemeral"
why = "a log"

[[rule]]
directory = "~/.daemon"
verdict = "persist"
why = "settings"
"""

HOMES = (b"/home/alice", b"/root")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    file = tmp_path_factory.mktemp("rules") / "daemon.toml"
    file.write_text(RULES)
    return load([(Layer.GIVEN, file)], {"XDG_CACHE_HOME": str(file.parent / "cache")})


MOUNTS = mounts_below(
    parse_mountinfo(
        b"1 0 0:20 /root / rw - btrfs /dev/sda rw,subvolid=256,subvol=/root\n"
        b"2 1 0:20 /log /var/log rw - btrfs /dev/sda rw,subvolid=257,subvol=/log\n"
        b"3 1 0:21 / /data/pool rw - ext4 /dev/sdb rw\n"
    ),
    b"/",
)


class Regenerated:
    """A file, a directory and every link into the store."""

    def __init__(self):
        self.known = {b"/etc/passwd": None, b"/var/lib/made": None}
        self.edited = {}

    def reason(self, path, kind, target=None):
        if path in self.known:
            return "NixOS writes it"
        if target is not None and target.startswith(b"/nix/store/"):
            return "a link into the store"
        return None


FACTS = Facts(
    homes=HOMES,
    mounts=tuple(MOUNTS),
    regenerated=Regenerated(),
    owners=SimpleNamespace(user_name=lambda uid: {0: "root", 70: "git"}.get(uid, str(uid))),
    stores=(b"/persist",),
)


def change(status, path, kind="file", **values):
    values = {"size": 10, "mode": 0o644, "uid": 0, "gid": 0, "mtime": 5} | values
    return Change(Status(status), path, Kind(kind), **values)


def judged(book, *items, facts=FACTS):
    judge = Judge(book.walk(facts.homes), facts)
    for item in items:
        judge.feed(item)
    changed = judge.counts["changed"]
    assert changed == sum(judge.counts.values()) - changed
    return judge


def told(judge):
    """Each entry's path, verdict, service, reason and number of changes."""
    return sorted(
        (
            entry.path,
            entry.finding.verdict.value,
            entry.finding.service,
            entry.finding.why,
            entry.changes,
        )
        for entry in judge.entries()
    )


def one(book, *items):
    (entry,) = told(judged(book, *items))
    return entry


@pytest.mark.parametrize(
    ("given_change", "verdict", "service", "why"),
    [
        (change("A", b"/etc/daemon.conf"), "persist", "daemon", "its key"),
        (change("M", b"/etc/daemon.conf"), "persist", "daemon", "its key"),
        (
            change("D", b"/etc/daemon.conf"),
            "regenerated",
            "NixOS",
            "deleted here; the blank brings it back",
        ),
        (change("M", b"/etc/passwd"), "regenerated", "NixOS", "NixOS writes it"),
        (
            change("A", b"/srv/link", "symlink", target=b"/nix/store/abc/x"),
            "regenerated",
            "NixOS",
            "a link into the store",
        ),
        (
            change("A", b"/srv/link", "symlink", target=b"/persist/srv/link"),
            "kept",
            "persisted",
            "a link into /persist",
        ),
        (
            change("A", b"/srv/link", "symlink", target=b"../persist/x"),
            "review",
            "unrecognised",
            "not recognised",
        ),
        (change("A", b"/srv/new"), "review", "unrecognised", "not recognised"),
        (change("A", b"/srv/new", uid=70), "review", "git", "not recognised; it belongs to git"),
        (change("A", b"/srv/new", uid=71), "review", "unrecognised", "not recognised"),
        (
            change("A", b"/home/alice/new", uid=70),
            "review",
            "unrecognised",
            "not recognised",
        ),
        (
            change("A", b"/srv/socket", "socket"),
            "ephemeral",
            "temporary",
            "a socket, made again by its program",
        ),
        (
            change("A", b"/srv/fifo", "fifo"),
            "ephemeral",
            "temporary",
            "a fifo, made again by its program",
        ),
        (
            change("A", b"/nested", "subvolume"),
            "review",
            "unrecognised",
            "a nested subvolume, which the rollback deletes",
        ),
        (change("A", b"/new", "directory"), "review", "unrecognised", "not recognised"),
        (
            change("P", b"/opt/here", "directory"),
            "review",
            "unrecognised",
            "its owner, mode or attributes changed",
        ),
        (
            change("A", b"/var/lib", "directory"),
            "regenerated",
            "NixOS",
            "a directory that every system has",
        ),
        (
            change("A", b"/home/alice", "directory"),
            "regenerated",
            "NixOS",
            "a home, made when its user is",
        ),
        (
            change("A", b"/data", "directory"),
            "regenerated",
            "NixOS",
            "a directory above what is mounted or persisted",
        ),
        (
            change("P", b"/", "directory"),
            "regenerated",
            "NixOS",
            "the top directory, restored with the blank",
        ),
        (change("A", b"/root/.daemon", "directory"), "persist", "daemon", "settings"),
    ],
    ids=lambda value: f"{value.status} {value.path.decode()}" if isinstance(value, Change) else "",
)
def test_one_change(book, given_change, verdict, service, why):
    entry = one(book, given_change)
    assert entry[1:] == (verdict, service, why, 1)
    assert judged(book, given_change).counts[verdict] == 1


def test_a_directory_rule_speaks_for_all_below_but_what_a_closer_one_says(book):
    judge = judged(
        book,
        change("A", b"/var/lib/daemon", "directory", mode=0o700, uid=70),
        change("A", b"/var/lib/daemon/cache", "directory"),
        change("A", b"/var/lib/daemon/cache/x"),
        change("A", b"/var/lib/daemon/db"),
        change("A", b"/var/lib/daemon/err.log"),
        change("A", b"/var/lib/daemon/socket", "socket"),
    )
    assert told(judge) == [
        (b"/var/lib/daemon", "persist", "daemon", "its database", 3),
        (b"/var/lib/daemon/cache", "ephemeral", "daemon", "made again", 2),
        (b"/var/lib/daemon/err.log", "ephemeral", "daemon", "a log", 1),
    ]
    entry = judge.entries()[0]
    assert (entry.kind, entry.status, entry.mode, entry.uid) == ("directory", "A", 0o700, 70)
    assert (entry.files, entry.bytes, entry.seen) == (2, 10, True)


def test_an_unknown_directory_is_one_entry_with_all_below_it(book):
    assert one(
        book,
        change("A", b"/opt/new", "directory"),
        change("A", b"/opt/new/a", "directory"),
        change("A", b"/opt/new/a/file"),
        change("A", b"/opt/new/socket", "socket"),
        change("A", b"/opt/new/z", "subvolume"),
        change("A", b"/opt/new/z/file", uid=70),
    ) == (b"/opt/new", "review", "unrecognised", "not recognised", 6)


def test_a_new_shared_directory_does_not_swallow_what_is_in_it(book):
    judge = judged(
        book,
        change("A", b"/home/alice/.config", "directory"),
        change("A", b"/home/alice/.config/one", "directory"),
        change("A", b"/home/alice/.config/one/file"),
        change("A", b"/home/alice/.config/two"),
    )
    assert [entry[:2] + entry[4:] for entry in told(judge)] == [
        (b"/home/alice/.config", "regenerated", 1),
        (b"/home/alice/.config/one", "review", 2),
        (b"/home/alice/.config/two", "review", 1),
    ]


def test_a_rule_inside_an_unknown_directory_still_speaks(book):
    judge = judged(
        book,
        change("A", b"/opt/unknown", "directory"),
        change("A", b"/opt/unknown/known"),
        change("A", b"/opt/unknown/other"),
    )
    assert [entry[:2] + entry[4:] for entry in told(judge)] == [
        (b"/opt/unknown", "review", 2),
        (b"/opt/unknown/known", "persist", 1),
    ]


def test_an_unknown_directory_with_nothing_of_its_own_is_no_loss(book):
    judge = judged(
        book,
        change("A", b"/opt/unknown", "directory"),
        change("A", b"/opt/unknown/known"),
        change("A", b"/opt/empty", "directory"),
    )
    assert [entry[:2] + entry[4:] for entry in told(judge)] == [
        (b"/opt/empty", "review", 1),
        (b"/opt/unknown", "regenerated", 1),
        (b"/opt/unknown/known", "persist", 1),
    ]
    assert judge.counts["review"] == judge.counts["regenerated"] == judge.counts["persist"] == 1


def test_what_lies_in_a_directory_that_is_made_again_is_not(book):
    judge = judged(
        book,
        change("A", b"/var/lib/made", "directory"),
        change("A", b"/var/lib/made/state"),
    )
    assert [entry[:2] + entry[4:] for entry in told(judge)] == [
        (b"/var/lib/made", "regenerated", 1),
        (b"/var/lib/made", "review", 1),
    ]


def test_below_a_mount_point_data_is_hidden_and_counted_as_kept(book):
    judge = judged(
        book,
        change("A", b"/var/log", "directory"),
        change("A", b"/var/log/old", mtime=7),
        change("A", b"/var/log/journal", "directory"),
        change("A", b"/var/log/journal/link", "symlink", target=b"/nowhere", mtime=9),
        change("D", b"/var/log/gone"),
        change("A", b"/var/logs"),
    )
    assert judge.hidden() == [Hidden(b"/var/log", b"/var/log", 2, 10, 9)]
    assert judge.counts["kept"] == 5
    assert told(judge) == [(b"/var/logs", "review", "unrecognised", "not recognised", 1)]


def test_content_matters_only_where_something_can_be_lost(book):
    judge = judged(book)
    wanted = {
        b"/etc/daemon.conf": True,
        b"/srv/unknown": True,
        b"/var/lib/daemon/db": True,
        b"/var/lib/daemon/x.log": False,
        b"/var/lib/daemon/cache/x": False,
        b"/etc/passwd": False,
        b"/var/log/x": False,
    }
    assert {path: judge.needs_content(path) for path in wanted} == wanted


class Files(Block):
    """A block of files whose values are those of the changes it was made from."""

    __slots__ = ()

    def sizes(self):
        return [one.size for one in self.rows]

    def newest(self):
        return max(one.mtime for one in self.rows)

    def changes(self):
        return iter(self.rows)


NAMES = [
    b"var",
    b"lib",
    b"log",
    b"daemon",
    b"cache",
    b"opt",
    b"unknown",
    b"known",
    b"x.log",
    b"etc",
]
KINDS = ["file", "file", "file", "symlink", "socket"]
LEAVES = st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(1, 9))
TREES = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), LEAVES, max_size=4),
    lambda below: st.dictionaries(st.sampled_from(NAMES), st.one_of(LEAVES, below), max_size=5),
    max_leaves=25,
)


def below(tree, path=b""):
    """The changes of a tree that is all new, parents first."""
    for name, what in sorted(tree.items()):
        yield leaf_or_directory(path + b"/" + name, what)
        if isinstance(what, dict):
            yield from below(what, path + b"/" + name)


def leaf_or_directory(path, what):
    if isinstance(what, dict):
        return change("A", path, "directory")
    kind, size, mtime = what
    target = b"/nix/store/x" if kind == "symlink" and size % 2 else b"/nowhere"
    return change(
        "A", path, kind, size=size, mtime=mtime, target=target if kind == "symlink" else None
    )


def in_blocks(tree, path=b"", whole=None):
    """The same as an engine hands it on: files in blocks, and sums where `whole` says they do."""
    files = []
    for name, what in sorted(tree.items()):
        item = leaf_or_directory(path + b"/" + name, what)
        if item.kind is Kind.FILE:
            files.append(item)
        elif not isinstance(what, dict):
            yield item
    if files:
        names = [item.path.rpartition(b"/")[2] for item in files]
        yield Files(Status.ADDED, path + b"/", names, files, None)
    for name, what in sorted(tree.items()):
        if isinstance(what, dict):
            directory = path + b"/" + name
            own = change("A", directory, "directory")
            sums = whole is not None and whole(own)
            yield own
            yield from summed(what, directory) if sums else in_blocks(what, directory, whole)


def summed(tree, path):
    items = list(below(tree, path))
    files = [item for item in items if item.kind is Kind.FILE]
    directories = [item for item in items if item.kind is Kind.DIRECTORY]
    links = [item for item in items if item.kind is Kind.SYMLINK]
    yield from (item for item in items if item.kind is Kind.SOCKET)
    if links:
        yield together(links, path)
    yield Subtree(
        Status.ADDED,
        path,
        1,
        len(directories),
        len(files),
        sum(item.size for item in files),
        max((item.mtime for item in files), default=0),
        files[0].path if len(files) == 1 else None,
    )


def together(links, top):
    columns = Columns()
    for row, link in enumerate(links):
        columns.sizes.append(link.size)
        columns.owners += OWNER.pack(link.uid, link.gid, stat.S_IFLNK | link.mode)
        seconds, nanoseconds = divmod(link.mtime, 1_000_000_000)
        columns.seconds.append(seconds)
        columns.nanoseconds.append(nanoseconds)
        columns.targets[row] = link.target
    paths = [link.path for link in links]
    return Links(Status.ADDED, top, paths, list(range(len(links))), columns)


def state(judge):
    rows = [
        (e.path, e.kind, e.status, e.finding, e.files, e.bytes, e.newest, e.changes, e.mode, e.seen)
        # Which file is the only one matters where it names an unknown directory's content.
        + ((e.sole,) if e.finding.verdict is Verdict.REVIEW and e.files == 1 else ())
        for e in judge.entries()
    ]
    return sorted(rows, key=repr), judge.counts, judge.hidden()


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_single_changes_blocks_and_sums_are_judged_the_same(book, tree):
    single = judged(book, *below(tree))
    assert state(judged(book, *in_blocks(tree))) == state(single)
    judge = Judge(book.walk(HOMES), FACTS)
    for item in in_blocks(tree, whole=judge.whole):
        judge.feed(item)
    assert state(judge) == state(single)
    assert single.counts["changed"] == len(list(below(tree)))


def test_links_into_the_store_count_together_where_a_finding_speaks_for_the_directory(book):
    target = b"/nix/store/x"
    links = [
        change("A", b"/var/lib/daemon/%d/link" % number, "symlink", target=target)
        for number in range(3)
    ]
    alone = change("A", b"/etc/link", "symlink", target=target)
    assert told(judged(book, change("A", b"/var/lib/daemon", "directory"), *links, alone)) == [
        (b"/etc/link", "regenerated", "NixOS", "a link into the store", 1),
        (b"/var/lib/daemon", "persist", "daemon", "its database", 1),
        (b"/var/lib/daemon", "regenerated", "NixOS", "links into the store", 3),
    ]
