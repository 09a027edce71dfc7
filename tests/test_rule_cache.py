"""What was compiled is used again where it fits the files as they are, and nowhere else."""

import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rulebook import homes, kinds, paths, rules
from test_rulefiles import HEAD, RULE, write

from drift.rulebook import Layer, RuleBook, RuleFilesError, shipped_directory
from drift.rulebook import loading as rule_loading
from drift.rulebook.cache import cache_directory, write_cache
from drift.rulebook.compiling import write_shipped
from drift.rulebook.lines import Lines
from drift.rulebook.loading import KEPT, load_cached
from drift.rulebook.reading import read_rules
from drift.rulebook.trie import packed


@pytest.fixture
def kept(tmp_path):
    """A cache directory, and the settled rule file it was filled from."""
    file = write(tmp_path / "rules" / "x.toml")
    cache = tmp_path / "run" / "drift"
    cache.parent.mkdir()
    settle()
    load_cached([(Layer.SHIPPED, file.parent)], cache)
    return cache, file


def settle():
    time.sleep(0.12)


def the_file(cache):
    (only,) = cache.iterdir()
    return only


def reads(monkeypatch, cache, file, *more):
    """Load, and say which files were read and what rules there are."""
    read = []

    def reading(data, name, layer):
        read.append(name)
        return read_rules(data, name, layer)

    with monkeypatch.context() as patched:
        patched.setattr("drift.rulebook.reading.read_rules", reading)
        book = load_cached([(Layer.SHIPPED, file.parent), *more], cache)
    return read, [rule.pattern for rule in book.rules]


UNTRUSTED = (["rules/x.toml"], ["/var/lib/x"])
"""What `reads` gives where the cache is not used."""


def other(text, name):
    return text.replace("lib/x", f"lib/{name}")


def test_what_was_compiled_is_not_read_again(kept, monkeypatch):
    assert reads(monkeypatch, *kept) == ([], ["/var/lib/x"])
    book = load_cached([(Layer.SHIPPED, kept[1].parent)], kept[0])
    assert book.rules == load_cached([(Layer.SHIPPED, kept[1].parent)], None).rules
    assert book.decide(b"/var/lib/x/y", None) == (book.rules[0], b"/var/lib/x")


def test_only_a_changed_or_new_file_is_read(kept, monkeypatch):
    cache, file = kept
    times = os.stat(file)
    text = other(file.read_text(), "y")
    file.write_text(text)
    # The same size, inode and modification time: only the change time tells.
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    settle()
    assert reads(monkeypatch, cache, file) == (["rules/x.toml"], ["/var/lib/y"])
    write(file.with_name("z.toml"), other(HEAD + RULE, "z"))
    settle()
    assert reads(monkeypatch, cache, file) == (["rules/z.toml"], ["/var/lib/y", "/var/lib/z"])
    write(file.with_name("a.toml"), other(HEAD + RULE, "a"))
    file.unlink()
    assert reads(monkeypatch, cache, file) == (["rules/a.toml"], ["/var/lib/a", "/var/lib/z"])


def test_a_file_that_only_looks_new_is_not_read(kept, monkeypatch):
    cache, file = kept
    os.utime(file)
    assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])


def test_a_file_is_another_under_another_name_or_in_another_layer(kept, monkeypatch):
    cache, file = kept
    sources = [(Layer.SHIPPED, file.parent)]
    file.rename(file.with_name("y.toml"))
    assert reads(monkeypatch, cache, file)[0] == ["rules/y.toml"]
    assert [rule.origin for rule in load_cached(sources, cache).rules] == ["rules/y.toml:2"]
    (rule,) = load_cached([(Layer.SYSTEM, file.parent)], cache).rules
    assert (rule.layer, rule.origin) == (Layer.SYSTEM, f"{file.with_name('y.toml')}:2")


def test_another_drifts_reading_is_not_used(kept, monkeypatch, tmp_path):
    cache, file = kept
    module = write(tmp_path / "reading.py", "another reading of rules")
    monkeypatch.setattr("drift.rulebook.loading.code_files", lambda: [str(module)])
    monkeypatch.setattr("drift.rulebook.compiling.code_files", lambda: [str(module)])
    assert reads(monkeypatch, cache, file) == UNTRUSTED


