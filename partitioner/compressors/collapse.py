"""An early warning: a bottleneck that says the same about every sample has collapsed; more training seldom helps."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LEAST_SHARE: Final = 0.02
"""Of the variation between samples that must survive."""


def surviving_share(restored: Tensor, activation: Tensor) -> float:
    """How much of the variation between samples, the mean square distance from their mean, comes back; about 0 to 1.

    Args:
        restored: [batch, ...]; activation: the same shape, before compression.
    """
    with torch.no_grad():
        before, after = ((x.float() - x.float().mean(0)).square().mean() for x in (activation, restored))
    return float(after / before.clamp_min(1e-12))


def warning_of(share: float, step: int, steps: int) -> str | None:
    """What to tell a person, or None while all is well."""
    if share >= LEAST_SHARE:
        return None
    return (
        f"only {share:.1%} of what differs between samples passes the bottleneck after {step} of {steps} steps: it "
        "has collapsed to a constant; lower bit_weights, raise latent, or normalise the encoder's last layer"
    )
