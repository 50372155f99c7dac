"""Scenarios played: by real programs for a few seconds, and in simulated time."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from PIL import Image
from typer.testing import CliRunner

import isthmus.testbed
from isthmus.cli.testbed import app
from runtime.answers import answer_of
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage
from testbed import broker, disk, load
from testbed.backends.backend import why_unplayable
from testbed.backends.named import backend_named
from testbed.errors import ScenarioError, TestbedError
from testbed.results.figures import ALL, jain
from testbed.results.intervals import interval
from testbed.results.page import page, write_page
from testbed.running import LOCK, clean, next_folder, run_scenario
from testbed.scenarios import library
from testbed.scenarios.material import Material, Supplier
from testbed.scenarios.scenario import Scenario, read_scenario

if TYPE_CHECKING:
    from tests.runtime.tiny_bundle import TinyBundle

REAL = """
about = "For tests."
seconds = 3
[device.camera]
link = "lte"
count = 2
rate_hz = 5
slowdown = 2
measure_s = 0.1
deadline_s = 1.0
[edge]
[cloud]
[link.lte]
uplink = { kind = "rate", rate_bps = 5e6, delay_s = 0.005 }
[link.lte.condition.shaky]
kind = "jitter"
mean_s = 0.002
[fault.crash]
kind = "kill"
target = "edge"
at_s = 0.5
for_s = 1
[fault.freeze]
kind = "pause"
target = "camera"
at_s = 1
for_s = 0.3
[fault.cut]
kind = "partition"
link = "lte"
target = "cloud"
direction = "down"
at_s = 1.5
for_s = 0.5
[expect.nothing-lost]
figure = "frames_lost"
at_most = 0
[expect.frames]
figure = "frames"
at_least = 1
"""

FILES = """
about = "For tests."
seconds = 4
[device.camera]
link = "lte"
rate_hz = 5
slowdown = 2
measure_s = 0.1
deadline_s = 1.0
[edge]
[cloud]
[link.lte]
uplink = { kind = "rate", rate_bps = 5e6, delay_s = 0.005 }
[fault.expiry]
kind = "expired-certificate"
target = "edge"
at_s = 0.5
for_s = 1
[fault.rot]
kind = "corrupt-file"
target = "cloud"
at_s = 0.2
for_s = 2
[fault.squeeze]
kind = "memory-limit"
target = "cloud"
spare_mb = 256
at_s = 1
for_s = 1
[fault.full]
kind = "disk-full"
target = "camera"
at_s = 0.5
for_s = 1
[fault.worn]
kind = "slow-disk"
target = "camera"
longer_s = 0.02
at_s = 2
for_s = 1
[expect.nothing-lost]
figure = "frames_lost"
at_most = 0
"""

BROKEN = """
about = "For tests."
seconds = 4
[device.camera]
link = "lte"
rate_hz = 5
slowdown = 2
measure_s = 0.1
deadline_s = 1.0
policy = { name = "fixed", cut = 1, level = 0, route = "edge" }
[edge]
[broker]
[link.lte]
uplink = { kind = "rate", rate_bps = 5e6, delay_s = 0.005 }
[fault.restart]
kind = "kill"
target = "broker"
at_s = 1.5
for_s = 0.5
[expect.nothing-lost]
figure = "frames_lost"
at_most = 0
"""

SIMULATED = """
about = "For tests."
seconds = 20
[device.camera]
link = "lte"
whole_model_s = 0.1
[edge]
[link.lte]
uplink = { kind = "markov", states = [[1e6, 2], [50e3, 1], [0, 0.5]], delay_s = 0.01 }
[expect.misses]
figure = "deadline_miss_rate"
at_most = 1
[expect.impossible]
figure = "mean_latency_s"
at_most = 0.0001
device = "camera"
"""


@pytest.fixture
def suppliers(tiny_bundle: TinyBundle) -> dict[str, Supplier]:
    """The tiny bundle in place of the built-in one; its items are labelled by its unsplit model."""

    def tiny(folder: Path) -> Material:
        inputs = folder / "inputs"
        inputs.mkdir(parents=True)
        labels = {}
        with Bundle.open(tiny_bundle.path) as bundle:
            stage = Stage(bundle, engine_named("onnxruntime", 1))
            for number, item in enumerate(tiny_bundle.items):
                Image.fromarray(item[0]).save(inputs / f"{number}.png")
                labels[f"{number}.png"] = answer_of(stage.run(item)[0]).label
        return Material(tiny_bundle.path, inputs, labels)

    return {"digits": tiny}


def _scenario(folder: Path, text: str, **overrides: object) -> Scenario:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return read_scenario(path, overrides)


def _rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_real_programs_play_a_scenario_with_faults_and_lose_no_frame(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    told: list[str] = []
    scenario = _scenario(tmp_path, REAL)
    run = run_scenario("own", scenario, backend_named("process"), tmp_path / "run", suppliers, told=told.append)
    found = run.repetitions[0].figures
    assert run.holds
    assert set(found) == {"camera-1", "camera-2", "camera", ALL}
    assert found[ALL]["frames"] == found["camera-1"]["frames"] + found["camera-2"]["frames"]
    assert found[ALL]["frames_lost"] == 0
    frames = _rows(run.folder, "frames")
    assert len(frames) == found[ALL]["frames"]
    assert all(0 <= float(row["captured_s"]) < scenario.seconds for row in frames)
    faults = {row["name"]: (float(row["begins_s"]), float(row["ends_s"])) for row in _rows(run.folder, "faults")}
    assert set(faults) == {"crash", "freeze", "cut"}
    assert faults["crash"][0] >= 0.5
    assert faults["crash"][1] >= 1.5
    assert any("kill edge" in sentence for sentence in told)
    assert {row["link"] for row in _rows(run.folder, "links")} == {"lte"}
    assert not (run.folder / LOCK).exists()
    assert "kill edge" in page([run])


@pytest.mark.slow
@pytest.mark.skipif(bool(disk.why_not()), reason=disk.why_not())
def test_files_memory_and_certificates_go_wrong_and_no_frame_is_lost(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    run = run_scenario("own", _scenario(tmp_path, FILES), backend_named("process"), tmp_path / "run", suppliers)
    assert run.holds
    assert {row["name"] for row in _rows(run.folder, "faults")} == {"expiry", "rot", "squeeze", "full", "worn"}
    folder = run.folder / "repetition-0"
    certificate = x509.load_pem_x509_certificate((folder / "certificates" / "edge.pem").read_bytes())
    assert certificate.not_valid_after_utc > datetime.now(UTC), "renewed"
    assert (folder / "logs" / "edge-2.log").exists() or (folder / "logs" / "edge-3.log").exists(), "restarted"
    with Bundle.open(folder / "cloud.bundle") as healed:
        healed.verify_all()
    assert list((folder / "camera.disk").glob("camera.db*"))


@pytest.mark.slow
@pytest.mark.skipif(bool(broker.why_not()), reason=broker.why_not())
def test_frames_go_through_a_broker_and_none_is_lost_when_it_dies(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    run = run_scenario("own", _scenario(tmp_path, BROKEN), backend_named("process"), tmp_path / "run", suppliers)
    assert run.holds
    assert run.repetitions[0].figures[ALL]["by_edge"] == 1
    assert run.repetitions[0].figures[ALL]["answered"] > 0
    assert (run.folder / "repetition-0" / "logs" / "broker-3.log").exists(), "started again"


def test_a_backend_says_what_it_cannot_play(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    with pytest.raises(ScenarioError) as told:
        run_scenario("own", _scenario(tmp_path, REAL), backend_named("simulated"), tmp_path / "run", suppliers)
    for part in ("fault.freeze (pause camera)", "another backend"):
        assert part in str(told.value)
    assert "fault.c" not in str(told.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ScenarioError, match="did you mean 'process'"):
        backend_named("proces")


def test_a_scenario_that_asks_for_a_backend_runs_on_no_other(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    scenario = _scenario(tmp_path, SIMULATED.replace("seconds = 20", 'seconds = 20\nbackends = ["process"]'))
    with pytest.raises(ScenarioError, match="its backends are process"):
        run_scenario("own", scenario, backend_named("simulated"), tmp_path / "run", suppliers)


def test_every_scenario_that_names_a_backend_can_be_played_by_it() -> None:
    for name in library.names():
        scenario = library.open_scenario(name)[1]
        for backend in scenario.backends:
            assert backend_named(backend).refusals(scenario) == [], name


def test_a_run_is_read_back_as_data_frames(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    pytest.importorskip("pandas")
    scenario = _scenario(tmp_path, SIMULATED, repetitions=2)
    run = run_scenario("own", scenario, backend_named("simulated"), tmp_path / "run", suppliers)
    read = load(run.folder)
    assert read.facts["scenario"] == "own"
    assert len(read.frames) == 400
    misses = 1 - read.frames.groupby("repetition")["in_time"].mean()
    assert list(misses) == pytest.approx([one.figures[ALL]["deadline_miss_rate"] for one in run.repetitions])
    latency = read.figures[(read.figures.figure == "mean_latency_s") & (read.figures.device == "all")].value
    assert list(latency) == [one.figures[ALL]["mean_latency_s"] for one in run.repetitions]
    with pytest.raises(TestbedError, match="holds no finished run"):
        load(tmp_path)


def test_the_tables_are_written_as_parquet_too_with_the_same_values(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    pandas = pytest.importorskip("pandas")
    if find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    scenario = _scenario(tmp_path, SIMULATED)
    run = run_scenario("own", scenario, backend_named("simulated"), tmp_path / "run", suppliers)
    read = isthmus.testbed.load(run.folder)
    for name in ("frames", "figures"):
        typed = pandas.read_parquet(run.folder / f"{name}.parquet")
        plain = getattr(read, name)
        assert list(typed.columns) == list(plain.columns)
        assert len(typed) == len(plain) > 0
    typed = pandas.read_parquet(run.folder / "frames.parquet")
    assert list(typed.latency_s) == list(read.frames.latency_s)
    assert list(typed.in_time) == list(read.frames.in_time)
    assert typed.level.isna().sum() == read.frames.level.isna().sum()


class _Page(HTMLParser):
    """Notes tags that are open at the end, and all that would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "path", "rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_self_contained(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    scenario = _scenario(tmp_path, SIMULATED.replace("For tests.", "Less < more."), repetitions=2)
    run = run_scenario("own", scenario, backend_named("simulated"), tmp_path / "run", suppliers, command="isthmus x")
    other = run_scenario("own", scenario, backend_named("simulated"), tmp_path / "other", suppliers, label="a & b")
    for runs in ([run], [run, other]):
        text = page(runs)
        read = _Page(text)
        assert (read.open, read.fetched) == ([], [])
        assert "±" in text
        assert "missed: impossible: mean_latency_s of camera at most 0.0001" in text
        assert "isthmus x" in text
    assert "Less &lt; more." in page([run])
    assert "a &amp; b" in page([run, other])
    write_page(tmp_path / "page.html", [run])
    with pytest.raises(TestbedError, match="choose another path"):
        write_page(tmp_path / "no" / "page.html", [run])


