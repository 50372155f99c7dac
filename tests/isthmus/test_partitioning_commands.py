"""`isthmus cuts|export|profile|plan|inspect` on a small model and its bundle, as a person types them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from isthmus.cli.main import main
from partitioner.profiling.machine import MachineProfile
from runtime.bundle import Bundle

NETWORK = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 10)
    )
"""
MODEL = "a_network_of_the_test:small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the model's module; the bundle and the profile appear as the tests go."""
    made = tmp_path_factory.mktemp("commands")
    (made / "a_network_of_the_test.py").write_text(NETWORK)
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))


def isthmus(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        assert isthmus("export", MODEL, "--input", "1x3x32x32", "-o", "small.bundle") == 0
    return folder / "small.bundle"


def test_cuts_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert isthmus("cuts", MODEL, "--input", "1x3x32x32", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [cut["after"] for cut in found["cuts"]] == ["0", "1", "2", "3", "4"]
    assert found["cuts"][3] == {
        "after": "3", "also": ["3/relu"], "dtype": "float32", "shape": [4, 7, 7], "tensors": 1, "bytes": 784,
        "macs_before": 48600 + 4 * 49 * 72, "macs_after": 1960,
    }  # fmt: skip


def test_an_exported_bundle_is_cut_where_less_crosses_and_timed(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        opened.verify_all()
        assert [cut.after for cut in opened.manifest.cuts] == ["input", "1", "3"]
        assert len(opened.manifest.profiles[0].segment_s) == 3


@pytest.mark.slow
def test_a_head_of_fewer_bits_is_an_option_of_the_export(
    folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("samples.npy", np.random.default_rng(0).standard_normal((12, 3, 32, 32)).astype(np.float32))
    np.save("labels.npy", np.zeros(12, np.int64))
    given = ["export", MODEL, "--input", "1x3x32x32", "--cut", "1", "--cut", "3", "--no-time", "-o", "narrow.bundle"]
    asked = ["--head", "float16", "--head-after", "1", "--samples", "samples.npy", "--labels", "labels.npy"]
    assert isthmus(*given, *asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)["head"]
    assert told["bits"] == "float16"
    assert told["agreement"] == 1.0
    assert told["quality"] == told["quality_before"]
    with Bundle.open(folder / "narrow.bundle") as opened:
        opened.verify_all()
        assert opened.manifest.provenance["precision"].startswith("float16 in segments 0 to 0")
    assert isthmus(*given, *asked) == 2
    assert "exists already" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_profile_is_written_and_used_by_a_plan(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isthmus("profile", str(bundle), "--watts", "4", "--seconds", "0", "--no-memory", "-o", "here.json") == 0
    measured = MachineProfile.load("here.json")
    assert measured.power is not None
    assert measured.power.watts == 4.0
    capsys.readouterr()
    question = ["--device", "here.json", "--link", "10Mbit 5ms", "--goal", "energy", "--deadline-ms", "1000"]
    assert isthmus("plan", str(bundle), *question, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["sources"]["device"].startswith("measured: on ")
    assert plan["sources"]["power"] == "declared: 4 W of the device"
    assert plan["best"]["hops"] == [{"after": "input", "level": "raw"}]


def test_a_bundle_cannot_be_cut_in_another_order(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isthmus("plan", str(bundle), "--device", "50", "--link", "10Mbit 5ms", "--any-order") == 2
    assert "cuts are made already" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_an_impossible_limit_is_one_sentence(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isthmus("plan", str(bundle), "--device", "50", "--link", "10Mbit 5ms", "--deadline-ms", "0.000001") == 2
    assert "latency_s of at most 1e-09 rules out the last one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cuts", MODEL], "--input 1x3x224x224"),
        (["cuts", MODEL, "--input", "3 by 4"], "is no shape"),
        (["plan", "nothing.bundle", "--link", "10Mbit 5ms", "--input", "1x3"], "names no function"),
        (["plan", MODEL, "--link", "fast"], "10Mbit 40ms"),
        (["profile", "nothing.bundle"], "no bundle at"),
        (["export", MODEL, "--input", "1x3x32x32", "--head", "int8"], "name a folder of pictures or a .npy file"),
        (["export", MODEL, "--input", "1x3x32x32", "--head", "int4", "--samples", "x.npy"], "neither int8 nor float16"),
        (["export", MODEL, "--input", "1x3x32x32", "--samples", "x.npy"], "add --head int8"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_fix(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isthmus(*arguments) in (2, 3)
    told = capsys.readouterr().err
    assert words in " ".join(told.split())


class Reader(HTMLParser):
    """Which elements a page opens and closes, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "meta":
            assert self.open.pop() == tag


def read(page: Path) -> tuple[Reader, str]:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader, text


@pytest.mark.slow
def test_the_page_of_a_bundle_and_its_plan_stands_alone(bundle: Path) -> None:
    assert isthmus("inspect", str(bundle), "--link", "10Mbit 5ms", "--device", "50", "-o", "page.html") == 0
    reader, text = read(Path("page.html"))
    assert reader.loads == []
    assert "script" not in reader.seen
    assert reader.seen.count("svg") == 3
    assert "url(" not in text
    for words in ("Where it is narrow", "Every way to run it", "Time per segment", "all on the device", "declared: 50"):
        assert words in text


def test_the_page_of_a_model_draws_every_operator_and_cut() -> None:
    assert isthmus("inspect", MODEL, "--input", "1x3x32x32", "-o", "model.html") == 0
    reader, text = read(Path("model.html"))
    assert reader.seen.count("svg") == 1
    assert len(re.findall(r'<circle [^>]*class="(?:heavy|light)"', text)) == 7  # the input and six operators
    assert len(re.findall(r'<circle [^>]*class="cut"', text)) == 5
