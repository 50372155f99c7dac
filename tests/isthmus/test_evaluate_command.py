"""Calibrating a model and evaluating the bundle, by the command, as a person would."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from isthmus.cli.main import app
from isthmus.evaluation.errors import BadItems
from isthmus.evaluation.items import read_items, read_labels
from runtime.bundle import Bundle
from tests.runtime.tiny_bundle import TinyBundle

NETWORK = '''
import torch
from torch import nn


class Net(nn.Module):
    """Pictures to five logits: colours at two scales."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU())
        self.last = nn.Linear(16, 5)

    def forward(self, x):
        x = self.deep(self.stem(x.permute(0, 3, 1, 2).float() / 127.5 - 1))
        return self.last(x.mean((2, 3)))


def make():
    return Net().eval()


def wrong():
    return 3
'''
runner = CliRunner()
pytestmark = pytest.mark.timeout(600)  # seconds of work, but a busy machine may stretch them


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Smooth colours, uint8 [count, 32, 32, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in coarse])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the network's module and two folders of pictures."""
    (tmp_path / "made_up_networks.py").write_text(NETWORK)
    for name, count, seed in (("seen", 40, 1), ("fresh", 30, 2)):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures(count, seed)):
            Image.fromarray(picture).save(tmp_path / name / f"{number:03}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("made_up_networks", None)


@pytest.mark.slow
def test_a_model_is_calibrated_and_its_bundle_evaluated_beside_what_one_would_send_otherwise(folder: Path) -> None:
    made = runner.invoke(
        app,
        [
            "train",
            "--method",
            "calibrated",
            "made_up_networks:make",
            "--items",
            "seen",
            "--side",
            "32",
            "--cut",
            "deep",
        ],
        catch_exceptions=False,
    )
    assert made.exit_code == 0, made.output
    told = runner.invoke(
        app,
        [
            *("evaluate", "calibrated.bundle", "--items", "fresh", "--draws", "40", "--json", "--page", "curves.html"),
            *("--model", "made_up_networks:make", "--tune", "seen", "--tune-steps", "2"),
            *("--small", "made_up_networks:make", "--risk", "0.3"),
        ],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert (found["items"], found["quality"], found["whole"]) == (30, "agreement", 1.0)
    methods = {row["method"] for row in found["rows"]}
    assert {"cut 0 jpeg", "cut 1 learned", "cut 1 zstd", "k bits + zstd at cut 1"} <= methods
    assert "jpeg of the picture, stock classifier" in methods
    ours = [row for row in found["rows"] if row["method"] == "cut 1 learned"]
    assert [row["bytes"] for row in ours] == sorted(row["bytes"] for row in ours)
    head = 12 * 3 * 9 * 16 * 16 + 16 * 12 * 9 * 8 * 8  # of the two convolutions in front of the cut
    assert {row["device_macs"] - head for row in found["rows"] if row["method"] == "cut 1 zstd"} == {0}
    assert all(row["device_macs"] > head for row in ours)
    exact = [row["agreement"] for row in found["rows"] if row["method"] == "cut 1 zstd"]
    assert exact == [1.0]
    for one in found["differences"]:
        low, high = one["interval"]
        assert low <= high
    assert found["leaks"] == []
    (local,) = [row for row in found["rows"] if row["method"] == "small model on the device, nothing sent"]
    assert (local["bytes"], local["agreement"]) == (0.0, 1.0), "it is the same model here"
    tuned = [row for row in found["rows"] if "tuned" in row["method"]]
    stock = {(row["method"], row["level"]): row["bytes"] for row in found["rows"] if "tuned" not in row["method"]}
    assert len({row["method"] for row in tuned}) >= 3
    for row in tuned:
        name = row["method"].replace("tuned classifier", "stock classifier").replace(", tuned tail", "")
        assert row["bytes"] == stock[name, row["level"]]
    (level,) = [one for one in found["promises"] if one["place"] == "level of cut 1"]
    assert level["promise"]["observed"] <= 0.3
    page = (folder / "curves.html").read_text(encoding="utf-8")
    assert all(row["method"] in page for row in found["rows"])
    assert "http" not in page


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--model", "a:b"], "give both or none"),
        (["--tune", "x"], "give both or none"),
    ],
)
def test_options_that_need_others_say_which(
    tiny_bundle: TinyBundle, tmp_path: Path, given: list[str], words: str
) -> None:
    np.save(tmp_path / "items.npy", np.concatenate(tiny_bundle.items))
    told = runner.invoke(app, ["evaluate", str(tiny_bundle.path), "--items", str(tmp_path / "items.npy"), *given])
    assert told.exit_code == 2
    assert words in " ".join(told.output.replace("│", " ").split()), "in the lines of a box"


def test_figures_are_recorded_in_a_bundle_with_bytes_and_agreement(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.concatenate(tiny_bundle.items))
    shutil.copytree(tiny_bundle.path, tmp_path / "copy.bundle")
    told = runner.invoke(
        app,
        ["evaluate", str(tmp_path / "copy.bundle"), "--items", str(tmp_path / "items.npy"), "--record", "--json"],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    rows = [row for row in json.loads(told.stdout)["rows"] if row["method"].startswith("cut ")]
    with Bundle.open(tmp_path / "copy.bundle") as bundle:
        levels = [level.measured for cut in bundle.manifest.cuts for level in cut.levels]
        whole = bundle.manifest.measured
    assert whole is not None
    assert whole.accuracy == 1.0
    assert sorted((m.payload_bytes, m.agreement) for m in levels if m) == sorted(
        (r["bytes"], r["agreement"]) for r in rows
    )


def test_what_leads_nowhere_is_said_in_one_sentence(folder: Path) -> None:
    from isthmus.training.named import NoSuchModel, model_named

    for name, words in (
        ("made_up_networks", "names no function"),
        ("no_such_networks:make", "no module 'no_such_networks'"),
        ("made_up_networks:missing", "no function 'missing'"),
        ("made_up_networks:wrong", "returned a int"),
    ):
        with pytest.raises(NoSuchModel, match=words):
            model_named(name)


def test_samples_are_read_from_folders_and_arrays_and_nothing_is_unpickled(folder: Path) -> None:
    found = read_items(folder / "seen", 5, side=(16, 24))
    assert (found.shape, found.dtype) == ((5, 16, 24, 3), np.uint8)
    np.save("items.npy", np.zeros((7, 3), np.float32))
    assert read_items(folder / "items.npy", 4).shape == (4, 3)
    np.save("labels.npy", np.arange(7))
    assert read_labels(folder / "labels.npy", 4).tolist() == [0, 1, 2, 3]
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "empty").mkdir()
    (folder / "seen" / "+.png").write_bytes(b"no picture")
    for path, words in (
        ("objects.npy", "cannot be read"),
        ("missing.npy", "cannot be read"),
        ("empty", "holds no picture"),
        ("seen", "png cannot be read as a picture"),
    ):
        with pytest.raises(BadItems, match=words):
            read_items(folder / path, 5, side=(8, 8))
    with pytest.raises(BadItems, match="one integer for each of 9"):
        read_labels(folder / "labels.npy", 9)
