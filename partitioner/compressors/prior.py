"""CompressAI's factorised prior with the same parameters and figures, in half of its operations.

J. Ballé, D. Minnen, S. Singh, S. J. Hwang and N. Johnston, "Variational image compression with a scale hyperprior"
(ICLR 2018), appendix 6.1: each channel's cumulative distribution is a small monotone network of the value. CompressAI
runs that network twice for each symbol, at both ends of its interval, one small operation after the other; a training
on a CPU spends a quarter of its time there. Here both ends go through it together, and always in float32: in bfloat16,
which training uses elsewhere, differences of neighbouring values vanish.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from partitioner.torchvision_shim import declare_missing_operators

declare_missing_operators()

with warnings.catch_warnings():  # of what CompressAI imports for point clouds
    warnings.simplefilter("ignore", DeprecationWarning)
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional

__all__ = ["EntropyBottleneck", "GaussianConditional", "Prior"]


class Prior(EntropyBottleneck):  # type: ignore[misc]
    """As CompressAI's; checkpoints of one are checkpoints of the other."""

    def _likelihood(self, inputs: Tensor, stop_gradient: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Of each value of [channels, 1, values]: the share of its unit interval, and the logits of both ends."""
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.float()
            both = torch.cat([inputs - 0.5, inputs + 0.5], 2)
            lower, upper = self._logits_cumulative(both, stop_gradient).chunk(2, 2)
            return torch.sigmoid(upper) - torch.sigmoid(lower), lower, upper

    def _logits_cumulative(self, inputs: Tensor, stop_gradient: bool) -> Tensor:
        """Logits of the cumulative distribution, of the shape of `inputs`."""
        matrices, biases, factors = (
            [one.detach() for one in group] if stop_gradient else list(group)
            for group in (self.matrices, self.biases, self.factors)
        )
        logits = inputs
        for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            logits = torch.baddbmm(bias, F.softplus(matrix), logits)
            if layer < len(factors):
                logits = torch.addcmul(logits, torch.tanh(factors[layer]), torch.tanh(logits))
        return logits
