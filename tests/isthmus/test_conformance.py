"""The conformance kit: passes whole on our own server, and finds each fault that is put into it by the case's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from isthmus.cli.main import main
from isthmus.conformance.running import Report, cases, run
from isthmus.conformance.target import Credentials, Target, TargetUnusable
from serving.oip import grpc_door, rest, service, telling
from serving.oip.settings import OipSettings
from serving.oip.statistics import Statistics
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.oip.doors import open_doors
from tests.transport.pki import Pki


async def reported(bundle: TinyBundle, only: str = "") -> Report:
    async with open_doors(bundle.path) as doors:
        target = Target(doors.rest, doors.grpc)
        try:
            return await asyncio.to_thread(run, target, only=only)
        finally:
            target.close()


def failed(report: Report) -> set[str]:
    return {verdict.name for verdict in report.verdicts if verdict.outcome == "failed"}


def test_there_are_at_least_120_cases_each_with_a_name_of_its_own_a_clause_and_an_expectation() -> None:
    every = cases()
    assert len(every) >= 120
    assert len({case.name for case in every}) == len(every)
    assert all(case.clause and case.expects for case in every)


async def test_our_own_server_passes_every_case(tiny_bundle: TinyBundle) -> None:
    report = await reported(tiny_bundle)
    assert failed(report) == set(), [verdict for verdict in report.verdicts if verdict.outcome == "failed"]
    assert report.counts["passed"] == len(cases())
    tree = json.loads(json.dumps(report.tree()))
    assert (tree["failed"], tree["passed"], tree["cases"]) == (0, len(cases()), len(cases()))


def _without_ids(patch: pytest.MonkeyPatch) -> None:
    real = rest.written_response

    def spoilt(response: object, request: object) -> object:
        content, length = real(response, request)  # type: ignore[arg-type]
        tree = json.loads(content)
        tree.pop("id", None)
        return json.dumps(tree).encode(), length

    patch.setattr(rest, "written_response", spoilt)


def _errors_of_another_form(patch: pytest.MonkeyPatch) -> None:
    real = rest.to_json
    patch.setattr(rest, "to_json", lambda tree: real({"detail": tree["error"]} if "error" in tree else tree))


def _rows_exchanged(patch: pytest.MonkeyPatch) -> None:
    real = service._joined
    patch.setattr(service, "_joined", lambda model, results, place: real(model, results[::-1], place))


def _datatypes_of_numpy(patch: pytest.MonkeyPatch) -> None:
    real = telling._tensor
    patch.setattr(telling, "_tensor", lambda tensor: real(tensor) | {"datatype": "float32"})


def _nothing_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Statistics, "succeeded", lambda *_: None)


def _typed_only(patch: pytest.MonkeyPatch) -> None:
    real = grpc_door.written_response

    def spoilt(response: object, *, raw: bool) -> object:
        message = real(response, raw=True)  # type: ignore[arg-type]
        message.outputs[0].contents.fp32_contents.append(0.0)
        return message

    patch.setattr(grpc_door, "written_response", spoilt)


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, set[str]]] = {
    "no ids": (
        _without_ids,
        "rest.infer",
        {f"rest.infer.{name}" for name in ("id", "id-unicode", "id-escapes", "id-long", "json-indented", "json-order",
                                           "charset", "chunked", "one-connection", "concurrent")},
    ),
    "errors of another form": (
        _errors_of_another_form,
        "rest.error",
        {f"rest.error.of-{name}" for name in ("json", "request", "tensor", "model")},
    ),
    "rows exchanged": (_rows_exchanged, "rest.infer.batch", {f"rest.infer.batch-{count}" for count in (2, 3, 8)}),
    "datatypes of numpy": (
        _datatypes_of_numpy, "rest.model", {"rest.model.inputs-datatypes", "rest.model.outputs-datatypes"},
    ),
    "nothing counted": (
        _nothing_counted,
        "rest.statistics",
        {f"rest.statistics.{name}" for name in ("success", "items", "time", "last")},
    ),
    "both forms at once": (_typed_only, "grpc.infer.one", {"grpc.infer.one-form"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_server_is_found_by_its_cases(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    put_in, only, expected = FAULTS[fault]
    put_in(monkeypatch)
    assert failed(await reported(tiny_bundle, only)) == expected


async def test_a_server_with_tls_is_asked_with_a_certificate(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.enrol("kit")
    settings = OipSettings(rest=pki.listen, grpc=pki.listen)
    credentials = Credentials(tmp_path / "ca.pem", tmp_path / "kit.pem", tmp_path / "kit.key")
    async with open_doors(tiny_bundle.path, settings=settings) as doors:
        target = Target(doors.rest.replace("http:", "https:"), doors.grpc, credentials=credentials)
        try:
            report = await asyncio.to_thread(run, target, only="both")
        finally:
            target.close()
    assert (report.counts["passed"], report.counts["failed"]) == (3, 0)
    with pytest.raises(TargetUnusable, match="PEM"):
        Target("https://127.0.0.1:9", None, credentials=Credentials(tmp_path / "revoked"))


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(TargetUnusable, match=r"127\.0\.0\.1:9"):
        run(Target("http://127.0.0.1:9", None, model="tiny"))


def test_the_command_lists_the_cases_and_wants_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    said = StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main(["conformance", "--list", "--only", "rest.binary"])
    assert not ended.value.code
    assert len(said.getvalue().splitlines()) == len(cases("rest.binary"))
    with pytest.raises(SystemExit) as ended:
        main(["conformance"])
    assert ended.value.code == 2
    assert "--rest" in capsys.readouterr().err
