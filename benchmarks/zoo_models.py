"""The networks of the zoo: how to make each one, as its library ships it, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partitioner.torchvision_shim import declare_missing_operators

BATCH = 4


@dataclass(frozen=True)
class Entry:
    """One network. `example` makes its inputs, [batch, ...]."""

    name: str
    make: Callable[[], nn.Module]
    example: Callable[[], Tensor]
    kind: str


def _torchvision(name: str, size: int = 64, kind: str = "CNN", **options: object) -> Entry:
    def make() -> nn.Module:
        declare_missing_operators()
        from torchvision import models

        settings = {"weights": None, **options}
        if kind == "segmentation":
            settings["weights_backbone"] = None
        return models.get_model(name, **settings)

    return Entry(f"torchvision/{name}", make, lambda: _pictures(size), kind)


def _timm(name: str, size: int = 64, kind: str = "CNN", **options: object) -> Entry:
    def make() -> nn.Module:
        declare_missing_operators()
        import timm

        return timm.create_model(name, pretrained=False, **options)

    return Entry(f"timm/{name}", make, lambda: _pictures(size), kind)


def _pictures(size: int) -> Tensor:
    return torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))


def _pyramid() -> nn.Module:
    declare_missing_operators()
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)


class TextTransformer(nn.Module):
    """Six encoder layers over 32 tokens, classified by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 64)
        self.positions = nn.Parameter(torch.zeros(1, 32, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.classifier = nn.Linear(64, 8)

    def forward(self, tokens: Tensor) -> Tensor:  # int64 [batch, 32]
        x = self.encoder(self.embedding(tokens) + self.positions)
        return self.classifier(x.mean(1))


class SensorNetwork(nn.Module):
    """Dilated residual convolutions over 6 channels of 256 samples of an inertial sensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(6, 32, 7, stride=2, padding=3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(32, 32, 3, padding=2**n, dilation=2**n), nn.BatchNorm1d(32), nn.ReLU())
            for n in range(5)
        )
        self.classifier = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        return self.classifier(x.mean(2))


def _tokens() -> Tensor:
    return torch.randint(0, 1000, (BATCH, 32), generator=torch.Generator().manual_seed(0))


def _samples() -> Tensor:
    return torch.randn(BATCH, 6, 256, generator=torch.Generator().manual_seed(0))


TOKENS = "tokens"
ENTRIES: tuple[Entry, ...] = (
    _torchvision("mobilenet_v2"),
    _torchvision("mobilenet_v3_small"),
    _torchvision("resnet18"),
    _torchvision("shufflenet_v2_x0_5"),
    _torchvision("squeezenet1_1"),
    _torchvision("mnasnet0_5"),
    _timm("mobilenetv4_conv_small"),
    _timm("ghostnetv2_100"),
    _timm("repvgg_a0"),
    Entry("text transformer", TextTransformer, _tokens, TOKENS),
    Entry("sensor network, 1-D", SensorNetwork, _samples, "1-D"),
    Entry("torchvision/resnet18 with pyramid", _pyramid, lambda: _pictures(64), "pyramid"),
    _torchvision("alexnet", 96),
    _torchvision("vgg11_bn"),
    _torchvision("resnet50"),
    _torchvision("resnext50_32x4d"),
    _torchvision("densenet121"),
    # On 96 pixels its last maps are single points: statistics of four values, through which rounding grows.
    _torchvision("inception_v3", 160, aux_logits=False, init_weights=False),
    _torchvision("googlenet", aux_logits=False, init_weights=False),
    _torchvision("mobilenet_v3_large"),
    _torchvision("mnasnet1_0"),
    _torchvision("efficientnet_b0"),
    _torchvision("efficientnet_v2_s"),
    _torchvision("regnet_x_400mf"),
    _torchvision("regnet_y_400mf"),
    _torchvision("shufflenet_v2_x1_0"),
    _torchvision("squeezenet1_0"),
    _torchvision("convnext_tiny"),
    _torchvision("vit_b_16", 64, TOKENS, image_size=64),
    _torchvision("swin_t", 64, TOKENS),
    _torchvision("swin_v2_t", 64, TOKENS),
    _torchvision("deeplabv3_mobilenet_v3_large", 64, "segmentation"),
    _torchvision("lraspp_mobilenet_v3_large", 64, "segmentation"),
    _torchvision("fcn_resnet50", 64, "segmentation"),
    _timm("mobilenetv1_100"),
    _timm("mobilenetv4_hybrid_medium", 64),
    _timm("fbnetc_100"),
    _timm("fbnetv3_b"),
    _timm("ghostnet_100"),
    _timm("efficientnet_lite0"),
    _timm("tinynet_e"),
    _timm("lcnet_050"),
    _timm("mixnet_s"),
    _timm("hardcorenas_a"),
    _timm("repvit_m0_9"),
    _timm("mobileone_s0"),
    _timm("fastvit_t8", 64),
    _timm("edgenext_xx_small", 64),
    _timm("convnextv2_atto"),
    _timm("inception_next_atto"),
    _timm("poolformer_s12"),
    _timm("vit_tiny_patch16_224", 64, TOKENS, img_size=64),
    _timm("deit_tiny_patch16_224", 64, TOKENS, img_size=64),
    _timm("swin_tiny_patch4_window7_224", 112, TOKENS, img_size=112),
    _timm("pit_ti_224", 224, TOKENS),
    _timm("levit_128s", 224, TOKENS),
    _timm("efficientformer_l1", 224, TOKENS),
    _timm("efficientformerv2_s0", 224, TOKENS),
    _timm("efficientvit_b0", 64, TOKENS),
    _timm("efficientvit_m0", 224, TOKENS),
    _timm("shvit_s1", 128, TOKENS),
    _timm("mobilevit_xxs", 64, TOKENS),
    _timm("mobilevitv2_050", 64, TOKENS),
    _timm("mixer_s32_224", 224, TOKENS),
    _timm("darknet53"),
    _timm("cspresnet50"),
    _timm("dla34"),
    _timm("res2net50_26w_4s"),
    _timm("resnest14d"),
    _timm("skresnet18"),
    _timm("seresnet50"),
    _timm("hrnet_w18_small"),
    _timm("selecsls42b"),
    _timm("vovnet39a"),
    _timm("rexnet_100"),
)
"""The first twelve are the default tests'."""
IN_TESTS = ENTRIES[:12]


def unsettle(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Give every parameter a random value and every statistic one that keeps activations in range; in evaluation mode.

    As shipped without weights, many networks start as constants: last scales of zero, layer scales of 1e-6.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = name.rsplit(".", 1)[-1] not in ("bias", "beta") and parameter.numel() == max(parameter.shape)
            if scale:
                parameter.copy_(1.0 + 0.2 * noise)
            elif parameter.dim() < 2:
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(noise / math.sqrt(max(1, parameter[0].numel())))
    _measure_statistics(model, inputs)
    return model.eval()


def _measure_statistics(model: nn.Module, inputs: Tensor) -> None:
    """Batch statistics of the inputs themselves, layer after layer, so that deep activations keep their spread."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        model(inputs)
    for norm in norms:
        norm.momentum = 0.1
        if norm.running_var is not None:
            norm.running_var.clamp_(min=1e-3)
