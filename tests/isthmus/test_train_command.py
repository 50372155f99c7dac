"""`isthmus train RECIPE.toml` as a person would use it: on folders of pictures, and on a data set of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from isthmus.cli.main import app
from isthmus.cli.train import with_command
from isthmus.evaluation.errors import BadItems
from isthmus.training.named import NoSuchModel
from isthmus.training.recipe import Data, Recipe
from isthmus.training.samples import read, varied
from partitioner.compressors.errors import InvalidRecipe
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import engine_named
from runtime.errors import SettingsError
from runtime.manifest import LearnedLevel

NETWORK = '''
import torch
from torch import nn


class Net(nn.Module):
    """Pictures to two logits: red or blue."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.last = nn.Linear(3, 2)
        self.mix = nn.Conv2d(8, 3, 1)
        with torch.no_grad():
            for layer in (self.stem[0], self.deep[0]):
                layer.weight.zero_()
                layer.bias.zero_()
                for channel in range(3):
                    layer.weight[channel, channel] = 1 / 9
            self.mix.weight.zero_()
            self.mix.bias.zero_()
            for channel in range(3):
                self.mix.weight[channel, channel] = 1.0
            self.last.weight.copy_(torch.tensor([[9.0, 0.0, -9.0], [-9.0, 0.0, 9.0]]))
            self.last.bias.zero_()

    def forward(self, x):
        x = self.mix(self.deep(self.stem(x.permute(0, 3, 1, 2).float() / 255)))
        return self.last(x.mean((2, 3)))


def make():
    return Net().eval()


class Noise:
    def __len__(self):
        return 50

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8, generator=generator), index % 2


def noise():
    return Noise()


def nothing():
    return 3
