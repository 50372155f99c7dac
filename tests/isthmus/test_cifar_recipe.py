"""The CIFAR-10 recipe: its keys, its cut and its data are what they must be. Skipped without the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cifar
from isthmus.training.recipe import Recipe
from partitioner.api import partition
from partitioner.compressors.methods import METHODS
from runtime.settings import load_settings

RECIPE = Path(cifar.__file__).with_name("cifar10.toml")


def test_the_recipe_is_valid_and_names_functions_that_exist() -> None:
    recipe = load_settings(Recipe, RECIPE)
    assert recipe.method in METHODS
    assert recipe.test is not None
    for name in (recipe.model, recipe.data.dataset, recipe.test.dataset):
        assert name is not None
        assert callable(getattr(cifar, name.partition(":")[2]))


@pytest.mark.long
@pytest.mark.skipif(not cifar.at_hand(), reason="needs CIFAR-10 and its weights in ISTHMUS_DATA")
def test_the_published_network_is_as_good_as_its_page_says_and_the_cut_leaves_half_of_it_to_the_tier() -> None:
    network = cifar.published(20)
    pictures, labels = cifar.read("test", 500)
    with torch.inference_mode():
        right = (network(torch.from_numpy(pictures)).argmax(1).numpy() == labels).mean()
    assert 0.76 <= right <= 0.86  # 81.03 % of all 10,000
    assert np.bincount(labels).tolist() == [50] * 10
    cut = partition(network, torch.from_numpy(pictures[:2]), cuts=[load_settings(Recipe, RECIPE).cut]).cuts[0]
    assert cut.macs_before / (cut.macs_before + cut.macs_after) <= 0.5
