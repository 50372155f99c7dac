"""As `gained`, with a mean and a scale for each symbol instead of one distribution for each channel.

D. Minnen, J. Ballé and G. Toderici, "Joint autoregressive and hierarchical priors for learned image compression",
NeurIPS 2018; its use for features under distillation follows FrankenSplit (A. Furutanpey, P. Raith and S. Dustdar,
"FrankenSplit: efficient neural feature compression with shallow variational bottleneck injection for mobile edge
computing", IEEE Trans. Mobile Computing 2024).
"""

from __future__ import annotations

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.hyperprior import HyperBottleneck
from partitioner.compressors.methods.gained import together
from partitioner.compressors.methods.method import Phase


class Hyperprior:
    """See above."""

    name = "hyperprior"

    def make(self, shape: Shape) -> Bottleneck:
        return HyperBottleneck(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("together", 1.0, together),)
