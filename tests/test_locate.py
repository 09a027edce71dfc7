"""Which two roots are compared, and how: every lineage, every way to name them."""

import os

import pytest

from drift.errors import DriftError
from drift.locate import locate
from drift.model import Engine, Lineage, Root

btrfs = pytest.mark.btrfs


def located(*arguments, **how):
    found = locate(*arguments, **how)
    found.close()
    return found


def refusal(*arguments, **how):
    with pytest.raises(DriftError) as caught:
        located(*arguments, **how)
    return caught.value.message


class TestPlainDirectories:
    def test_two_of_them_are_walked(self, tmp_path):
        live, blank = os.fsencode(tmp_path / "live"), os.fsencode(tmp_path / "blank")
        os.mkdir(live)
        os.mkdir(blank)
        os.symlink(live, live + b"-link")
        found = located(live + b"-link", blank, "walk", explicit_live=True)
        assert (found.live, found.blank) == (Root(live, b"", 0, 0), Root(blank, b"", 0, 0))
        assert (found.engine, found.lineage, found.base) == (Engine.WALK, Lineage.UNRELATED, None)
        assert (found.live_directory, found.blank_directory) == (live, blank)

    def test_none_is_an_empty_baseline(self, tmp_path):
        found = located(os.fsencode(tmp_path), b"none", "walk", explicit_live=True)
        assert (found.blank, found.lineage, found.engine) == (None, Lineage.NONE, Engine.WALK)

    def test_they_are_not_chosen_where_the_live_root_was_not_named(self):
        assert refusal(b"/proc", b"/sys") == "/proc is on proc, not Btrfs"

    def test_another_engine_than_walk_needs_btrfs(self):
        assert refusal(b"/proc", b"/sys", "metadata", explicit_live=True) == (
            "/proc is on proc, not Btrfs"
        )

    def test_a_file_is_no_root(self, tmp_path):
        (tmp_path / "file").write_text("")
        path = os.fsencode(tmp_path / "file")
        assert refusal(path) == f"the live root {os.fsdecode(path)} is no directory"


@btrfs
class TestLineages:
    """Every case has a subvolume `root`, mounted at `live`, and `root-blank`."""

    def live(self, lab):
        return lab.mount_subvolume("root", lab.directory + b"/live")

    def test_live_from_blank(self, lab):
        lab.create("root-blank")
        lab.snapshot("root-blank", "root")
        found = located(self.live(lab))
        assert (found.engine, found.lineage) == (Engine.GENERATION, Lineage.LIVE_FROM_BLANK)
        assert found.blank.path == b"root-blank"
        assert found.base is not None

    def test_blank_from_live(self, lab):
        lab.create("root")
        lab.snapshot("root", "root-blank")
        found = located(self.live(lab))
        assert (found.engine, found.lineage) == (Engine.GENERATION, Lineage.BLANK_FROM_LIVE)

    def test_a_common_ancestor(self, lab):
        lab.create("first")
        lab.snapshot("first", "root")
        lab.snapshot("first", "root-blank")
        found = located(self.live(lab), b"root-blank")
        assert (found.engine, found.lineage) == (Engine.GENERATION, Lineage.COMMON_ANCESTOR)

    def test_unrelated(self, lab):
        lab.create("root")
        lab.create("root-blank")
        found = located(self.live(lab))
        assert (found.engine, found.lineage, found.base) == (
            Engine.METADATA,
            Lineage.UNRELATED,
            None,
        )

    def test_none(self, lab):
        lab.create("root")
        found = located(self.live(lab), b"none")
        assert (found.engine, found.lineage, found.blank) == (Engine.METADATA, Lineage.NONE, None)

    @pytest.mark.parametrize(
        "how", ["name", "path", "directory", "link"], ids=lambda how: f"by {how}"
    )
    def test_the_blank_is_named_in_every_way(self, lab, how):
        lab.create("snapshots/root-blank")
        lab.snapshot("snapshots/root-blank", "root")
        directory = lab.path("snapshots/root-blank")
        os.symlink(directory, lab.directory + b"/link")
        name = {
            "name": b"root-blank",
            "path": b"snapshots/root-blank",
            "directory": directory,
            "link": lab.directory + b"/link",
        }[how]
        found = located(self.live(lab), name)
        assert found.blank.subvolume == b"snapshots/root-blank"
        assert found.blank.path == (
            directory if how in ("directory", "link") else found.blank.subvolume
        )

    @pytest.mark.parametrize("engine", ["metadata", "walk"])
    def test_an_engine_can_be_forced(self, lab, engine):
        lab.create("root-blank")
        lab.snapshot("root-blank", "root")
        assert located(self.live(lab), None, engine).engine == engine

    def test_a_blank_elsewhere_is_refused_unless_both_are_named(self, lab):
        lab.create("root")
        live = self.live(lab)
        assert refusal(live, b"/proc") == (
            "the blank /proc is on another filesystem than the live root"
        )
        assert located(live, b"/proc", explicit_live=True).engine is Engine.WALK

    def test_a_blank_that_is_no_subvolume_is_refused_unless_both_are_named(self, lab):
        lab.create("root")
        live, blank = self.live(lab), lab.path("directory")
        os.mkdir(blank)
        assert refusal(live, blank) == (
            f"the blank {os.fsdecode(blank)} is a directory inside a subvolume, not the top of one"
        )
        assert located(live, blank, explicit_live=True).engine is Engine.WALK

    def test_no_descriptor_stays_open_after_a_refusal(self, lab):
        lab.create("root")
        live = self.live(lab)
        before = sorted(os.listdir("/proc/self/fd"))
        refusal(live)
        refusal(live, b"missing")
        assert sorted(os.listdir("/proc/self/fd")) == before
