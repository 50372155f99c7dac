"""The kept corpus, and some mutations of it, break nothing. `make fuzz` goes on from here for ten million more."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import corpus_of
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_its_mutations_end_in_a_value_or_a_refusal(name: str) -> None:
    corpus, chance = corpus_of(name), random.Random(6)
    assert corpus
    for data in corpus:
        TARGETS[name](data)
    for _ in range(2000):
        TARGETS[name](mutated(corpus, chance))
