"""The learned filter: the head's own features decide that there is nothing to see, and nothing is sent."""

from __future__ import annotations
