"""Lineage by uuid, and the choice of the blank, on tables of subvolumes."""

import pytest

from drift.btrfs.subvolumes import NO_UUID, Relation, Subvolume, find_blank, named_blank, relate
from drift.errors import DriftError
from drift.model import Lineage


def subvolume(number, path, *, parent=None, otransid=None, inside=5):
    return Subvolume(
        id=number,
        parent_id=inside,
        directory=256,
        path=path,
        uuid=bytes([number % 256]) * 16,
        parent_uuid=NO_UUID if parent is None else bytes([parent % 256]) * 16,
        generation=1000,
        otransid=number if otransid is None else otransid,
        otime=0.0,
        read_only=False,
    )


def table(*subvolumes):
    return {one.id: one for one in subvolumes}


LIVE = subvolume(20, b"root", parent=10, otransid=50)
BLANK = subvolume(10, b"root-blank", otransid=7)


def test_live_made_from_the_blank_parted_when_it_was_made():
    assert relate(LIVE, BLANK, [LIVE, BLANK]) == Relation(Lineage.LIVE_FROM_BLANK, 50)


def test_blank_taken_from_live_parted_when_it_was_taken():
    live = subvolume(20, b"root", otransid=5)
    blank = subvolume(30, b"root-blank", parent=20, otransid=60)
    assert relate(live, blank, [live, blank]) == Relation(Lineage.BLANK_FROM_LIVE, 60)


def test_siblings_parted_when_the_first_of_them_was_made():
    ancestor = subvolume(9, b"base")
    live = subvolume(20, b"root", parent=9, otransid=80)
    blank = subvolume(30, b"root-blank", parent=9, otransid=40)
    found = relate(live, blank, [ancestor, live, blank])
    assert found == Relation(Lineage.COMMON_ANCESTOR, 40)


def test_siblings_of_a_deleted_ancestor_still_prove_it_by_uuid():
    live = subvolume(20, b"root", parent=9, otransid=80)
    blank = subvolume(30, b"root-blank", parent=9, otransid=40)
    assert relate(live, blank, [live, blank]) == Relation(Lineage.COMMON_ANCESTOR, 40)


def test_a_snapshot_of_a_snapshot_parted_at_the_first():
    middle = subvolume(15, b"middle", parent=10, otransid=30)
    live = subvolume(20, b"root", parent=15, otransid=50)
    found = relate(live, BLANK, [middle, live, BLANK])
    assert found == Relation(Lineage.LIVE_FROM_BLANK, 30)


def test_a_deleted_middle_proves_nothing():
    live = subvolume(20, b"root", parent=15, otransid=50)
    assert relate(live, BLANK, [live, BLANK]) == Relation(Lineage.UNRELATED, None)


def test_subvolumes_made_apart_are_unrelated():
    live = subvolume(20, b"root")
    assert relate(live, BLANK, [live, BLANK]) == Relation(Lineage.UNRELATED, None)


def test_a_chain_of_uuids_that_bites_its_tail_ends():
    one = subvolume(20, b"root", parent=21)
    other = subvolume(21, b"other", parent=20)
    assert relate(one, BLANK, [one, other, BLANK]) == Relation(Lineage.UNRELATED, None)


@pytest.mark.parametrize(
    "name",
    [
        b"root-blank",
        b"@root-blank",
        b"@blank",
        b"@ROOT-BLANK",
        b"snapshots/root-blank",
        b"root@blank",
        b"blank",
    ],
)
def test_the_blank_is_known_by_its_usual_names(name):
    live = subvolume(20, b"root")
    blank = subvolume(30, name)
    found = find_blank(live, table(live, blank, subvolume(31, b"home"), subvolume(32, b"blanket")))
    assert found is blank


def test_what_live_was_made_from_is_the_blank_whatever_its_name():
    pristine = subvolume(10, b"pristine")
    assert find_blank(LIVE, table(LIVE, pristine)) is pristine


def test_lineage_decides_between_two_usual_names():
    other = subvolume(31, b"old/root-blank")
    assert find_blank(LIVE, table(LIVE, other, BLANK)) is BLANK


def test_an_ordinary_snapshot_of_live_is_no_blank():
    live = subvolume(20, b"root")
    daily = subvolume(31, b"snapshots/daily", parent=20)
    with pytest.raises(DriftError) as error:
        find_blank(live, table(live, daily))
    assert error.value.message == (
        "no blank snapshot was found among the subvolumes of this filesystem:\n  snapshots/daily"
    )


def test_the_guides_trap_is_not_taken_for_the_blank():
    live = subvolume(20, b"root")
    blank = subvolume(30, b"root-blank")
    trapped = subvolume(31, b"root-blank/root", parent=20, inside=30)
    assert find_blank(live, table(live, blank, trapped)) is blank


def test_a_snapshot_inside_the_live_root_dies_with_it_and_is_no_blank():
    live = subvolume(20, b"root")
    inside = subvolume(31, b"root/snapshots/root-blank", parent=20, inside=20)
    outside = subvolume(32, b"root-blank")
    assert find_blank(live, table(live, inside, outside)) is outside


def test_a_choice_between_several_is_the_users():
    live = subvolume(20, b"root")
    with pytest.raises(DriftError) as error:
        find_blank(live, table(live, subvolume(30, b"a\n-blank"), subvolume(31, b"@blank")))
    assert error.value.message == ("several subvolumes could be the blank:\n  @blank\n  a\\n-blank")
    assert error.value.hint.endswith("--blank a\\n-blank")


def test_a_name_may_be_the_end_of_the_path():
    deep = subvolume(30, b"snapshots/root-blank")
    assert named_blank(b"root-blank", LIVE, table(LIVE, deep)) is deep


def test_a_whole_path_wins_over_the_end_of_another():
    deep = subvolume(31, b"old/root-blank")
    assert named_blank(b"/root-blank", LIVE, table(LIVE, deep, BLANK)) is BLANK


def test_a_name_that_nothing_has_lists_what_there_is():
    with pytest.raises(DriftError) as error:
        named_blank(b"nope", LIVE, table(LIVE, BLANK))
    assert error.value.message == (
        "there is no subvolume nope on this filesystem, which has:\n  root-blank"
    )
