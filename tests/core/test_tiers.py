"""Every test is in one tier, and choosing a tier reads the files of that tier alone."""

import pytest
from cinemo_pack.tests.tiers import PLACES, TESTS, TIERS, Tiers, tiers_of


def test_every_row_is_a_place_that_is_there_and_every_tier_has_one():
    assert [place for place in PLACES if not (TESTS / place).exists()] == []
    assert set(PLACES.values()) == set(TIERS)


def test_every_file_of_tests_has_one_tier():
    files = list(TESTS.rglob("test_*.py"))
    assert len(files) > 50
    assert [file.name for file in files if len(tiers_of(file)) != 1] == []


def test_the_longest_place_decides():
    assert tiers_of(TESTS / "server" / "test_client.py") == {"system"}
    assert tiers_of(TESTS / "server" / "test_soak.py") == {"soak"}
    assert tiers_of(TESTS / "server") == {"system", "soak"}
    assert tiers_of(TESTS / "goldens") == set()


@pytest.mark.parametrize(
    ("chosen", "place", "is_read"),
    [
        (["unit"], "core/test_schedule.py", True),
        (["unit"], "core/training/test_run.py", False),
        (["unit"], "comfy", False),  # its conftest.py imports ComfyUI, which may not be there
        (["system"], "core/training", True),
        (["soak"], "server", True),
        (["unit", "browser"], "browser/conftest.py", True),
        (None, "comfy", True),
    ],
)
def test_what_is_not_chosen_is_not_read(chosen, place, is_read):
    assert (Tiers(chosen).pytest_ignore_collect(TESTS / place) is True) != is_read


def test_a_test_in_no_tier_is_refused(request):
    class Item:
        path = TESTS / "elsewhere" / "test_new.py"

    with pytest.raises(pytest.UsageError, match=r"test_new.py is in no tier: add its folder to PLACES in tests/tiers.py"):
        Tiers(None).pytest_collection_modifyitems(request.config, [Item()])


def test_each_test_carries_its_marker(request):
    assert request.node.get_closest_marker("unit") and not request.node.get_closest_marker("contract")
