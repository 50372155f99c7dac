"""A device whose edge is behind a link that loses packets: payloads go as packets that decode alone."""

import pytest

from protocol import packets
from runtime.codecs import parts
from tests.device.conftest import assert_each_ended_once
from tests.serving.processes import a_program


async def test_long_payloads_go_as_packets_and_are_answered(device, tiny_bundle, tmp_path, monkeypatch):
    pytest.importorskip("aioquic", reason="the extra quic is not installed")
    made = []

    def together(found):
        made.append(len(found))
        return packets.together(found)

    monkeypatch.setattr(parts, "PACKET_BYTES", 30)
    monkeypatch.setattr(parts, "together", together)
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "listen_datagrams.port=0")
    with a_program("edge", tmp_path / "log", *arguments) as edge:
        lines = await device.run(
            source__limit=6, source__keep="all", deadline_s=5.0, edge__target=f"127.0.0.1:{edge.ready['datagrams']}",
            edge__datagrams=True, policy__name="fixed", policy__cut=1, policy__level=2, policy__route="edge",
        )  # fmt: skip
    assert_each_ended_once(lines, 6)
    assert {line["by"] for line in lines} == {"edge"}, lines
    assert len(made) == 6
    assert min(made) > 1
