"""The prior that trainings use gives CompressAI's figures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from partitioner.compressors.prior import EntropyBottleneck, Prior


def pair() -> tuple[EntropyBottleneck, Prior]:
    """CompressAI's with parameters off their start, and ours with the same."""
    torch.manual_seed(0)
    theirs, ours = EntropyBottleneck(5), Prior(5)
    for parameter in theirs.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def bits(prior: EntropyBottleneck, values: Tensor, training: bool) -> tuple[Tensor, list[Tensor]]:
    """Bits of each value, and gradients of the values and of all parameters that have any."""
    torch.manual_seed(1)
    values = values.clone().requires_grad_(True)
    _, likelihood = prior(values, training=training)
    found = -likelihood.log2()
    prior.zero_grad()
    found.sum().backward()
    assert values.grad is not None
    return found.detach(), [values.grad, *(p.grad for p in prior.parameters() if p.grad is not None)]


@pytest.mark.parametrize("training", [True, False], ids=["noise", "rounded"])
def test_likelihoods_and_gradients_are_those_of_compressai(training: bool) -> None:
    theirs, ours = pair()
    values = 6 * torch.randn(7, 5, 4, 3)
    expected, found = bits(theirs, values, training), bits(ours, values, training)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    assert len(found[1]) == len(expected[1]) > 10
    for mine, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)


def test_likelihoods_do_not_lose_precision_where_training_is_in_few_bits() -> None:
    _, ours = pair()
    values = 6 * torch.randn(7, 5, 4, 3)
    exact, _ = bits(ours, values, False)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = bits(ours, values, False)
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
