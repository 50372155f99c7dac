"""Health checks of the containers: exit code 0 if well, 1 and one sentence if not.

    python health.py tier CONFIG.toml                  # asks the tier's gRPC health service, over its own TLS
    python health.py control CONFIG.toml               # asks the control plane, over its own TLS
    python health.py device HISTORY.jsonl [SECONDS]    # a frame has ended within so many seconds (30)

Each check is a process of its own, every few seconds, beside a program on a weak machine: it imports what it needs and
nothing else.
"""

from __future__ import annotations

import os
import sys
import time

TIMEOUT_S = 4.0


class Unwell(Exception):
    """What is wrong, in one sentence."""


def check_tier(config: str) -> None:
    """Ask the tier that runs with this file whether it serves.

    With TLS the tier's own certificate is shown to itself, so the check needs no other key; the certificate must name
    "localhost" beside the tier's host.

    Raises:
        Unwell: it does not answer, or is draining.
    """
    import tomllib

    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with open(config, "rb") as file:
        listen = tomllib.load(file)["listen"]
    tls = listen.get("tls")
    target, options = f"localhost:{listen['port']}", [("grpc.enable_http_proxy", 0)]
    files = [] if tls is None else [_bytes(tls[key]) for key in ("client_ca", "key", "certificate")]
    secure = grpc.ssl_channel_credentials(*files) if files else None
    with grpc.secure_channel(target, secure, options) if secure else grpc.insecure_channel(target, options) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as exc:
            raise Unwell(f"the tier does not answer: {exc.code().name}") from exc
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unwell("the tier is draining or has not started")


def check_control(config: str) -> None:
    """Ask the control plane that runs with this file whether it is ready; its certificate must name "localhost".

    Raises:
        Unwell: it does not answer, or is not ready.
    """
    import ssl
    import tomllib
    import urllib.error
    import urllib.request

    with open(config, "rb") as file:
        listen = tomllib.load(file)["listen"]
    tls = listen.get("tls")
    scheme, context = ("http", None) if tls is None else ("https", ssl.create_default_context(cafile=tls["client_ca"]))
    asking = [urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])]
    try:
        urllib.request.build_opener(*asking).open(f"{scheme}://localhost:{listen['port']}/readyz", timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        raise Unwell(f"the control plane is not ready: {exc.code}") from exc
    except OSError as exc:
        raise Unwell(f"the control plane does not answer: {exc}") from exc


def check_device(history: str, within_s: float) -> None:
    """See whether the agent has ended a frame lately.

    Raises:
        Unwell: its history is missing, empty or too old.
    """
    try:
        seen = os.stat(history)
    except OSError as exc:
        raise Unwell(f"no frame has ended yet: {exc.strerror}") from exc
    if not seen.st_size:
        raise Unwell("no frame has ended yet")
    age_s = time.time() - seen.st_mtime
    if age_s > within_s:
        raise Unwell(f"no frame has ended for {age_s:.0f} s")


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(arguments: list[str]) -> int:
    """Run one check; the exit code."""
    try:
        match arguments:
            case ["tier", config]:
                check_tier(config)
            case ["control", config]:
                check_control(config)
            case ["device", history, *rest]:
                check_device(history, float(rest[0]) if rest else 30.0)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Unwell as exc:
        print(exc)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
