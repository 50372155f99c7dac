"""Where answers go: one small file per kind, behind `Sink`. Nothing here knows frames that are still open."""

from device.sinks.opening import open_sink
from device.sinks.outlet import Outlet
from device.sinks.sink import Delivery, Sink

__all__ = ["Delivery", "Outlet", "Sink", "open_sink"]
