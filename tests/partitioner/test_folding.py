"""Networks around a compressor give the same without normalisations of their own, and are cheaper to run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from partitioner.api import partition
from partitioner.compressors.folding import folded


class Block(nn.Module):
    """Convolutions with and without offsets, a shortcut, and one whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=4), nn.BatchNorm2d(8, affine=False))
        self.twice = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=0.1)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.deep(self.stem(x)))
        y = self.twice(x)
        answer: Tensor = self.last((self.norm(y) + y).mean((2, 3)))
        return answer


def network() -> Block:
    """With statistics off their start."""
    torch.manual_seed(0)
    made = Block().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3.0)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return made


def normalisations(module: nn.Module) -> int:
    return sum("batch_norm" in str(node.target) for node in module.graph.nodes)  # type: ignore[union-attr]


def test_answers_and_gradients_stay_and_normalisations_of_one_convolution_go() -> None:
    net, x = network(), torch.randn(6, 3, 12, 12)
    head, tail = partition(net, x[:2], cuts=["stem"]).segments
    assert [normalisations(one) for one in (head, tail)] == [1, 2]
    light_head, light_tail = folded(head), folded(tail)
    assert [normalisations(one) for one in (light_head, light_tail)] == [0, 1]
    found, expected = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    answer, truth = light_tail(light_head(found)), net(expected)
    torch.testing.assert_close(answer, truth, rtol=1e-4, atol=1e-5)
    (answer.square().sum() + truth.square().sum()).backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-4)


def test_the_partition_keeps_its_own_and_other_modules_are_left_as_they_are() -> None:
    net, x = network(), torch.randn(2, 3, 12, 12)
    head = partition(net, x, cuts=["stem"]).segments[0]
    folded(head)
    assert normalisations(head) == 1
    assert folded(net) is net
