"""What capturing refuses, and that it leaves the user's model alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from partitioner.api import Partition, partition
from partitioner.capture import capture
from partitioner.errors import (
    ExampleRejected,
    ModelInTrainingMode,
    NotExportable,
    TooManyCuts,
    UnsupportedModel,
)
from partitioner.hooks import refuse_side_effects
from tests.partitioner.conftest import IMAGES, PIXELS, Saved
from tests.partitioner.models import PhotoNet, ResidualNet, settled


def test_the_users_model_is_not_changed() -> None:
    model = settled(PhotoNet())
    handle = model.features.register_forward_hook(lambda module, inputs, output: output + 1.0)
    before = copy.deepcopy(model.state_dict())
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    answer = model(PIXELS)
    parts = partition(model, PIXELS[:1], cuts=["features.0"])
    parts.run(PIXELS.clone())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert pointers == [parameter.data_ptr() for parameter in model.parameters()]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert list(model.features._forward_hooks) == [handle.id]
    assert torch.equal(model(PIXELS), answer)


def test_training_the_parts_does_not_reach_the_users_parameters() -> None:
    model = settled(ResidualNet())
    parts = partition(model, IMAGES[:1], cuts=["layer1"])
    assert not any(parameter.requires_grad for segment in parts.segments for parameter in segment.parameters())
    own = {parameter.data_ptr() for parameter in model.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for segment in parts.segments for parameter in segment.parameters())


def test_a_model_in_training_mode_is_refused_and_the_module_named() -> None:
    with pytest.raises(ModelInTrainingMode, match=r"the model is in training mode.*model.eval\(\)"):
        capture(ResidualNet(), IMAGES)
    model = ResidualNet().eval()
    model.layer2.train()
    with pytest.raises(ModelInTrainingMode, match="'layer2'"):
        capture(model, IMAGES)


def test_an_example_that_the_model_rejects_is_told_with_shape_and_line() -> None:
    with pytest.raises(ExampleRejected, match=r"\(1, 4, 8, 8\).*model\(example\)"):
        capture(ResidualNet().eval(), torch.randn(1, 4, 8, 8))
    with pytest.raises(ExampleRejected, match="NaN"):
        capture(ResidualNet().eval(), torch.full((1, 3, 8, 8), float("nan")))


@pytest.mark.parametrize("example", [torch.zeros(0, 3), (), torch.tensor(1.0), (torch.zeros(1, 2), torch.zeros(2, 2))])
def test_an_example_without_a_batch_axis_is_refused(example: Tensor) -> None:
    with pytest.raises(UnsupportedModel, match="batch"):
        capture(nn.Identity().eval(), example)


class ReadsValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1).relu()


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.relu() + self.calls


class ReturnsText(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x.relu(), "done"


class Constant(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.relu(), torch.ones(3)


class NoOnnx(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x.relu() @ x.transpose(1, 2))


def test_a_branch_on_values_names_the_line() -> None:
    with pytest.raises(NotExportable, match=r"test_capture.py:\d+ `if x.sum\(\) > 0:`") as caught:
        capture(ReadsValues().eval(), torch.randn(2, 3))
    assert caught.value.line


def test_a_fixed_batch_size_is_refused() -> None:
    with pytest.raises((NotExportable, ExampleRejected), match=r"reshape|batch"):
        capture(FixedBatch().eval(), torch.randn(2, 6))


def test_a_model_that_keeps_state_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="'calls'"):
        capture(Counts().eval(), torch.randn(2, 3))


@pytest.mark.parametrize("model", [ReturnsText(), Constant()])
def test_outputs_that_are_no_function_of_the_input_are_refused(model: nn.Module) -> None:
    with pytest.raises(UnsupportedModel, match="return"):
        capture(model.eval(), torch.randn(2, 3))


def test_an_operator_without_onnx_form_is_named(tmp_path: Path) -> None:
    parts = partition(NoOnnx().eval(), torch.randn(2, 3, 3))
    with pytest.raises(NotExportable, match=r"eigh|eigvalsh"):
        parts.save(tmp_path / "bundle", model_id="none")


class Selects(nn.Module):
    """As many rows as there are positive sums."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.relu()
        return y[y.sum(1) > 0]


def test_results_of_varying_length_are_refused_with_the_way_round(tmp_path: Path) -> None:
    parts = partition(Selects().eval(), torch.tensor([[1.0], [-1.0], [2.0]]))
    with pytest.raises((UnsupportedModel, NotExportable), match=r"post-processor that is installed on the tiers"):
        parts.save(tmp_path / "bundle", model_id="selects")


class WithoutOperators(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("Couldn't load custom C++ ops. This can happen if versions are incompatible")


def test_missing_operators_of_detectors_are_named_with_line_and_way_round() -> None:
    with pytest.raises(NotExportable, match=r"nms.*test_capture.py:\d+ `raise.*SingleShotDetector") as caught:
        capture(WithoutOperators().eval(), torch.randn(2, 3))
    assert caught.value.operator == "torchvision::nms"


def test_more_cuts_than_a_bundle_holds_are_refused(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    parts = saved("perceptron").partition
    many = Partition(parts.graph, parts.every_cut.cuts, parts.every_cut.cuts * 100)
    with pytest.raises(TooManyCuts, match="254"):
        many.save(tmp_path / "bundle", model_id="deep")


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(3, 4), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.out(torch.relu(self.left(left) + self.right(right)))


def test_a_model_of_two_inputs_is_cut_behind_their_meeting() -> None:
    model, example = Sums().eval(), (torch.randn(1, 3), torch.randn(1, 5))
    parts = partition(model, example)
    assert [cut.name for cut in parts.cuts] == ["/add", "/relu"]
    inputs = torch.randn(6, 3), torch.randn(6, 5)
    assert torch.allclose(parts.run(*inputs), model(*inputs), atol=1e-6)


def test_parameters_on_several_devices_are_refused() -> None:
    model = Sums().eval()
    model.left.to("meta")
    with pytest.raises(UnsupportedModel, match=r"several devices \(cpu, meta\).*model\.cpu\(\)"):
        capture(model, (torch.randn(1, 3), torch.randn(1, 5)))


class Counting:
    """A hook that changes nothing but itself."""

    calls = 0

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.calls += 1


def test_a_hook_that_is_there_for_its_side_effects_is_named_with_its_module() -> None:
    model = Sums().eval()
    model.left.register_forward_hook(lambda module, inputs, output: 2 * output)
    handle = model.out.register_forward_hook(Counting())
    example = torch.randn(2, 3), torch.randn(2, 5)
    with pytest.raises(UnsupportedModel, match=r"hook 'Counting' on module 'out' changes nothing.*remove\(\)"):
        capture(model, example)
    handle.remove()
    parts = partition(model, example)
    assert torch.allclose(parts.run(*example), model(*example), atol=1e-6), "the other hook is part of the model"


def test_torchs_own_hooks_that_renew_weights_are_no_side_effects() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    model[0].register_forward_pre_hook(RenewsNothing())
    refuse_side_effects(model, [torch.randn(2, 3)])


class RenewsNothing:
    """As torch's hooks of weight and spectral norm: without it, the answer of one call is the same."""

    __module__ = "torch.nn.utils.weight_norm"

    def __call__(self, module: nn.Module, inputs: object) -> None:
        module.weight.data.copy_(module.weight.data)
