"""The command `isthmus`: what a person sees when something is wrong, and the codes scripts see."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from isthmus.builtin.demo import BUNDLE
from isthmus.cli.main import COMMANDS, app

ROOT = Path(__file__).parents[2]


def isthmus(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command's entry point in a process of its own."""
    code = "import sys; from isthmus.cli.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("isthmus: ")]
    assert len(told) == 1, done.stderr
    for word in words:
        assert word in told[0], told[0]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the built-in bundle to break."""
    return Path(shutil.copytree(BUNDLE, tmp_path / "broken.bundle"))


def test_help_names_every_command_with_an_example() -> None:
    for command in ("device", "edge", "cloud", "demo", "bench"):
        done = isthmus(command, "--help")
        assert done.returncode == 0
        assert f"isthmus {command}" in done.stdout


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; from isthmus.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.split())
    assert {one for one in loaded if one.startswith("isthmus.cli.")} == {"isthmus.cli.lazy", "isthmus.cli.main"}
    assert not loaded & {"rich", "numpy", "pydantic", "asyncio", "grpc", "torch", "runtime", "device", "testbed"}
    for name, one in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert one.about in " ".join(done.stdout.split())


def test_every_listed_command_can_be_loaded_under_its_name() -> None:
    commands = get_command(app).commands
    for name in COMMANDS:
        assert commands[name].name == name
        assert commands[name].get_short_help_str()


def test_a_misspelt_command_is_told_the_nearest_one() -> None:
    done = isthmus("capacty")
    assert done.returncode == 2
    assert "'capacity'" in done.stderr


def test_a_bundle_is_shown_and_verified_as_json() -> None:
    shown = isthmus("bundle", "show", str(BUNDLE), "--json")
    assert json.loads(shown.stdout)["model_id"] == "digits-in-the-wild"
    verified = json.loads(isthmus("bundle", "verify", str(BUNDLE), "--json").stdout)
    assert verified["intact"] is True
    assert "learned" in isthmus("bundle", "show", str(BUNDLE)).stdout


def test_an_unknown_version_is_named(broken: Path) -> None:
    path = broken / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99', 1))
    assert_one_sentence(isthmus("bundle", "show", str(broken)), 3, "99")


def test_a_missing_file_is_named(broken: Path) -> None:
    (broken / "weights.safetensors").unlink()
    assert_one_sentence(isthmus("bundle", "verify", str(broken)), 3, "weights.safetensors")


def test_a_changed_file_is_named(broken: Path) -> None:
    path = broken / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_one_sentence(isthmus("bundle", "verify", str(broken)), 3, "weights.safetensors")


def test_a_missing_bundle_is_named() -> None:
    assert_one_sentence(isthmus("bundle", "show", "nowhere.bundle"), 3, "nowhere.bundle")


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = isthmus("cloud", "--set", f'bundles=["{BUNDLE}"]', "--set", f"listen.port={port}")
    assert_one_sentence(done, 4, str(port))


def test_listening_for_everybody_without_tls_is_refused() -> None:
    done = isthmus("cloud", "--set", f'bundles=["{BUNDLE}"]', "--set", "listen.host=0.0.0.0")
    assert_one_sentence(done, 4, "0.0.0.0", "client_ca")


@pytest.mark.parametrize(
    ("program", "key", "nearest"), [("device", "deadlin_s", "deadline_s"), ("edge", "creditz", "credits")]
)
def test_a_misspelt_key_is_named_with_the_nearest(program: str, key: str, nearest: str) -> None:
    assert_one_sentence(isthmus(program, "--set", f"{key}=1"), 2, key, nearest)


def test_an_override_without_a_value_is_refused() -> None:
    assert_one_sentence(isthmus("edge", "--set", "credits"), 2, "KEY=VALUE")


@pytest.mark.parametrize(("content", "word"), [("", "empty"), ("12\nabc\n", "line 2"), ("5\n3\n", "line 2")])
def test_a_bad_trace_is_named(tmp_path: Path, content: str, word: str) -> None:
    trace = tmp_path / "link.up"
    trace.write_text(content)
    done = isthmus(
        "demo", "--trace", str(trace), "--work", str(tmp_path / "work"), "--report", str(tmp_path / "r.html")
    )
    assert_one_sentence(done, 6, "link.up", word)


def test_a_bad_window_is_named() -> None:
    assert_one_sentence(isthmus("demo", "--trace", "x.up", "--window", "9:3"), 2, "9:3")


def test_an_unknown_benchmark_names_the_known_ones() -> None:
    assert_one_sentence(isthmus("bench", "nothing"), 2, "demo")


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in isthmus("--debug", "bundle", "show", "nowhere.bundle").stderr


def test_importing_isthmus_loads_neither_torch_nor_an_engine() -> None:
    code = "import sys, isthmus; print([m for m in ('torch', 'onnxruntime', 'grpc', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
