"""`host:port` is read in one way; every error says what is wrong with it and how to write it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.cluster.settings import RaySettings
from testbed.link.settings import ForwardSettings
from transport.address import Address, names_loopback
from transport.settings import Dial

HOSTS = st.one_of(st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?\Z"), st.ip_addresses(v=4).map(str))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("edge.local", "has no port"),
        ("", "has no port"),
        ("::1:7070", "in brackets"),
        ("::1", "in brackets"),
        ("[::1]", "in brackets"),
        ("http://edge.local:7070", "URL"),
        ("edge.local:7070/v1", "URL"),
        ("edge.local:", "no number from 1 to 65535"),
        ("edge.local:0", "no number from 1 to 65535"),
        ("edge.local:65536", "no number from 1 to 65535"),
        ("edge.local:99999999999999999999", "no number from 1 to 65535"),
        ("edge.local:٣", "no number from 1 to 65535"),
        ("edge.local:-1", "no number from 1 to 65535"),
        (":7070", "no name and no IP address"),
        ("edge local:7070", "no name and no IP address"),
        ("[edge.local]:7070", "no name and no IP address"),
        ("[10.0.0.1]:7070", "no name and no IP address"),
        ("[]:7070", "no name and no IP address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.read(text)


@given(HOSTS, st.integers(1, 65535))
def test_names_and_addresses_of_four_bytes_are_read_as_urls_read_them(host: str, port: int) -> None:
    url = urlsplit(f"//{host}:{port}")
    assert Address.read(f"{host}:{port}") == (url.hostname, url.port)


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_brackets_come_off_and_go_back_on(ip: object, port: int) -> None:
    address = Address.read(f"[{ip}]:{port}")
    assert address == (str(ip), port)
    assert str(address) == f"[{ip}]:{port}"


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("localhost:1", True), ("127.3.2.1:1", True), ("[::1]:1", True),
        ("edge.local:1", False), ("10.0.0.1:1", False), ("[::2]:1", False), ("localhost.example:1", False),
    ],
)  # fmt: skip
def test_only_loopback_is_near(text: str, near: bool) -> None:
    assert Dial(target=text).is_near is near


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("127.0.0.1", True), ("127.0.0.1:80", True), ("localhost:80", True), ("[::1]", True), ("[::1]:80", True),
        ("", False), ("example.org", False), ("example.org:80", False), ("127.0.0.1.example.org:80", False),
        ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_a_host_header_may_leave_its_port_out(header: str, named: bool) -> None:
    assert names_loopback(header) is named


def test_settings_say_why_a_target_is_refused() -> None:
    for build in (
        lambda: Dial(target="edge.local"),
        lambda: RaySettings(address="head"),
        lambda: ForwardSettings(name="edge", target="edge"),
    ):
        with pytest.raises(ValidationError, match="it has no port; write host:port"):
            build()
