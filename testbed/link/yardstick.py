"""Measure a link from outside, with plain TCP: what it delivers and what it delays."""

from __future__ import annotations

import socket
import statistics
import threading
import time


def delivered_bps(sender: socket.socket, receiver: socket.socket, seconds: float) -> float:
    """Bits per second of a transfer that always has something to send, from its first arrival to its last."""
    ended = threading.Event()

    def send() -> None:
        block = bytes(4096)
        while not ended.is_set():
            try:
                sender.send(block, socket.MSG_DONTWAIT)
            except BlockingIOError:
                ended.wait(0.002)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        receiver.recv(1 << 16)
        first_s = last_s = time.monotonic()
        total = 0
        while last_s - first_s < seconds:
            total += len(receiver.recv(1 << 16))
            last_s = time.monotonic()
    finally:
        ended.set()
        thread.join()
    return total * 8 / (last_s - first_s)


def one_way_s(sender: socket.socket, receiver: socket.socket, *, size: int = 100, times: int = 9) -> float:
    """Median seconds from sending `size` bytes to the arrival of the last of them, on an idle link."""
    taken = []
    for _ in range(times):
        sent_s = time.monotonic()
        sender.sendall(bytes(size))
        receiver.recv(size, socket.MSG_WAITALL)
        taken.append(time.monotonic() - sent_s)
    return statistics.median(taken)
