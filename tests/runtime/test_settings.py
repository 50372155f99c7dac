from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from runtime.errors import SettingsError
from runtime.settings import load_settings


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Folder(Strict):
    kind: Literal["folder"] = "folder"
    path: Path
    rate_hz: Annotated[float, Field(gt=0)] = 10.0
    limit: int | None = None


class Tier(Strict):
    target: str


class Program(Strict):
    name: str
    source: Folder
    edge: Tier | None = None
    bundles: tuple[str, ...] = ()


GOOD = 'name = "cam"\n[source]\npath = "pictures"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "program.toml"
    path.write_text(text)
    return path


def test_file_and_overrides_make_one_object(tmp_path: Path) -> None:
    settings = load_settings(
        Program,
        written(tmp_path, GOOD),
        {"source.rate_hz": "5", "source.limit": 7, "edge.target": "127.0.0.1:7201", "bundles": '["a", "b"]'},
    )
    assert settings == Program(
        name="cam",
        source=Folder(path=Path("pictures"), rate_hz=5.0, limit=7),
        edge=Tier(target="127.0.0.1:7201"),
        bundles=("a", "b"),
    )


def test_text_that_looks_like_a_number_stays_text_where_text_is_asked(tmp_path: Path) -> None:
    settings = load_settings(Program, written(tmp_path, GOOD), {"name": "5", "source.path": "2024", "edge.target": "1"})
    assert (settings.name, settings.source.path) == ("5", Path("2024"))
    assert settings.edge == Tier(target="1")


def test_settings_come_from_overrides_alone() -> None:
    assert load_settings(Program, None, {"name": "x", "source.path": "p"}).source.path == Path("p")


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (GOOD + "rate_hs = 3\n", {}, ["program.toml", "'source.rate_hs'", "did you mean 'rate_hz'"]),
        (GOOD, {"nmae": "x"}, ["'nmae'", "did you mean 'name'"]),
        (GOOD, {"egde.target": "x"}, ["'egde'", "did you mean 'edge'"]),
        (GOOD, {"edge.tarjet": "x"}, ["'edge.tarjet'", "did you mean 'target'", "1 more"]),
        (GOOD, {"zzzzzz": 1}, ["'zzzzzz'", "remove it", "known here: bundles, edge, name, source"]),
        (GOOD, {"source.rate_hz": "-1"}, ["source.rate_hz = -1", "greater than 0"]),
        (GOOD, {"source.rate_hz": "quick"}, ["source.rate_hz = 'quick'", "valid number"]),
        (GOOD, {"bundles": "x"}, ["bundles = 'x'", "a valid list"]),
        ('[source]\npath = "p"\n', {}, ["'name' is missing"]),
        (GOOD, {"name.first": "x"}, ["'name.first'", "holds a value"]),
        (GOOD, {"source..x": "x"}, ["no dotted key"]),
        ("name = cam\n", {}, ["program.toml", "is not TOML", "line 1"]),
    ],
)
def test_each_mistake_is_one_sentence_with_its_fix(
    tmp_path: Path, text: str, overrides: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(Program, written(tmp_path, text), overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings(Program, tmp_path / "nowhere.toml", {})
