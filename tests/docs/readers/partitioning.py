"""What the reader of docs/partitioning.md has: inputs, networks, a profile of a device, and a package of their own."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy
import torch
from torch import nn

import isthmus
from partitioner.metrics import Top1
from partitioner.torchvision_shim import declare_missing_operators
from runtime.inputs import joined, record_type  # noqa: F401

declare_missing_operators()
from torchvision.models import resnet18  # noqa: E402

resnet, example = resnet18(weights=None).eval(), torch.rand(1, 3, 32, 32)


class Robot(nn.Module):
    """A picture and two readings, joined behind the eye."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.out = nn.Linear(4 * 9 + 2, 6)

    def forward(self, picture: torch.Tensor, reading: torch.Tensor) -> torch.Tensor:
        seen = self.eye(picture.permute(0, 3, 1, 2).float() / 255)
        return self.out(torch.cat([seen, reading], 1))


robot = Robot().eval()
picture, readings = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8), torch.randn(1, 2)

small = nn.Sequential(
    nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 10)
).eval()
isthmus.partition(small, example, cuts=["1", "3"]).save("my.bundle", model_id="mine")
isthmus.partition(small, example).save("everywhere.bundle", model_id="everywhere")
Path("profiles").mkdir()
command = [Path(sys.executable).with_name("isthmus"), "profile", "everywhere.bundle", "--seconds", "1"]
subprocess.run([*command, "--no-memory", "--output", "profiles/pi4.json"], check=True, stdout=subprocess.DEVNULL)

pictures = numpy.random.default_rng(0).random((40, 3, 32, 32), numpy.float32)
metric = Top1()
truths = [(numpy.array(0),)] * 40

# What installing a package leaves, of the package that the page shows.
points = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"]
installed = Path("my_package-1.0.dist-info")
installed.mkdir()
(installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
lines = [f"{name} = {to}" for name, to in points["isthmus.postprocessors"].items()]
(installed / "entry_points.txt").write_text("\n".join(["[isthmus.postprocessors]", *lines, ""]))
