"""Several inputs as one row of bytes, and the first segment's graph on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle import Bundle, read_manifest
from runtime.engines import Engine
from runtime.errors import BundleInvalid, UnsupportedShape
from runtime.inputs import input_noise, joined, parted, record_type, row_of
from runtime.manifest import MAX_DIMENSION, TensorSpec
from runtime.stage import Stage
from tests.runtime import two_inputs
from tests.runtime.tiny_bundle import TinyBundle

KINDS = st.tuples(st.sampled_from(["uint8", "float32", "int64"]), st.lists(st.integers(1, 4), max_size=3).map(tuple))
SPECS = st.lists(KINDS, min_size=2, max_size=4).map(
    lambda kinds: [TensorSpec(name=f"in {n}", dtype=kind, shape=shape) for n, (kind, shape) in enumerate(kinds)]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> two_inputs.TwoInputs:
    return two_inputs.build(tmp_path_factory.mktemp("several") / "two.bundle")


@given(SPECS, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_row_holds_the_bytes_of_all_inputs_in_order(specs: list[TensorSpec], items: int, seed: int) -> None:
    records = np.zeros(items, record_type(specs))
    generator = np.random.default_rng(seed)
    for spec in specs:
        records[spec.name] = generator.integers(0, 200, (items, *spec.shape))
    rows = joined(records, specs)
    assert rows.shape == (items, *TensorSpec.of_several(specs).shape)
    for item in range(items):
        expected = b"".join(np.asarray(records[item][spec.name], spec.dtype).tobytes() for spec in specs)
        assert rows[item].tobytes() == expected
    for array, spec in zip(parted(rows, specs), specs, strict=True):
        assert array.dtype == spec.dtype
        np.testing.assert_array_equal(array, records[spec.name])


def test_fields_may_stand_in_any_order_and_one_item_has_no_batch_axis() -> None:
    records = two_inputs.records(1)
    mixed = np.zeros((), np.dtype([(name, records.dtype.fields[name][0]) for name in ("step", "readings", "picture")]))
    for name in mixed.dtype.names:
        mixed[name] = records[0][name]
    np.testing.assert_array_equal(joined(mixed, two_inputs.INPUTS), joined(records, two_inputs.INPUTS)[0])


def test_more_than_a_mebibyte_goes_in_several_rows() -> None:
    specs = [
        TensorSpec(name="picture", dtype="uint8", shape=(MAX_DIMENSION,)),
        TensorSpec(name="more", dtype="float32", shape=(5,)),
    ]
    records = np.zeros(2, record_type(specs))
    records["picture"], records["more"] = 7, np.arange(10).reshape(2, 5)
    rows = joined(records, specs)
    assert rows.shape == (2, 257, 4096)
    np.testing.assert_array_equal(parted(rows, specs)[1], records["more"])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros(2, [("picture", "u1", (4, 4, 3)), ("readings", "f4", (3,))]),
        np.zeros(2, [("picture", "u1", (4, 4, 3)), ("readings", "f8", (3,)), ("step", "i8")]),
        np.zeros(2, [("picture", "u1", (4, 4)), ("readings", "f4", (3,)), ("step", "i8")]),
    ],
)
def test_other_records_are_refused_by_the_field_that_differs(wrong: np.ndarray) -> None:
    with pytest.raises(UnsupportedShape, match=r"a field '(picture|readings|step)' of .* which is"):
        joined(wrong, two_inputs.INPUTS)


def test_the_segments_compute_what_numpy_computes(made: two_inputs.TwoInputs, engine: Engine) -> None:
    records = two_inputs.records(5)
    with Bundle.open(made.path) as bundle:
        stage, rows = Stage(bundle, engine), joined(records, two_inputs.INPUTS)
        (whole,) = stage.run(rows)
        (split,) = stage.run(stage.run(rows[:1], 0, 1)[0], 1)
        with pytest.raises(UnsupportedShape, match="cut 0 takes uint8"):
            stage.run(records["picture"])
    np.testing.assert_allclose(whole, made.truth(records), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(split, made.truth(records)[:1], rtol=1e-5, atol=1e-5)


def test_noise_is_something_that_the_model_can_be_run_on(made: two_inputs.TwoInputs, engine: Engine) -> None:
    with Bundle.open(made.path) as bundle:
        rows = input_noise(bundle.manifest, 4, np.random.default_rng(0))
        assert np.isfinite(Stage(bundle, engine).run(rows)[0]).all()
        assert len(np.unique(rows, axis=0)) == 4


def test_items_of_models_of_one_input_stay_as_they_are(tiny_bundle: TinyBundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        assert row_of(tiny_bundle.items[0], bundle.manifest) is tiny_bundle.items[0]
        assert bundle.manifest.takes == (bundle.manifest.input,)
        assert b'"inputs"' not in bundle.manifest.to_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inputs": two_inputs.INPUTS[:1]}, "2 to 64 tensors"),
        ({"inputs": (two_inputs.PICTURE, two_inputs.PICTURE)}, "different names"),
        ({"inputs": two_inputs.INPUTS[:2]}, "which input does not declare"),
    ],
)
def test_inputs_that_contradict_the_first_cut_are_refused(
    made: two_inputs.TwoInputs, change: dict[str, object], why: str
) -> None:
    with Bundle.open(made.path) as bundle:
        wrong = bundle.manifest.model_copy(update=change).to_bytes()
    with pytest.raises(BundleInvalid, match=why):
        read_manifest(wrong)


def test_the_bundle_is_whole(made: two_inputs.TwoInputs) -> None:
    with Bundle.open(Path(made.path)) as bundle:
        bundle.verify_all()
        assert [spec.name for spec in bundle.manifest.takes] == ["picture", "readings", "step"]
