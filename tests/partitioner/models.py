"""Small networks of different kinds, with weights and statistics that make outputs vary with the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class Residual(nn.Module):
    """One activation module called twice, an in-place addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.first(x)))
        y += x
        return self.relu(y)


class ResidualNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, stride=2)
        self.layer1 = Residual(16)
        self.layer2 = Residual(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.head(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = inputs * 2
        self.conv = nn.Sequential(
            conv(inputs, wide, 1),
            conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class PhotoNet(nn.Module):
    """The built-in model's kind: uint8 pixels in, normalised inside; the batch size is read early and used late."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 8, stride=2), InvertedResidual(8, 8, 1), InvertedResidual(8, 16, 2), InvertedResidual(16, 16, 1)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16 * 16, 10))

    def forward(self, pixels: Tensor) -> Tensor:  # uint8 [batch, 32, 32, 3]
        batch = pixels.shape[0]
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 4)
        return self.classifier(x.reshape(batch, -1))


class Branches(nn.Module):
    """Two branches of different depth that meet again, and a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Sequential(nn.Conv2d(8, 4, 1), nn.GELU(), nn.Conv2d(4, 8, 1))
        self.join = nn.Conv2d(16, 8, 1)
        self.tail = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.stem(x))
        x = self.join(torch.cat([self.left(x), self.right(x)], 1))
        pooled = x.amax((2, 3))
        return {"logits": self.tail(pooled), "pooled": pooled * 2}


class TokenNet(nn.Module):
    """Attention over patches with positions, and a class token that is expanded to the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.block(x))[:, 0])


class TiedNet(nn.Module):
    """Two layers share one large weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 3))


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with batch statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=generator) - 0.5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()
