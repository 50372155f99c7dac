"""Frozen parts of a network without their normalisations: fewer passes over memory in each step of a training.

What lies around a compressor is run forwards for the teacher, and forwards and backwards for what is restored, many
thousands of times, and never changes. In evaluation mode a normalisation behind a convolution is a factor and an offset
for each channel, and so a part of that convolution (Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", CVPR 2018, section 3.2).
"""

from __future__ import annotations

import operator
from copy import deepcopy
from operator import attrgetter
from typing import Final

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_CONVOLUTION: Final = torch.ops.aten.conv2d.default
_NORMALISATION: Final = torch.ops.aten._native_batch_norm_legit_no_training.default


def folded(segment: nn.Module) -> nn.Module:
    """A copy that gives the same but for rounding; the module itself where it is no captured graph.

    Args:
        segment: of a partition, in evaluation mode.
    """
    if not isinstance(segment, fx.GraphModule):
        return segment
    made = deepcopy(segment)
    for node in list(made.graph.nodes):
        if _folds(node):
            _fold(made, node)
    made.graph.eliminate_dead_code()
    made.recompile()
    return made.eval()


def _folds(node: fx.Node) -> bool:
    """Whether this is a normalisation with fixed statistics of what one convolution gives to nothing else."""
    if node.target is not _NORMALISATION or not isinstance(node.args[0], fx.Node):
        return False
    convolution = node.args[0]
    return (
        convolution.target is _CONVOLUTION
        and len(convolution.users) == 1
        and all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)
        and all(one is None or _is_constant(one) for one in (*node.args[1:5], *convolution.args[1:3]))
    )


def _is_constant(node: object) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _fold(made: fx.GraphModule, node: fx.Node) -> None:
    convolution = node.args[0]
    assert isinstance(convolution, fx.Node)
    source, weight, bias, *how = (*convolution.args, None)[: max(len(convolution.args), 3)]
    scale, offset, mean, variance = (_tensor(made, one) for one in node.args[1:5])
    kernel, epsilon = _tensor(made, weight), node.args[6]
    assert kernel is not None
    assert mean is not None
    assert variance is not None
    assert isinstance(epsilon, float)
    of_both = fuse_conv_bn_weights(kernel, _tensor(made, bias), mean, variance, epsilon, scale, offset)
    with made.graph.inserting_before(convolution):
        constants = []
        for kind, value in zip(("weight", "bias"), of_both, strict=True):
            name = f"folded_{convolution.name}_{kind}"
            made.register_buffer(name, value.detach())
            constants.append(made.graph.get_attr(name))
    convolution.args = (source, *constants, *how)
    for first in list(node.users):  # of what it gives, the rest is empty
        first.replace_all_uses_with(convolution)
        made.graph.erase_node(first)
    made.graph.erase_node(node)


def _tensor(made: fx.GraphModule, node: object) -> Tensor | None:
    if not isinstance(node, fx.Node):
        return None
    found: Tensor = attrgetter(str(node.target))(made)
    return found
