# SPDX-License-Identifier: Apache-2.0
"""Webhooks cannot be used to reach what only the registry can reach (AUTH-A11)."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import Receiver
from registry.events import sender as sender_module
from registry.events.addresses import Addresses
from registry.events.sender import Outcome, Sender
from registry.events.signature import headers, new_secret
from trust.ca import Authority, new_authority
from trust.errors import DeniedError, InvalidError, SettingsError, UnavailableError

NAME = "hooks.example.com"
#: What nobody may be sent to, whatever name it hides behind.
INSIDE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "100::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::1%lo", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1",
    "4000::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.0.1", "2600:1f00::1", "2a00:1450::1", "64:ff9b::808:808"]


def resolving(*answers: str | list[str]) -> Any:
    """A resolver that gives these, one after the other; `asked` counts."""
    left = list(answers)

    def resolve(_host: str, port: int, **_options: object) -> list[tuple[Any, ...]]:
        resolve.asked += 1  # type: ignore[attr-defined]
        found = left.pop(0)
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in ([found] if isinstance(found, str) else found)
        ]

    resolve.asked = 0  # type: ignore[attr-defined]
    return resolve


def test_no_name_leads_inside_and_no_url_does() -> None:
    """AUTH-A11"""
    for address in INSIDE:
        addresses = Addresses(resolver=resolving(address))
        with pytest.raises(DeniedError) as refused:
            addresses.resolve(addresses.parse(f"https://{NAME}/", trusted=True), trusted=True)
        assert address not in str(refused.value)
        host = f"[{address}]" if ":" in address else address
        with pytest.raises(InvalidError):
            addresses.parse(f"https://{host}/", trusted=True)


def test_public_addresses_are_allowed_and_of_a_names_addresses_only_those() -> None:
    for address in PUBLIC:
        addresses = Addresses(resolver=resolving(address))
        assert addresses.resolve(addresses.parse(f"https://{NAME}/", trusted=False), trusted=False) == [address]
    addresses = Addresses(resolver=resolving(["10.0.0.1", "8.8.8.8", "::1", "8.8.8.8"]))
    assert addresses.resolve(addresses.parse(f"https://{NAME}/", trusted=False), trusted=False) == ["8.8.8.8"]


def test_an_operators_networks_are_open_to_administrators_webhooks_alone() -> None:
    """AUTH-A11"""
    networks = ("10.1.0.0/16", "fd00:1::/32")
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5"):
        addresses = Addresses(networks, resolver=resolving(address, address))
        url = addresses.parse(f"https://{NAME}/", trusted=True)
        assert [ip_address(each) for each in addresses.resolve(url, trusted=True)] == [ip_address(address)]
        with pytest.raises(DeniedError):
            addresses.resolve(url, trusted=False)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::1", "169.254.169.254"):
        with pytest.raises(DeniedError):
            Addresses(networks, resolver=resolving(address)).resolve(url, trusted=True)
    with pytest.raises(SettingsError, match=r"10\.1\.0\.1/16"):
        Addresses(["10.1.0.1/16"])


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "gopher://hooks.example.com/",
        "hooks.example.com", "//hooks.example.com/", "https://", "https:///path", "https://user@hooks.example.com/",
        "https://user:password@hooks.example.com/", "https://8.8.8.8@127.0.0.1/", "https://127.0.0.1#@8.8.8.8/",
        "https://8.8.8.8\\@127.0.0.1/", "https://hooks.example.com:0/", "https://hooks.example.com:65536/",
        "https://hooks.example.com:x/", "https://hooks.example.com/ HTTP/1.1", "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com./", "https://-/", "https://a..b/", "https://[::1/", "https://[fe80::1%25lo]/",
        "https://ｈooks.example.com/", "https://hooks.example.com/#part", "https://hooks.example.com/" + "a" * 2000,
        "https://%31%32%37.0.0.1/", "https://127.0.0.1:443/", "https://127.0.0.1./",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_url_is_refused_when_a_webhook_is_added(url: str) -> None:
    """AUTH-A11"""
    with pytest.raises(InvalidError):
        Addresses().parse(url, trusted=True)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "a.0x", "1.2.3.4.5"])
def test_what_a_resolver_may_take_for_a_loopback_address_is_no_name(host: str) -> None:
    """AUTH-A11"""
    with pytest.raises(InvalidError):
        Addresses(["0.0.0.0/0"]).parse(f"https://{host}/", trusted=True)


def test_the_machines_own_names_lead_nowhere() -> None:
    """AUTH-A11"""
    outcome = Sender(Addresses()).post("https://localhost/", b"{}", {}, trusted=True)
    assert outcome == Outcome(None, "the name's address is not a public one, and is not allowed")


@given(st.text(), st.booleans())
def test_a_url_is_parsed_or_refused_and_nothing_else(text: str, plain_http: bool) -> None:
    addresses = Addresses(plain_http=plain_http, resolver=resolving())
    for candidate in (text, f"https://{text}", f"http://{text}/", f"https://{NAME}/{text}"):
        try:
            url = addresses.parse(candidate, trusted=False)
        except InvalidError:
            continue
        assert f"{url.origin}{url.target}".isascii()
        assert not set("\r\n @#") & set(f"{url.origin}{url.target}")


def test_a_name_that_cannot_be_resolved_is_no_error_of_ours() -> None:
    def nobody(*_arguments: object, **_options: object) -> Any:
        raise socket.gaierror("Name or service not known")

    addresses = Addresses(resolver=nobody)
    with pytest.raises(UnavailableError):
        addresses.resolve(addresses.parse(f"https://{NAME}/", trusted=False), trusted=False)


# With real connections.


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(new_authority("test", datetime.now(UTC)))


@pytest.fixture
def ca(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.certificate_pem)
    return path


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS, as `hooks.example.com`."""
    authority.issue(NAME, [NAME], server=True, client=False, now=datetime.now(UTC)).write(
        tmp_path / "server.crt", tmp_path / "server.key"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    return context


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """A machine that nobody may be sent to."""
    with Receiver("127.0.0.1") as receiver:
        yield receiver


def test_the_connection_goes_to_the_very_address_that_was_looked_at(
    ca: Path, tls: ssl.SSLContext, inside: Receiver
) -> None:
    """AUTH-A11: DNS rebinding"""
    with Receiver("127.0.0.2", tls) as receiver:
        resolver = resolving("127.0.0.2", "127.0.0.1")
        sender = Sender(Addresses(["127.0.0.2/32"], resolver=resolver), ca)
        url = f"https://{NAME}:{receiver.port}/hook?a=1"
        assert sender.post(url, b"{}", {"webhook-id": "1"}, trusted=True) == Outcome(204, None)
        (came,) = receiver.requests
        assert (came.method, came.path, came.body) == ("POST", "/hook?a=1", b"{}")
        assert (came.headers["Host"], came.server_name) == (f"{NAME}:{receiver.port}", NAME)
        assert resolver.asked == 1
        # Asked anew, the name stands for something else: that is looked at, too.
        refused = sender.post(url, b"{}", {}, trusted=True)
        assert refused.error == "the name's address is not a public one, and is not allowed"
        assert len(receiver.requests) == 1
    assert inside.requests == []


def test_a_certificate_for_another_name_or_of_another_authority_is_refused(ca: Path, tls: ssl.SSLContext) -> None:
    with Receiver("127.0.0.1", tls) as receiver:
        for name, known in (("other.example.com", ca), (NAME, None)):
            sender = Sender(Addresses(["127.0.0.1/32"], resolver=resolving("127.0.0.1")), known)
            outcome = sender.post(f"https://{name}:{receiver.port}/", b"{}", {}, trusted=True)
            assert outcome.status is None
            assert outcome.error is not None
            assert outcome.error.startswith("TLS: ")
        assert receiver.requests == []
    with pytest.raises(SettingsError):
        Sender(Addresses(), ca.with_name("missing"))


def test_no_redirect_is_followed_and_no_proxy_is_asked(inside: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTH-A11"""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, inside.url)
    with Receiver("127.0.0.2") as receiver:
        receiver.answers = [301, 302, 303, 307, 308]
        receiver.headers = {"Location": inside.url}
        sender = Sender(Addresses(["127.0.0.2/32"], plain_http=True))
        for status in (301, 302, 303, 307, 308):
            outcome = sender.post(receiver.url, b"{}", {}, trusted=True)
            assert outcome == Outcome(status, "redirects are not followed")
        assert len(receiver.requests) == 5
    assert inside.requests == []


def test_a_name_with_several_addresses_is_tried_at_each_until_one_answers() -> None:
    with Receiver("127.0.0.2") as receiver:
        resolver = resolving(["127.0.0.3", "127.0.0.2"])
        sender = Sender(Addresses(["127.0.0.0/8"], plain_http=True, resolver=resolver))
        assert sender.post(f"http://{NAME}:{receiver.port}/", b"{}", {}, trusted=True) == Outcome(204, None)


def test_an_answer_that_trickles_or_never_ends_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "LONGEST", 0.4)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            handler.wfile.write(b"X-More: of it\r\n")
            time.sleep(0.05)

    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 65536)

    with Receiver() as receiver:
        receiver.answers = [trickle, pour]
        sender = Sender(Addresses(["127.0.0.1/32"], plain_http=True))
        assert sender.post(receiver.url, b"{}", {}, trusted=True) == Outcome(None, "no answer in 0.4 seconds")
        assert sender.post(receiver.url, b"{}", {}, trusted=True) == Outcome(200, None)


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # What the library `standardwebhooks` 1.1 signs.
    now = datetime.fromtimestamp(1614265330, UTC)
    signed = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", now, b'{"test": 2432232314}'
    )
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }  # fmt: skip
    assert new_secret() != new_secret()
