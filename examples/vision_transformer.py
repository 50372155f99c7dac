"""A vision transformer that drops tokens: each block's output is a cut, and behind the pruning less crosses.

python examples/vision_transformer.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import isthmus


class Pruned(nn.Module):
    """Two blocks on all tokens, then two on the quarter that has the largest norm."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.wide = nn.Sequential(self.block(width), self.block(width))
        self.narrow = nn.Sequential(self.block(width), self.block(width))
        self.head = nn.Linear(width, 10)

    @staticmethod
    def block(width: int) -> nn.Module:
        return nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True, norm_first=True)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.wide(self.patches(pictures).flatten(2).transpose(1, 2) + self.places)  # [batch, 64, width]
        kept = tokens.norm(dim=-1).topk(16, dim=1).indices  # [batch, 16]
        tokens = tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        answer: Tensor = self.head(self.narrow(tokens).mean(1))
        return answer


torch.manual_seed(0)
parts = isthmus.partition(
    Pruned().eval(), torch.rand(1, 3, 64, 64), cuts=lambda cuts: [c for c in cuts if c.macs_before]
)
print(parts)

# Cuts can be chosen by their figures: here the first place where less crosses than in front, behind the pruning.
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
pruned = next(cut for cut in parts.cuts if cut.bytes < parts.cuts[0].bytes)
chosen = isthmus.partition(Pruned().eval(), torch.rand(1, 3, 64, 64), cuts=["wide.0", pruned.name])
manifest = chosen.save(folder / "vit.bundle", model_id="pruned-vit", overwrite=True)
print({cut.after: cut.tensor.nbytes for cut in manifest.cuts})
