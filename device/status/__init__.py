"""What the agent tells about itself to this machine: health, metrics, and the last frames. It changes nothing."""

from device.status.recent import Recent
from device.status.report import Report

__all__ = ["Recent", "Report"]
