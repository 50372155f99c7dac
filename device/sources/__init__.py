"""Where frames come from: one small file per kind, behind `Source`. Nothing here decides what becomes of a frame."""

from device.sources.files import read_item
from device.sources.opening import open_source
from device.sources.source import Captured, Clock, Source

__all__ = ["Captured", "Clock", "Source", "open_source", "read_item"]