def test_another_build_in_the_nix_store_reads_anew(kept, monkeypatch, tmp_path):
    cache, file = kept
    for build in ("one", "two"):
        # Nobody looks at modules in the store, so the place itself has to tell.
        module = write(tmp_path / build / "reading.py", build)
        monkeypatch.setattr(rule_loading, "RULEBOOK", f"/nix/store/{build}")
        monkeypatch.setattr(
            "drift.rulebook.compiling.code_files", lambda module=module: [str(module)]
        )
        assert reads(monkeypatch, cache, file) == UNTRUSTED
        assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])


def test_what_expires_is_asked_anew_each_day(kept, monkeypatch):
    cache, file = kept
    write(file, HEAD + RULE + 'expires = "2030-01-01"\n' + other(RULE, "y"))
    write(file.with_name("z.toml"), other(HEAD + RULE, "z"))
    settle()
    sources = [(Layer.SHIPPED, file.parent)]
    load_cached(sources, cache)
    found = []
    for today in ("2029-12-31", "2030-01-01"):
        monkeypatch.setattr(time, "strftime", lambda _, today=today: today)
        book = load_cached(sources, cache)
        found.append([[rule.pattern for rule in some] for some in (book.rules, book.expired)])
        assert book.rules == load_cached(sources, None).rules
    lasting = ["/var/lib/y", "/var/lib/z"]
    assert found == [[[*lasting, "/var/lib/x"], []], [lasting, ["/var/lib/x"]]]
    # A file with such a rule is read whenever another changed, the others are not.
    write(file.with_name("a.toml"), other(HEAD + RULE, "a"))
    assert reads(monkeypatch, cache, file)[0] == ["rules/a.toml", "rules/x.toml"]


def test_each_set_of_rules_is_kept_apart(kept, tmp_path, monkeypatch):
    cache, file = kept
    extra = write(tmp_path / "extra.toml", HEAD + other(RULE, "x/more"))
    settle()
    given = (Layer.GIVEN, extra)
    both = ["/var/lib/x", "/var/lib/x/more"]
    assert reads(monkeypatch, cache, file, given) == ([f"{extra}", *UNTRUSTED[0]][::-1], both)
    for _ in range(2):
        assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])
        assert reads(monkeypatch, cache, file, given) == ([], both)
    book = load_cached([(Layer.SHIPPED, file.parent), given], cache)
    assert book.decide(b"/var/lib/x/more/1", None) == (book.rules[-1], b"/var/lib/x/more")
    assert book.rules[-1].origin == f"{extra}:2"


def test_few_sets_of_rules_are_kept(kept, tmp_path, monkeypatch):
    cache, file = kept
    write_cache(cache, "key", "value", "units.cache")
    for number in range(9):
        extra = write(tmp_path / f"{number}.toml")
        settle()
        load_cached([(Layer.GIVEN, extra)], cache)
    names = sorted(path.name for path in cache.iterdir())
    assert len([name for name in names if name.startswith(KEPT)]) == 6
    assert names[-1] == "units.cache"
    assert reads(monkeypatch, cache, file) == UNTRUSTED


def test_a_damaged_cache_is_as_none(kept, monkeypatch):
    cache, file = kept
    whole = the_file(cache).read_bytes()
    dice = random.Random(1)
    damaged = [b"", b"\0" * 8, whole[:-1], whole[: len(whole) // 2], whole + b"\0"]
    for _ in range(40):
        changed = bytearray(whole)
        changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        damaged.append(bytes(changed))
    for data in damaged:
        the_file(cache).write_bytes(data)
        assert reads(monkeypatch, cache, file) == UNTRUSTED
        assert the_file(cache).read_bytes() == whole


def test_a_cache_that_others_could_have_written_is_not_used(kept, tmp_path, monkeypatch):
    cache, file = kept
    cache.chmod(0o750)
    assert reads(monkeypatch, cache, file) == UNTRUSTED
    cache.chmod(0o700)
    assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])
    the_file(cache).chmod(0o620)
    assert reads(monkeypatch, cache, file) == UNTRUSTED
    name = the_file(cache).name
    real = tmp_path / "real"
    cache.rename(real)
    cache.symlink_to(real)
    assert reads(monkeypatch, cache, file) == UNTRUSTED
    cache.unlink()
    cache.mkdir(0o700)
    (cache / name).symlink_to(real / name)
    assert reads(monkeypatch, cache, file) == UNTRUSTED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_cache_is_not_used(kept, monkeypatch):
    cache, file = kept
    os.chown(the_file(cache), 1, 1)
    assert reads(monkeypatch, cache, file) == UNTRUSTED
    os.chown(cache, 1, 1)
    assert reads(monkeypatch, cache, file) == UNTRUSTED


