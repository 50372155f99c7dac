"""From settings to a sink: the one place that knows every kind."""

from __future__ import annotations

from device.sinks.jsonl import JsonLines
from device.sinks.settings import JsonLinesSettings, MqttSettings, SinkSettings, SqliteSettings, WebhookSettings
from device.sinks.sink import Sink
from device.sinks.sqlite import SqliteTable
from device.sinks.webhook import Webhook


def open_sink(settings: SinkSettings) -> Sink:
    """The sink that the settings name.

    Raises:
        SinkError: it cannot be opened.
    """
    match settings:
        case JsonLinesSettings(path=path):
            return JsonLines(path)
        case SqliteSettings(path=path):
            return SqliteTable(path)
        case WebhookSettings(url=url, headers=headers, timeout_s=timeout_s):
            return Webhook(url, headers, timeout_s)
        case MqttSettings(topic=topic, tls=tls, timeout_s=timeout_s):
            from device.sinks.mqtt import Mqtt  # only who has a broker needs the library in memory

            return Mqtt(settings.address, topic, tls, timeout_s)