'''
RECIPE = """
model = "made_up_colours:make"
cut = "stem"
output = "colours.bundle"
work = "work"
[data]
folder = "pictures"
side = 16
mirror = true
[bottleneck]
latent = 4
width = 8
halvings = 1
bit_weights = [1e-2, 1e-3]
[training]
steps = 60
batch = 16
learning_rate = 1e-2
"""
runner = CliRunner()
pytestmark = pytest.mark.timeout(600)  # seconds of work, but a busy machine may stretch them


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a network, its recipe, and pictures in one folder for each class."""
    (tmp_path / "made_up_colours.py").write_text(NETWORK)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    generator = np.random.default_rng(0)
    for name, channel in (("blue", 2), ("red", 0)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(60):
            picture = generator.integers(0, 120, (16, 16, 3), np.uint8)
            picture[..., channel] += 100
            Image.fromarray(picture).save(tmp_path / "pictures" / name / f"{number:03}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("made_up_colours", None)


@pytest.mark.slow
def test_a_recipe_becomes_a_bundle_with_measured_levels(folder: Path) -> None:
    made = runner.invoke(app, ["train", "recipe.toml", "--json"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert found["warnings"] == []
    first, second, *lossless = found["manifest"]["cuts"][1]["levels"]
    assert first["measured"]["payload_bytes"] < second["measured"]["payload_bytes"] < 4 * 8 * 8 * 8 / 20
    assert second["measured"]["agreement"] >= 0.9
    assert [level["measured"]["agreement"] for level in lossless] == [1.0, 1.0]
    assert found["manifest"]["measured"]["items"] == 12


def test_a_data_set_of_ones_own_is_read_item_by_item(folder: Path) -> None:
    seen, fresh = read(Data(dataset="made_up_colours:noise", limit=40), None)
    assert (len(seen), len(fresh)) == (36, 4)
    items, labels = fresh.take(np.arange(4))
    assert (items.shape, items.dtype) == ((4, 16, 16, 3), torch.uint8)
    assert labels is not None
    for item, label in zip(items, labels, strict=True):
        same = [torch.equal(item, sys.modules["made_up_colours"].Noise()[index][0]) for index in range(40)]
        assert same.index(True) % 2 == label


@pytest.mark.long
def test_a_data_set_of_ones_own_trains_another_method_and_a_view(folder: Path) -> None:
    recipe = (
        RECIPE.replace('folder = "pictures"', 'dataset = "made_up_colours:noise"')
        .replace("steps = 60", "steps = 10")
        .replace("halvings = 1", "halvings = 1\nwhole = true")
    )
    (folder / "own.toml").write_text(recipe + "\n[view]\nweight = 0.2\n")
    made = runner.invoke(app, ["train", "own.toml", "--method", "bottlefit"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    with Bundle.open("colours.bundle") as bundle:
        assert bundle.manifest.provenance["codec"] == "bottlefit"
        plain, level, *_ = bundle.manifest.cuts[1].levels
        assert isinstance(plain, LearnedLevel)
        assert isinstance(level, LearnedLevel)
        assert level.latent.shape == (4, 1, 1)
        assert (plain.row, plain.view is None) == (level.row, level.view is not None)
        codec = Codecs(bundle, engine_named("onnxruntime", 1)).at(1, 1)
        assert isinstance(codec, LearnedCodec)
        payload = codec.encode(np.zeros((1, *bundle.manifest.cuts[1].tensor.shape), np.float32))
        assert codec.view(payload).shape == (1, *bundle.manifest.input.shape)


def test_the_command_may_be_left_out() -> None:
    known = {"recipe", "builtin", "calibrated"}
    for given, meant in (
        (["a.toml", "--json"], ["recipe", "a.toml", "--json"]),
        (["--method", "calibrated", "networks:net"], ["calibrated", "networks:net"]),
        (["--method", "ghnd", "a.toml"], ["recipe", "--method", "ghnd", "a.toml"]),
        (["builtin", "--seed", "2"], ["builtin", "--seed", "2"]),
        (["--help"], ["--help"]),
        ([], []),
    ):
        assert with_command(given, known) == meant


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (("cut =", "cutt ="), SettingsError, "unknown key 'cutt'"),
        (("steps = 60", "steps = 1"), SettingsError, "training.steps"),
        (("[1e-2, 1e-3]", "[1e-3, 1e-2]"), SettingsError, "bit_weights"),
        (("[data]", 'method = "magic"\n[data]'), SettingsError, "magic"),
        (('folder = "pictures"', ""), SettingsError, "exactly one of folder"),
        (('folder = "pictures"', 'folder = "nowhere"'), BadItems, "no folder 'nowhere'"),
        (('folder = "pictures"', 'dataset = "made_up_colours:nothing"'), BadItems, "no len"),
        (("made_up_colours:make", "made_up_colours:nothing"), NoSuchModel, "returned a int"),
        (("halvings = 1", "halvings = 4"), InvalidRecipe, "cannot be halved 4 times"),
        (('cut = "stem"', 'cut = "/permute"'), InvalidRecipe, "choose another cut"),
    ],
)
def test_a_recipe_that_cannot_be_cooked_says_why(
    folder: Path, change: tuple[str, str], kind: type[Exception], words: str
) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace(*change))
    with pytest.raises(kind, match=words):
        runner.invoke(app, ["train", "recipe.toml"], catch_exceptions=False)


def test_more_levels_than_a_cut_can_have_are_refused_before_any_training() -> None:
    most = {"bit_weights": tuple(1 / k for k in range(10, 26))}
    told = {"model": "a:b", "cut": "stem", "output": "x", "data": {"items": "x.npy"}, "bottleneck": most}
    assert Recipe.model_validate(told | {"method": "slimmable"}).view is None
    with pytest.raises(ValidationError, match="16 bit_weights make 64 levels"):
        Recipe.model_validate(told | {"method": "slimmable", "view": {}})


def test_the_held_out_tenth_is_disjoint_and_never_varied(folder: Path) -> None:
    np.save("items.npy", np.arange(200 * 4 * 4 * 3, dtype=np.int64).reshape(200, 4, 4, 3))
    seen, fresh = read(Data(items=Path("items.npy"), mirror=True, shift=2), None)
    assert (len(seen), len(fresh)) == (180, 20)
    first = [split.plain().take(np.arange(len(split)))[0][:, 0, 0, 0].tolist() for split in (seen, fresh)]
    assert sorted(first[0] + first[1]) == list(range(0, 200 * 48, 48))
    assert fresh.take(np.arange(20))[0][:, 0, 0, 0].tolist() == first[1]


def test_pictures_move_and_turn_but_keep_what_they_show() -> None:
    pictures = torch.zeros(64, 9, 9, 1, dtype=torch.uint8)
    pictures[:, 4, 3] = 200
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = varied(pictures, mirror=True, shift=2)
    assert (found.sum((1, 2, 3)) == 200).all()
    places = {tuple(place) for place in found[..., 0].nonzero()[:, 1:].tolist()}
    assert {row for row, _ in places} == {2, 3, 4, 5, 6}
    assert {column for _, column in places} == {1, 2, 3, 4, 5, 6, 7}
