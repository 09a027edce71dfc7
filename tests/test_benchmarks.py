"""What the benchmarks decide: the truth of a planned tree, each tool's answer, medians, bounds."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import oracle
from bench import answers, bounds, build, measure, plan, report
from bench.bounds import Bound, Key, Outcome
from bench.measure import Run, Runs
from bench.plan import Act, Truth


def truth(*lines):
    found = Truth()
    for line in lines:
        status, *names = line.split()
        found.add(status, names[-1], names[0] if len(names) > 1 else "")
    return found


def runs(*seconds, peak=0):
    return Runs([Run(each, each, 0, 0) for each in seconds], peak=peak)


def test_plan_has_the_asked_count_and_is_the_same_each_time():
    planned = plan.plan(2000)
    paths = [entry.path for entry in planned.entries]
    assert len(paths) == len(set(paths)) == 2000
    assert len(planned.directories) == 2000 // plan.FILES_PER_DIRECTORY
    assert planned == plan.plan(2000)
    made = set()
    for directory in planned.directories:
        parent = directory.path.rpartition("/")[0]
        assert not parent or parent in made
        made.add(directory.path)
    assert {entry.path.rpartition("/")[0] for entry in planned.entries} <= made


def test_every_kind_of_change_occurs_and_is_acted_on_once():
    acts, _ = plan.changes(plan.plan(5000), 500)
    assert {change.act for change in acts} == set(Act)
    paths = [change.path for change in acts]
    assert len(paths) == len(set(paths))


def test_truth_of_changes_is_what_a_walk_over_both_trees_finds(tmp_path):
    if os.geteuid():
        pytest.skip("needs root, to give files other owners")
    planned = plan.plan(1500)
    acts, known = plan.changes(planned, 300)
    for side in ("blank", "live"):
        (tmp_path / side).mkdir()
        build.write_tree(tmp_path / side, planned)
    build.apply_changes(tmp_path / "live", acts)
    rows = oracle.expected(os.fsencode(tmp_path / "live"), os.fsencode(tmp_path / "blank"))
    # Without a common history a rename is what went and what came.
    wanted = set()
    for line in known.lines:
        status, *paths = line.split("\t")
        wanted |= {("D", paths[0]), ("A", paths[1])} if len(paths) == 2 else {(status, paths[0])}
    assert {(row.status, os.fsdecode(row.path)) for row in rows} == wanted


def test_truth_is_sorted_by_components():
    known = truth("A a-b", "A a/b", "R z a")
    assert known.text() == b"R\t/z\t/a\nA\t/a/b\nA\t/a-b\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"A\t/a\nM\t/b\n", answers.Check(2, 0, 0)),
        (b"A\t/a\n", answers.Check(2, 1, 0)),
        (b"A\t/a\nP\t/b\n", answers.Check(2, 1, 1)),
        (b"M\t/b\nA\t/a\n", answers.Check(2, 0, 1)),
        (b"A\t/a\nA\t/a\nM\t/b\n", answers.Check(2, 0, 1)),
    ],
    ids=["right", "one missing", "another status", "out of order", "twice"],
)
def test_drift_is_held_to_every_line(output, expected):
    assert answers.check_exactly(truth("A a", "M b"), output) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b'{"counts": {"changed": 2, "review": 2}, "skipped": []}', answers.Check(2, 0, 0)),
        (b'{"counts": {"changed": 1, "review": 1}, "skipped": []}', answers.Check(2, 1, 0)),
        (b'{"counts": {"changed": 3, "review": 3}, "skipped": []}', answers.Check(2, 0, 1)),
        (b'{"counts": {"changed": 2, "review": 1}, "skipped": []}', answers.Check(2, 0, 1)),
        (b'{"counts": {"changed": 2, "review": 2}, "skipped": [{}]}', answers.Check(2, 1, 0)),
    ],
    ids=["right", "too few", "too many", "verdicts don't add up", "something skipped"],
)
def test_scan_is_held_to_its_counts(output, expected):
    assert answers.check_counts(truth("A a", "M b"), output) == expected


def test_scan_may_count_what_only_reading_could_tell():
    known = truth("A a", "M b")
    known.rewritten = 1
    said = b'{"counts": {"changed": %d, "review": %d}, "skipped": []}'
    assert answers.check_counts(known, said % (3, 3)).exact
    assert answers.check_counts(known, said % (4, 4)) == answers.Check(2, 0, 1)


def test_a_tool_may_name_what_differs_in_times_alone_and_both_names_of_a_rename_count():
    known = truth("M d/a", "R old d/new", "D gone")
    known.times.add("/touched")
    answer = answers.Answer({"/d", "/d/a", "/d/new", "/touched", "/same"})
    assert answers.check(known, answer) == answers.Check(4, 2, 1)
    assert str(answers.check(known, answer)) == "missed 2 of 4, 1 wrong"


def test_a_whole_directory_is_named_with_all_below_it():
    known = truth("A new", "A new/a", "A new/d/b", "A newer")
    assert answers.check(known, answers.Answer(whole={"/new"})) == answers.Check(4, 1, 0)


PARSED = {
    "find-new": (
        answers.of_find_new,
        (
            "inode 257 file offset 0 len 5 disk start 0 offset 0 gen 9 flags INLINE my dir/a b\n"
            "transid marker was 12\n"
        ),
        {"/my dir/a b"},
    ),
    "fs-diff": (answers.of_lines, "/etc/a b\n", {"/etc/a b"}),
    "find -newer": (answers.of_lines, ".\n./etc/a b\n", {"/", "/etc/a b"}),
    "os.walk": (answers.of_status_lines, "A\t/x\nM\t/y z\n", {"/x", "/y z"}),
    "rsync": (
        answers.of_rsync,
        (
            ">f.st...... a b\n.d..t...... d/\ncd+++++++++ new/\n.d...p..... mode/\n"
            "cLc.t...... link\nhf+++++++++ hard\n*deleting   gone/\n"
        ),
        {"/a b", "/new", "/mode", "/link", "/hard", "/gone"},
    ),
    "snapper": (
        answers.of_snapper("/mnt/x"),
        "+..... /mnt/x/a b\n.p.... /mnt/x/c\n",
        {"/a b", "/c"},
    ),
    "send": (
        answers.of_send,
        (
            "snapshot        ./now                           uuid=1 transid=2\n"
            "utimes          ./now/                          atime=1\n"
            "mkfile          ./now/o257-9-0\n"
            "rename          ./now/o257-9-0                  dest=./now/d/f\\ 1\n"
            "update_extent   ./now/d/f\\ 1                    offset=0 len=2\n"
            "rename          ./now/old                       dest=./now/o260-7-0\n"
            "unlink          ./now/o260-7-0/inside\n"
            "rmdir           ./now/o260-7-0\n"
            "chmod           ./now/mode                      mode=644\n"
        ),
        {"/d/f 1", "/old", "/old/inside", "/mode"},
    ),
}


@pytest.mark.parametrize("name", PARSED)
def test_output_of_each_tool_is_read_as_the_paths_it_names(name):
    parse, output, paths = PARSED[name]
    assert parse(output) == answers.Answer(paths)


def test_a_rename_in_a_send_stream_leads_to_both_names_and_all_below():
    stream = "rename          ./now/a                         dest=./now/b\n"
    assert answers.of_send(stream) == answers.Answer({"/b"}, {"/a", "/b"})


def test_diff_names_new_directories_whole():
    said = (
        "Only in /b: gone\nOnly in /l/d: new dir\nFiles /b/x and /l/x differ\n"
        "Symbolic links /b/s and /l/s differ\n"
        "File /b/t is a regular empty file while file /l/t is a symbolic link\n"
    )
    assert answers.of_diff("/b", "/l")(said) == answers.Answer(
        {"/x", "/s", "/t"}, {"/gone", "/d/new dir"}
    )


def test_figures_are_medians():
    measured = runs(3.0, 1.0, 2.0, 100.0, 2.5)
    assert (measured.seconds, measured.cpu, measured.count) == (2.5, 2.5, 5)
    assert measured.spread == 100


@pytest.mark.parametrize(
    ("first", "expected"), [(0.1, 5), (19.9, 5), (20.0, 3), (59.9, 3), (60.0, 1)]
)
def test_slow_commands_run_less_often(first, expected):
    assert measure.runs_for(first, 5) == expected


def test_rounds_are_interleaved_and_each_begins_with_another():
    counts = {"a": 3, "b": 1, "c": 2}
    assert "".join(measure.interleaved("abc", counts, 3)) == "abc" + "ca" + "a"


@pytest.mark.parametrize(
    ("first_counts", "took", "expected"),
    [(True, 1.0, 3), (False, 1.0, 3), (False, 70.0, 1), (True, 70.0, 1)],
    ids=["cold", "warm", "slow warm", "slow cold"],
)
def test_the_first_run_counts_where_the_cache_is_cold_or_it_is_the_only_one(
    first_counts, took, expected
):
    seen = []

    def once(name, watch):
        seen.append(watch)
        return Run(took, took, 7, 11 if watch else 0)

    results: dict[str, Runs] = {}
    measure.measure(["x"], once, 3, first_counts=first_counts, results=results)
    found = results["x"]
    assert (found.count, found.peak, found.read) == (expected, 11, 7)
    assert seen == [True] + [False] * (len(seen) - 1)


def test_figures_go_between_the_marks_of_a_page():
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.filled_in(page, "new\n") == (
        f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    )
    with pytest.raises(ValueError, match="has no place for figures"):
        report.filled_in("nothing", "new\n")


def test_a_run_tells_time_exit_and_output(tmp_path):
    found = measure.run(
        ("sh", "-c", "echo said; sleep 0.05"), tmp_path / "out", cwd=tmp_path, environ=os.environ
    )
    assert (tmp_path / "out").read_text() == "said\n"
    assert 0.05 <= found.seconds < 5


def test_a_failing_command_is_no_figure(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 3: why"):
        measure.run(
            ("sh", "-c", "echo why >&2; exit 3"),
            tmp_path / "out",
            cwd=tmp_path,
            environ=os.environ,
        )


RESULTS = {
    Key("A", 20, "warm", "drift diff"): runs(1.0),
    Key("A", 20, "warm", "find -newer"): runs(2.0),
    Key("A", 200, "warm", "drift diff"): runs(3.0),
    Key("A", 200, "warm", "find -newer"): runs(12.0),
    Key("K", 20, "warm", "drift diff"): runs(1.0),
    Key("K", 200, "warm", "drift diff"): runs(1.5),
    Key("B", 20, "warm", "drift diff"): runs(1.0, peak=1000),
    Key("B", 200, "warm", "drift diff"): runs(1.0, peak=19000),
    Key("content", 0, "cold", bounds.reading("A")): runs(1.5),
    Key("content", 0, "cold", bounds.sharing("A")): runs(0.5),
    Key("content", 0, "cold", bounds.sequential("A")): runs(0.8),
    Key("output", 20, "warm", bounds.PRINTED): runs(2.0),
    Key("output", 20, "warm", bounds.UNPRINTED): runs(1.5),
}


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (bounds.ratio("A", "warm", "drift diff", "find -newer"), (0.25, 200)),
        (bounds.ratio("A", "cold", "drift diff", "find -newer"), None),
        (bounds.growth("warm"), (1.5, 200)),
        (bounds.growth("cold"), None),
        (bounds.bytes_a_change, (100.0, 200)),
        (bounds.speed_of_reading("A", "cold"), (0.8, 0)),
        (bounds.share_of_printing, (0.25, 20)),
    ],
    ids=["ratio", "nothing run", "growth", "no growth", "memory", "reading", "printing"],
)
def test_bounds_are_taken_at_the_largest_size(measured, expected):
    assert measured(RESULTS) == expected


@pytest.mark.parametrize(
    ("value", "least", "expected"),
    [
        (0.2, False, "ok"),
        (0.21, False, "MISSED"),
        (0.2, True, "ok"),
        (0.19, True, "MISSED"),
        (None, False, "not run"),
    ],
)
def test_a_bound_is_met_or_missed(value, least, expected):
    bound = Bound("work", 0.2, lambda _: None, least=least)
    assert Outcome(bound, value, 0).word == expected


def test_every_bound_finds_its_own_figures():
    assert [outcome.word for outcome in bounds.outcomes({})] == ["not run"] * len(bounds.BOUNDS)


def test_the_tables():
    known = {("A", 20, "find -newer"): answers.Check(10, 4, 0)}
    chosen = {key: RESULTS[key] for key in RESULTS if key.dataset == "A" and key.count == 20}
    assert report.table(chosen, known) == (
        "### A, N = 20, warm\n\n"
        "| tool        |   seconds |   drift / it |   runs |   spread |   CPU s |   MiB | answer         |\n"
        "|:------------|----------:|-------------:|-------:|---------:|--------:|------:|:---------------|\n"
        "| drift diff  |      1.00 |         1.00 |      1 |     1.00 |    1.00 |       |                |\n"
        "| find -newer |      2.00 |         0.50 |      1 |     1.00 |    2.00 |       | missed 4 of 10 |\n"
    )
    bound = Bound("work", 0.3, lambda _: None, unit=" s", wanted=100)
    assert report.bounds_table([Outcome(bound, 0.25, 20)]) == (
        "| work   | bound         | measured        |    |\n"
        "|:-------|:--------------|:----------------|:---|\n"
        "| work   | at most 0.3 s | 0.25 s (N = 20) | ok |\n"
    )
