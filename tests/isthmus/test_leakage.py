"""The inversion attack, on features whose secret is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import resize

from isthmus.builtin.demo import BUNDLE
from isthmus.evaluation.errors import BadItems
from isthmus.evaluation.leakage import Leak, attack, leaks, recorded
from runtime.bundle import Bundle
from runtime.manifest import LearnedLevel, Manifest
from tests.runtime.tiny_bundle import TinyBundle


def pictures(count: int) -> NDArray[np.uint8]:
    """Smooth colours, uint8 [count, 16, 16, 3]."""
    coarse = np.random.default_rng(0).random((count, 4, 4, 3))
    return np.stack([(resize(one, (16, 16, 3), order=1) * 255).astype(np.uint8) for one in coarse])


@pytest.mark.long
def test_features_that_hold_the_picture_are_painted_and_noise_is_not() -> None:
    """The mean picture is what anybody can paint; a shrunken picture gives nearly all away."""
    shown = pictures(150)
    shrunken = np.stack([resize(one / 255, (4, 4, 3), order=1).transpose(2, 0, 1) for one in shown]).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(150, 3, 4, 4)).astype(np.float32)
    leaky, safe = (attack(features, shown, steps=120) for features in (shrunken, noise))
    assert leaky.blind_db == safe.blind_db
    assert safe.psnr_db < safe.blind_db + 1
    assert leaky.psnr_db > leaky.blind_db + 4
    assert leaky.ssim > safe.ssim + 0.2


def test_too_few_or_too_small_pictures_are_refused() -> None:
    features = np.zeros((50, 3, 4, 4), np.float32)
    for shown in (np.zeros((20, 16, 16, 3), np.uint8), np.zeros((50, 4, 4, 3), np.uint8), np.zeros((50, 9), np.uint8)):
        with pytest.raises(BadItems, match="the attack needs"):
            attack(features[: len(shown)], shown, steps=1)


def test_what_is_recorded_of_a_level_that_was_not_attacked_is_the_next_larger_ones(tiny_bundle: TinyBundle) -> None:
    found = [
        Leak(1, 0, 14.123, 0.1, 9.0, 0.1),
        Leak(1, 2, 19.0, 0.5, 9.0, 0.1),
        Leak(1, 4, float("inf"), 1.0, 9.0, 0.1),
    ]
    with Bundle.open(tiny_bundle.path) as bundle:
        manifest = recorded(bundle.manifest, found)
        assert [level.leaked_psnr_db for level in manifest.cuts[1].levels] == [14.12, 19.0, 19.0, 100.0, 100.0]
        for cut in (0, 2):
            assert manifest.cuts[cut] == bundle.manifest.cuts[cut]
    assert Manifest.model_validate_json(manifest.to_bytes()) == manifest


@pytest.mark.long
def test_every_cut_of_the_built_in_bundle_is_attacked_at_its_smallest_largest_and_lossless_level() -> None:
    generator = np.random.default_rng(2)
    with Bundle.open(BUNDLE) as bundle:
        shape = bundle.manifest.input.shape
        found = leaks(bundle, generator.integers(0, 256, (40, *shape), np.uint8), lambda told: None, steps=1)
        for cut in bundle.manifest.cuts[1:]:
            learned = [number for number, level in enumerate(cut.levels) if isinstance(level, LearnedLevel)]
            expected = {learned[0], learned[-1], len(cut.levels) - 1}
            assert {leak.level for leak in found if leak.cut == cut.index} == expected
        with pytest.raises(BadItems, match="leave --leakage out"):
            leaks(bundle, np.zeros((40, 3), np.float32), lambda told: None, steps=1)
    assert all(0 < leak.psnr_db < 30 and -1 <= leak.ssim <= 1 for leak in found)
