"""The MQTT sink against a real broker."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.errors import SinkError
from device.settings import load
from device.sinks import open_sink
from device.sinks.mqtt import Mqtt
from device.sinks.settings import MqttSettings
from runtime.errors import SettingsError
from tests.device.test_sinks import WAIT_S, delivery
from tests.transport.broker import Mosquitto, mosquitto, needs_mosquitto

pytestmark = needs_mosquitto
TOPIC = "site/answers"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


def sink_for(broker: Mosquitto, timeout_s: float = WAIT_S) -> Mqtt:
    sink = open_sink(MqttSettings(kind="mqtt", target=f"127.0.0.1:{broker.port}", topic=TOPIC, timeout_s=timeout_s))
    assert isinstance(sink, Mqtt)
    return sink


@contextmanager
def subscribed(broker: Mosquitto) -> Iterator[queue.Queue[MQTTMessage]]:
    """What arrives under the topic from here on."""
    found: queue.Queue[MQTTMessage] = queue.Queue()
    ready: queue.Queue[bool] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda _client, _data, message: found.put(message)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    ready.get(timeout=WAIT_S)
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def test_answers_arrive_as_json_in_their_order(broker: Mosquitto) -> None:
    sink = sink_for(broker)
    with subscribed(broker) as found:
        sink.put([delivery("a"), delivery("b", label=None)])
        sink.put([delivery("c")])
        messages = [found.get(timeout=WAIT_S) for _ in range(3)]
    sink.close()
    assert [json.loads(message.payload) for message in messages] == [
        asdict(delivery("a")), asdict(delivery("b", label=None)), asdict(delivery("c")),
    ]  # fmt: skip
    assert {(message.qos, message.retain) for message in messages} == {(1, False)}
    assert messages[0].properties.ContentType == "application/json"


def test_an_answer_that_no_broker_took_is_offered_again_and_then_arrives(broker: Mosquitto) -> None:
    sink = sink_for(broker)
    sink.put([delivery("a")])
    broker.kill()
    impatient = sink_for(broker, timeout_s=0.2)
    with pytest.raises(SinkError, match="cannot be reached"):
        impatient.put([delivery("b")])
    sink._timeout_s = 0.2  # its connection is gone: nobody will confirm
    with pytest.raises(SinkError):
        sink.put([delivery("b")])
    sink._timeout_s = WAIT_S
    broker.start()
    with subscribed(broker) as found:
        sink.put([delivery("b")])
        assert json.loads(found.get(timeout=WAIT_S).payload)["key"] == "b"
        assert found.empty(), "the attempt that failed sends nothing later"
    sink.close()


def test_a_broker_that_forbids_the_topic_is_told_apart_from_one_that_took_it(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic write other/answers\n")
    with mosquitto(tmp_path, f"acl_file {tmp_path}/acl") as broker:
        sink = sink_for(broker)
        with pytest.raises(SinkError, match="refused an answer on 'site/answers'"):
            sink.put([delivery("a")])
        sink.close()


def test_a_broker_that_wants_to_know_the_device_refuses_it_by_its_words(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous false") as broker,
        pytest.raises(SinkError, match="did not take this device: Not authorized"),
    ):
        sink_for(broker).put([delivery("a")])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target": "broker.local:1883"}, "unencrypted"),
        ({"topic": "site/+/answers"}, "topic"),
        ({"target": "nowhere"}, "target"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], told: str) -> None:
    sink = {"kind": "mqtt", "target": "127.0.0.1:1883", **changes}
    with pytest.raises(SettingsError, match=told):
        load(None, {"bundle": "b", "source.path": "p", "sinks": [sink]})
