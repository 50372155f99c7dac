"""Networks of torchvision, timm and our own, as shipped: cut everywhere, compared with the eager model.

`make zoo` runs all of them. Twelve run here: the smallest by default, the others where slow tests run.
"""

from __future__ import annotations

import pytest

from benchmarks.zoo import check
from benchmarks.zoo_models import ENTRIES, IN_TESTS, Entry
from partitioner.verify import TOLERANCE

QUICK = "sensor network, 1-D"


def test_the_zoo_has_sixty_networks_or_more_of_different_names() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) >= 60


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=entry.name, marks=() if entry.name == QUICK else pytest.mark.slow) for entry in IN_TESTS],
)
def test_every_cut_of_a_network_as_shipped_equals_the_whole_and_a_permuted_one_does_not(entry: Entry) -> None:
    if entry.name.startswith("timm/"):
        pytest.importorskip("timm")
    row = check(entry)
    assert row.failure == ""
    assert row.single_cuts > 0
    assert row.multi_cuts > 0
    assert row.difference <= TOLERANCE
    assert row.control > TOLERANCE
