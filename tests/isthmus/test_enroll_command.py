"""`isthmus enroll`, each step by command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from isthmus.cli.main import main; main()", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)


def test_a_device_is_enrolled_by_command_and_only_once(tmp_path: Path) -> None:
    pki, token = tmp_path / "pki", tmp_path / "token.json"
    assert "client_ca" in run("enroll", "authority", pki, "--host", "127.0.0.1", "--name", "edge").stdout
    serve = command("enroll", "serve", pki, "--reached-as", "127.0.0.1", "--port", "0")
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        run("enroll", "token", pki, "camera-1", "--tier", f"127.0.0.1:{port}", "--output", token)
        assert token.stat().st_mode & 0o077 == 0
        done = run("enroll", "device", token, tmp_path / "device")
        assert done.returncode == 0, done.stderr
        assert "[edge.tls]" in done.stdout
        again = run("enroll", "device", token, tmp_path / "other")
        assert again.returncode == 4
        assert "has been used" in again.stderr
        server.send_signal(signal.SIGINT)
    assert server.returncode == 130


def test_rules_for_a_broker_name_everyone_and_nobody_who_would_leave_their_topics() -> None:
    names = ("--worker", "edge-1", "--device", "camera-1", "--controller", "office")
    done = run("enroll", "rules", "--group", "site", *names)
    first, second, third = done.stdout.split("\n\n")[:3]
    assert "user edge-1\n" in first
    assert "topic write isthmus/v1/site/results/+" in first
    assert "user camera-1\n" in second
    assert "topic read isthmus/v1/site/results/camera-1" in second
    assert "results/+" not in second
    assert "user office\n" in third
    assert "topic write isthmus/v1/site/commands/office/+" in third
    refused = run("enroll", "rules", "--device", "camera-1/#")
    assert (refused.returncode, refused.stdout) == (4, "")