def test_intervals_are_students() -> None:
    """Against tables: of 1, 2, 3 the standard deviation is 1, and t with 2 degrees of freedom 4.303."""
    known = interval([1.0, 2.0, 3.0])
    assert known.mean == 2
    assert known.half == pytest.approx(4.303 / 3**0.5)
    assert interval([5.0]).half is None
    assert interval([0.0, 1.0] * 50).half == pytest.approx(1.96 * (25 / 99) ** 0.5 / 10)


def test_jains_index_is_one_for_equals_and_a_share_for_one_who_has_all() -> None:
    assert jain([0.3, 0.3, 0.3]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1


def test_broken_off_runs_are_removed_and_others_are_not(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    scenario = _scenario(tmp_path, SIMULATED)
    root = tmp_path / "runs"
    done = run_scenario("own", scenario, backend_named("simulated"), next_folder(root, "own"), suppliers)
    broken = next_folder(root, "own")
    broken.mkdir()
    (broken / LOCK).touch()
    (broken / "half").touch()
    running = next_folder(root, "own")
    running.mkdir()
    (root / "notes").mkdir()
    hold = f"import fcntl; f = open({str(running / LOCK)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", hold + "; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert clean(root) == [broken]
        holder.communicate(b"\n")
    assert done.folder.exists()
    assert (root / "notes").exists()
    assert clean(root) == [running]
    with pytest.raises(ScenarioError, match="holds files already"):
        run_scenario("own", scenario, backend_named("simulated"), done.folder, suppliers)


# The command.


def _invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_lists_and_shows() -> None:
    listed = json.loads(_invoke("list", "--json"))
    assert set(listed) == set(library.names())
    assert _invoke("show", "elevator") == library.path_of("elevator").read_text()
    shown = json.loads(_invoke("show", "edge-crash", "--set", "fault.crash.at_s=3", "--json"))
    assert shown["faults"] == [{"name": "crash", "begins_s": 3, "ends_s": 7, "told": "kill edge"}]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_command_compares_one_scenario_on_two_backends(tmp_path: Path) -> None:
    short = ["--set", "seconds=2", "--set", "device.camera.whole_model_s=0.01", "--set", "expect.misses.at_most=1"]
    backends = ["--backend", "simulated", "--backend", "process"]
    out = json.loads(_invoke("compare", "backhaul-cut", *backends, *short, "--root", str(tmp_path), "--json"))
    assert [run["label"] for run in out["runs"]] == ["backhaul-cut on simulated", "backhaul-cut on process"]
    assert "backhaul-cut on process" in Path(out["page"]).read_text()


def test_nothing_is_compared_where_one_backend_cannot_play_it(tmp_path: Path) -> None:
    arguments = ["compare", "reset-storm", "--backend", "process", "--backend", "simulated", "--root", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert "'simulated' cannot play this scenario" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
    assert "two scenarios or more, or two backends" in str(CliRunner().invoke(app, ["compare", "elevator"]).exception)


@pytest.mark.slow
def test_the_command_sweeps_in_simulated_time(tmp_path: Path) -> None:
    out = json.loads(
        _invoke("sweep", "tunnel", "--over", "device.camera.deadline_s=0.1,0.5", "--backend", "simulated", "--root",
                str(tmp_path), "--set", "seconds=8", "--set", "expect.misses.at_most=1", "--json")
    )  # fmt: skip
    tight, loose = out["runs"]
    assert (tight["scenario"], tight["label"], loose["holds"]) == ("tunnel", "device.camera.deadline_s=0.1", True)
    assert tight["figures"][0]["all"]["deadline_miss_rate"] > loose["figures"][0]["all"]["deadline_miss_rate"]
    assert Path(out["page"]).exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["tunnel-1", "tunnel-2"]


# What takes minutes.


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", library.names())
def test_the_library_holds_what_it_promises(tmp_path: Path, name: str) -> None:
    _, scenario = library.open_scenario(name)
    backend = backend_named(scenario.backends[0])
    if reasons := why_unplayable(backend, scenario):
        pytest.skip(f"{backend.name}: {'; '.join(reasons)}")
    done = CliRunner().invoke(app, ["run", name, "--backend", backend.name, "--root", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output + str(done.exception)