def test_faults_are_not_kept(kept):
    cache, file = kept
    file.write_text("x")
    settle()
    for _ in range(2):
        with pytest.raises(RuleFilesError):
            load_cached([(Layer.SHIPPED, file.parent)], cache)


def test_a_pattern_too_deep_to_keep_is_compiled_each_time(kept, monkeypatch):
    cache, file = kept
    deep = "/x" * 20_000
    write(file, HEAD + RULE.replace("/var/lib/x", deep))
    settle()
    for _ in range(2):
        assert reads(monkeypatch, cache, file) == (["rules/x.toml"], [deep])


def test_no_runtime_directory_no_cache(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    me = os.geteuid() or 1
    runtime = tmp_path / "run"
    runtime.mkdir()
    os.chown(runtime, me, me)
    found = [
        cache_directory({}, me),
        cache_directory({"XDG_RUNTIME_DIR": "run"}, me),
        cache_directory({"XDG_RUNTIME_DIR": str(tmp_path / "none")}, me),
        cache_directory({"XDG_RUNTIME_DIR": str(link)}, me),
        cache_directory({"XDG_RUNTIME_DIR": str(runtime)}, me + 1),
        cache_directory({"XDG_RUNTIME_DIR": str(runtime)}, me),
    ]
    assert found == [None, None, None, None, None, str(runtime / "drift")]


def test_kept_rules_need_no_parser(kept):
    cache, file = kept
    program = f"""
import sys
from drift.rulebook import Layer
from drift.rulebook.loading import load_cached
load_cached([(Layer.SHIPPED, {str(file.parent)!r})], {str(cache)!r}).walk()
heavy = "drift.rulebook.reading hashlib tomllib tree_sitter difflib json pathlib".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def built(kept, tmp_path, monkeypatch):
    """As `kept`, with the rule file compiled by a build and nothing in the cache."""
    cache, file = kept
    monkeypatch.setattr(rule_loading, "SHIPPED", str(tmp_path / "shipped.bin"))
    for module in ("loading", "compiling"):
        monkeypatch.setattr(f"drift.rulebook.{module}.shipped_directory", lambda: str(file.parent))
    write_shipped()
    shutil.rmtree(cache)
    return cache, file


def test_what_the_build_compiled_is_not_read_again(built, monkeypatch):
    cache, file = built
    assert reads(monkeypatch, None, file) == ([], ["/var/lib/x"])
    assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])
    extra = write(file.parent.parent / "extra.toml", other(HEAD + RULE, "y"))
    found = reads(monkeypatch, None, file, (Layer.GIVEN, extra))
    assert found == ([str(extra)], ["/var/lib/x", "/var/lib/y"])


def test_a_rule_file_changed_after_the_build_is_read(built, monkeypatch):
    cache, file = built
    file.write_text(other(file.read_text(), "y"))
    for place in (None, cache):
        assert reads(monkeypatch, place, file) == (["rules/x.toml"], ["/var/lib/y"])


def test_a_damaged_or_missing_build_is_as_none(built, monkeypatch):
    _, file = built
    shipped = Path(rule_loading.SHIPPED)
    shipped.write_bytes(shipped.read_bytes()[:-1])
    assert reads(monkeypatch, None, file) == UNTRUSTED
    shipped.unlink()
    assert reads(monkeypatch, None, file) == UNTRUSTED


def test_rules_of_the_nix_store_are_taken_as_built(built, monkeypatch):
    cache, file = built
    monkeypatch.setattr(rule_loading, "_STORE", f"{file.parent.parent}/")
    # A checkout may be copied there, with what was compiled before its rules changed.
    file.write_text(other(file.read_text(), "z"))
    assert reads(monkeypatch, None, file) == (["rules/x.toml"], ["/var/lib/z"])
    file.write_text(HEAD + RULE)
    monkeypatch.setattr(rule_loading, "INSTALLED", str(file.parent))
    # Nothing there ever changes, so nothing is looked at.
    text = file.read_text()
    file.write_text("no rules")
    assert reads(monkeypatch, cache, file) == ([], ["/var/lib/x"])
    assert not cache.exists()
    file.write_text(text)
    extra = write(file.parent.parent / "extra.toml", other(HEAD + RULE, "y"))
    settle()
    both = ["/var/lib/x", "/var/lib/y"]
    assert reads(monkeypatch, cache, file, (Layer.GIVEN, extra)) == ([str(extra)], both)
    file.write_text("no rules")
    assert reads(monkeypatch, cache, file, (Layer.GIVEN, extra)) == ([], both)


def test_two_builds_of_the_same_rules_are_the_same_bytes(built):
    first = Path(rule_loading.SHIPPED).read_bytes()
    write_shipped()
    assert Path(rule_loading.SHIPPED).read_bytes() == first


def test_a_wheel_holds_the_rules_and_what_they_compile_to(tmp_path):
    checkout = Path(shipped_directory()).parent
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(checkout / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "shipped.bin")
    shutil.copytree(checkout / "drift", tree / "drift", ignore=ignored)
    rules = tree / "rules"
    rules.mkdir()
    for name in ("openssh.toml", "networkmanager.toml"):
        shutil.copy(checkout / "rules" / name, rules)
    build = "from hatchling.build import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = tree.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    assert sorted(path.name for path in (site / "drift/shipped_rules").iterdir()) == [
        "networkmanager.toml",
        "openssh.toml",
    ]
    program = """
import sys
from drift.rulebook import Layer, loading, shipped_directory
book = loading.load_cached([(Layer.SHIPPED, shipped_directory())], None)
assert loading.__file__.startswith(sys.argv[1]), loading.__file__
print(sorted({rule.service for rule in book.rules}), "drift.rulebook.reading" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(site)],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['NetworkManager', 'openssh'] False\n"


@settings(max_examples=200, deadline=None)
@given(rules, st.lists(st.tuples(paths, kinds), max_size=6), homes, st.sampled_from([0, 40, 100]))
def test_a_packed_trie_decides_as_the_whole_one(rules, asked, homes, worth):
    half = len(rules) // 2
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("drift.rulebook.trie._WORTH_PACKING", worth)
        whole = RuleBook(rules[:half])
        trie = [packed(root) for root in whole.trie]
        if worth == 0:
            assert not any(isinstance(root[0], dict) for root in trie)
        book = RuleBook(rules[:half], trie)
        for one, two in (
            (whole, book),
            (whole.with_rules(rules[half:]), book.with_rules(rules[half:])),
        ):
            for path, kind in asked:
                place = b"/" + b"/".join(path)
                assert two.decide(place, kind, homes) == one.decide(place, kind, homes)


def test_only_what_is_walked_is_unpacked():
    book = load_cached([(Layer.SHIPPED, shipped_directory())], None)
    book.decide(b"/var/lib/nixos", None)
    absolute, home = book.trie
    lib = absolute[0][b"var"][0][b"lib"]
    assert isinstance(lib[0], dict)
    assert isinstance(absolute[0][b"etc"][0], bytes)
    assert isinstance(home[0], bytes)


pieces = st.sampled_from(
    [
        "[[rule]]",
        "  [[ rule ]]  # [[rule]]",
        "[[rule]]\r",
        '[["rule"]]',
        "[['rule']]",
        "[[rule.x]]",
        "[rule]",
        "# [[rule]]",
        'a = """',
        '"""',
        "b = '''",
        "'''",
        "c = [",
        '[["rule"]],',
        "]",
        'd = "[[rule]]"',
        "e = 1",
        "rule = [{}, {}]",
        "",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(pieces, max_size=12).map("\n".join))
def test_the_quick_look_for_headers_finds_the_lines_that_the_parser_finds(text):
    try:
        tables = tomllib.loads(text).get("rule", [])
    except ValueError:
        return
    if not isinstance(tables, list):
        return
    lines = Lines(text.encode())
    plain = lines._plain_headers()
    assert set(plain) <= set(lines._parsed_headers())
    assert lines.headers(len(tables)) == lines._parsed_headers()


def test_the_quick_look_finds_the_headers_of_every_shipped_file():
    for file in Path(shipped_directory()).glob("*.toml"):
        lines = Lines(file.read_bytes())
        assert lines._plain_headers() == lines._parsed_headers() != [], file
