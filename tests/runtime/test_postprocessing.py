"""Post-processors: installed beside the bundle, named and versioned in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import PostprocessorFailed, PostprocessorMissing
from runtime.inputs import joined
from runtime.manifest import Postprocessor, TensorSpec
from runtime.postprocessing import installed
from runtime.stage import Stage
from tests.runtime import two_inputs
from tests.runtime.providing import provide

BEST = TensorSpec(name="best", dtype="int64", shape=(2,))
SOURCE = '''
import numpy as np


class BestTwo:
    """The two classes of largest logits."""

    version = "1.2"

    def __call__(self, outputs):
        (logits,) = outputs
        return [np.argsort(-logits, axis=1, kind="stable")[:, :2]]


class Failing:
    version = "1"

    def __call__(self, outputs):
        return [outputs[7]]


class Other:
    version = "1"

    def __call__(self, outputs):
        return [outputs[0][:1, :2].astype("int64")]


best_two, failing, other, no_version = BestTwo(), Failing(), Other(), len
'''


@pytest.fixture
def provided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    names = ("best_two", "failing", "other", "no_version", "not_there")
    provide(folder, "best_of_tests", SOURCE, {name.replace("_", "-"): f"best_of_tests:{name}" for name in names})
    monkeypatch.syspath_prepend(str(folder))


def a_bundle(tmp_path: Path, name: str, version: str) -> two_inputs.TwoInputs:
    declared = Postprocessor(name=name, version=version, takes=(two_inputs.LOGITS,))
    return two_inputs.build(tmp_path / "bundle", declared, (BEST,))


def test_a_stage_ends_in_the_post_processor(provided: None, tmp_path: Path, engine: Engine) -> None:
    made, records = a_bundle(tmp_path, "best-two", "1.2"), two_inputs.records(6)
    with Bundle.open(made.path) as bundle:
        stage, rows = Stage(bundle, engine), joined(records, two_inputs.INPUTS)
        (best,) = stage.run(rows)
        (hidden,) = stage.run(rows, 0, 1)
        (behind,) = stage.run(hidden, 1)
    expected = np.argsort(-made.truth(records), axis=1, kind="stable")[:, :2]
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(behind, expected)
    assert hidden.shape == (6, 6), "nothing is done to what crosses a cut"


def test_one_that_is_not_installed_is_refused_before_anything_runs(tmp_path: Path, engine: Engine) -> None:
    made = a_bundle(tmp_path, "best-two", "1.2")
    with (
        Bundle.open(made.path) as bundle,
        pytest.raises(PostprocessorMissing, match=r"'best-two' is not installed here .*'isthmus\.postprocessors'"),
    ):
        Stage(bundle, engine)


def test_another_version_is_refused_and_both_are_named(provided: None, tmp_path: Path, engine: Engine) -> None:
    made = a_bundle(tmp_path, "best-two", "1.1")
    with (
        Bundle.open(made.path) as bundle,
        pytest.raises(PostprocessorMissing, match=r"version '1\.1' .*'best-two', and '1\.2' is installed"),
    ):
        Stage(bundle, engine)


def test_packages_that_provide_nothing_usable_are_named(provided: None) -> None:
    with pytest.raises(PostprocessorMissing, match=r"best_of_tests:no_version\) is no callable with a version"):
        installed("no-version")
    with pytest.raises(PostprocessorMissing, match=r"best_of_tests:not_there\) cannot be imported"):
        installed("not-there")
    with pytest.raises(PostprocessorMissing, match="installed are best-two, failing"):
        installed("best-three")


@pytest.mark.parametrize(
    ("name", "why"),
    [("failing", r"'failing' failed: IndexError"), ("other", r"gives int64 \[2\] where .* int64 \[2\] for 6 items")],
)
def test_one_that_fails_or_breaks_its_declaration_is_named(
    provided: None, tmp_path: Path, engine: Engine, name: str, why: str
) -> None:
    made = a_bundle(tmp_path, name, "1")
    with Bundle.open(made.path) as bundle, pytest.raises(PostprocessorFailed, match=why):
        Stage(bundle, engine).run(joined(two_inputs.records(6), two_inputs.INPUTS))
