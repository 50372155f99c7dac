"""A tier as a program: it tells its doors, serves, explains its batches and drains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from isthmus.cli.door import NoAnswer
from isthmus.cli.explain import batch
from isthmus.cli.main import main
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program


@pytest.mark.slow
@pytest.mark.parametrize("room", ["edge", "cloud"])
def test_a_program_serves_whole_models_and_explains_its_batches(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], room: str
) -> None:
    doors = ("oip.rest.port=0", "oip.grpc.port=0", "listen.port=0", "operations.port=0")
    with a_program(room, tmp_path / "log", f'bundles=["{tiny_bundle.path}"]', *doors) as program:
        assert set(program.ready["oip"]) == {"rest", "grpc"}
        url = f"http://127.0.0.1:{program.ready['oip']['rest']}/v2/models/tiny/infer"
        headers = {"Inference-Header-Content-Length": "0"}
        with urlopen(Request(url, tiny_bundle.items[0].tobytes(), headers), timeout=30) as answer:
            assert json.loads(answer.read())["outputs"][0]["shape"] == [1, 10]
        port = program.ready["operations"]
        batch(str(port))
        said = capsys.readouterr().out
        assert "1 frames taken" in said
        assert re.search(r"run segment 2 of tiny \([0-9a-f]{8}\), 1 of 1 in line, 1 here: nothing else was here", said)
        main_of(["explain", "batch", str(port), "--json"])
        assert json.loads(capsys.readouterr().out)["last"][0]["step"].startswith("run segment 2 of tiny (")
        program.process.terminate()
        assert program.process.wait(30) == 0
    with pytest.raises(NoAnswer, match=rf"\[operations\] port = {port}"):
        batch(str(port))


def main_of(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
