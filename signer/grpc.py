# SPDX-License-Identifier: Apache-2.0
"""The signer's second door: the gRPC of the Go signer, so that a Go notary-server can use it (NOTARY_V1 §4.1).

    /proto.KeyManagement/CreateKey     a key for a role of a GUN
    /proto.KeyManagement/DeleteKey     forget a key; an unknown one is forgotten already
    /proto.KeyManagement/GetKeyInfo    a public key and its role
    /proto.Signer/Sign                 a signature
    /grpc.health.v1.Health/Check       serving, when the database and the token answer

It leads to the same vault as the HTTPS API and keeps the same rules: known client certificates only, for every
method; keys for timestamp and snapshot only; payloads that `check_payload` allows.  A Sign request names neither GUN
nor role: they are those that the key was made for.

A call is a POST over HTTP/2 whose body is one message behind a prefix of five bytes; its outcome is in the trailers.
gunicorn speaks HTTP/2, and hands the trailers on (`gunicorn.http2.send_trailers`): no gRPC library, and no thread or
process of its own.  Calls come past WSGI (`trust.web.calls`), and those that are out of the ordinary through it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar
from urllib.parse import quote

from signer.clients import admit
from signer.protobuf import Message, MessageError, field
from signer.vault import Vault
from trust.errors import DeniedError, InvalidError, NotFoundError, TrustError, UnavailableError
from trust.keys import NotaryKey
from trust.keystore import ALGORITHMS
from trust.names import Gun, RoleName
from trust.web import tracing
from trust.web.app import UNMATCHED, log_answer
from trust.web.caller import Who
from trust.web.calls import TYPES, Answer, Call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Method = Callable[[Message, Who], bytes]
#: Services that the health check knows, as the Go signer has them; "" is the whole.
HEALTH_SERVICES = ("", "grpc.health.v1.Health.KeyManagement", "grpc.health.v1.Health.Signer")

OK, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED = 0, 2, 3, 5, 7
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14

_PREFIX_BYTES = 5
_SERVING, _NOT_SERVING = 1, 2
_log = logging.getLogger("troth.signer")


class CallError(TrustError):
    """A call that failed with a gRPC status.

    Args:
        grpc_status: the number.
        message: one sentence for a person.
    """

    status: ClassVar[int] = 200  # HTTP's; gRPC's own is in the trailers

    def __init__(self, grpc_status: int, message: str) -> None:
        super().__init__(message)
        self.grpc_status = grpc_status


@dataclass(frozen=True, slots=True)
class Methods:
    """What can be called: from the bytes of a request message to those of the answer.

    Args:
        vault: the keys.
        max_payload_bytes: the longest payload that is signed.
    """

    vault: Vault
    max_payload_bytes: int

    def create_key(self, request: Message, client: Who) -> bytes:
        """CreateKeyRequest to PublicKey."""
        algorithm = request.text(1)
        if algorithm not in ALGORITHMS:
            raise CallError(UNKNOWN, f"algorithm {algorithm[:40]} not supported for create key")
        gun, role = Gun(request.text(2)), RoleName(request.text(3))
        tracing.note(gun=gun)
        try:
            key = self.vault.create(gun, role, algorithm, who=client)
        except UnavailableError as error:
            _log.warning("no key of %r %s for %r: %s", str(gun), role, client.actor, error)
            raise CallError(INTERNAL, "Key creation failed") from error
        _log.info("key %s of %r %s is given to %r", key.keyid, str(gun), role, client.actor)
        return _public_key(key)

    def delete_key(self, request: Message, client: Who) -> bytes:
        """KeyID to Void."""
        key_id = request.text(1)
        if self.vault.delete(key_id, who=client):
            _log.warning("key %s is deleted for %r", key_id, client.actor)
        return b""

    def get_key_info(self, request: Message, client: Who) -> bytes:
        """KeyID to GetKeyInfoResponse."""
        key_id = request.text(1)
        try:
            placed = self.vault.locate(key_id)
        except NotFoundError as error:
            raise CallError(NOT_FOUND, f"key {key_id[:64]} not found") from error
        return _public_key(placed.key) + field(3, placed.role)

    def sign(self, request: Message, client: Who) -> bytes:
        """SignatureRequest to Signature."""
        key_id, payload = request.message(1).text(1), request.binary(2)
        if len(payload) > self.max_payload_bytes:
            raise CallError(RESOURCE_EXHAUSTED, f"the payload is longer than {self.max_payload_bytes} bytes")
        placed, signature = self.vault.sign_by_id(key_id, payload, who=client)
        tracing.note(gun=placed.gun)
        _log.info("key %s of %r %s signs for %r", key_id, str(placed.gun), placed.role, client.actor)
        ((method, raw),) = signature.candidates
        return field(1, _key_info(placed.key)) + field(2, field(1, method)) + field(3, raw)

    def check(self, request: Message, client: Who) -> bytes:
        """HealthCheckRequest to HealthCheckResponse."""
        if request.text(1) not in HEALTH_SERVICES:
            raise CallError(NOT_FOUND, "unknown service")
        try:
            self.vault.ping()
        except UnavailableError as error:
            _log.warning("not healthy: %s", error)
            return field(1, _NOT_SERVING)
        return field(1, _SERVING)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call, however it came; `method` is None where there is none of that name."""

    path: str
    method: Method | None
    body: BinaryIO
    request_id: str
    address: str
    connection: object


class Door:
    """Answers gRPC, and hands every other request to the app behind it.

    Args:
        behind: the app for everything else.
        methods: what can be called.
        clients: common names of the client certificates that are let in.
    """

    def __init__(self, behind: WSGIApplication, methods: Methods, clients: Collection[str]) -> None:
        self._behind = behind
        self._clients = clients
        # A payload's request also names a key.
        self._max_message = methods.max_payload_bytes + 4096
        self._methods: dict[str, Method] = {
            "/proto.KeyManagement/CreateKey": methods.create_key,
            "/proto.KeyManagement/DeleteKey": methods.delete_key,
            "/proto.KeyManagement/GetKeyInfo": methods.get_key_info,
            "/proto.Signer/Sign": methods.sign,
            "/grpc.health.v1.Health/Check": methods.check,
        }
        self.paths: Collection[str] = self._methods.keys()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, of gRPC or not."""
        if not _is_grpc(environ.get("CONTENT_TYPE", "")):
            return self._behind(environ, start_response)
        send_trailers = environ.get("gunicorn.http2.send_trailers")
        if send_trailers is None:
            start_response("505 HTTP Version Not Supported", [("Content-Type", "text/plain")])
            return [b"gRPC needs HTTP/2\n"]
        path = environ.get("PATH_INFO", "") if environ["REQUEST_METHOD"] == "POST" else ""
        answer = self._answer(
            _Asked(
                environ.get("PATH_INFO", ""),
                self._methods.get(path),
                environ["wsgi.input"],
                environ.get("HTTP_X_REQUEST_ID", ""),
                environ.get("REMOTE_ADDR", ""),
                environ.get("gunicorn.socket"),
            )
        )
        send_trailers(answer.trailers)
        start_response("200 OK", [("Content-Type", TYPES[0])])
        return [answer.body] if answer.body else []

    def call(self, call: Call, connection: object) -> Answer:
        """See `trust.web.calls`."""
        method = self._methods[call.path]
        return self._answer(_Asked(call.path, method, call.body, call.request_id, call.address, connection))

    def _answer(self, asked: _Asked) -> Answer:
        started = time.monotonic()
        facts = tracing.enter("troth-signer", asked.request_id)
        try:
            tracing.note(route=asked.path if asked.path in self._methods else UNMATCHED)
            message, status, text = self._outcome(asked, facts.request_id)
            log_answer("GRPC", asked.path, status, time.monotonic() - started, client=asked.address)
        finally:
            tracing.leave(facts)
        trailers = [("grpc-status", str(status))]
        if text:
            trailers.append(("grpc-message", quote(text, safe="!\"#$&'()*+,/:;<=>?@[\\]^`{|}")))
        return Answer(b"" if message is None else bytes(1) + len(message).to_bytes(4, "big") + message, trailers)

    def _outcome(self, asked: _Asked, call_id: str) -> tuple[bytes | None, int, str]:
        """The answer's message if there is one, the status and its text."""
        try:
            name = admit(asked.connection, self._clients)
            tracing.note(subject=name)
            if asked.method is None:
                raise CallError(UNIMPLEMENTED, "there is no such method")
            data = self._read(asked.body)  # a client that goes away meanwhile is gunicorn's business
            return _call(asked.method, data, Who(name, asked.address, call_id)), OK, ""
        except TrustError as error:
            status = _status(error)
            if status == UNAVAILABLE:
                _log.warning("grpc %s: %s id=%s", type(error).__name__, error, call_id)
            return None, status, error.message

    def _read(self, body: BinaryIO) -> bytes:
        """The one message of a request."""
        prefix = body.read(_PREFIX_BYTES)
        if len(prefix) < _PREFIX_BYTES:
            raise MessageError("the request ends before its message")
        if prefix[0] != 0:  # nobody was told that we read anything compressed
            raise CallError(UNIMPLEMENTED, "compressed messages are not supported")
        length = int.from_bytes(prefix[1:], "big")
        if length > self._max_message:
            raise CallError(RESOURCE_EXHAUSTED, f"the message is longer than {self._max_message} bytes")
        data = body.read(length)
        if len(data) < length:
            raise MessageError("the request ends within its message")
        if body.read(1):
            raise MessageError("the request has more than one message")
        return data


def _call(method: Method, data: bytes, client: Who) -> bytes:
    try:
        return method(Message(data), client)
    except TrustError:
        raise
    except Exception as error:
        _log.exception("signer grpc failed, id=%s", _call_id())
        raise CallError(INTERNAL, f"an internal error occurred; it is logged as {_call_id()}") from error


def _call_id() -> str:
    facts = tracing.current()
    return facts.request_id if facts else ""


def _is_grpc(content_type: str) -> bool:
    # "application/grpc+proto" is the same; "application/grpc-web" is another protocol.
    return content_type.partition(";")[0].strip().lower() in TYPES


def _status(error: TrustError) -> int:
    match error:
        case CallError():
            return error.grpc_status
        case NotFoundError():
            return NOT_FOUND
        case DeniedError():
            return PERMISSION_DENIED
        case InvalidError():
            return INVALID_ARGUMENT
        case UnavailableError():
            return UNAVAILABLE
        case _:
            return INTERNAL


def _key_info(key: NotaryKey) -> bytes:
    return field(1, field(1, key.keyid)) + field(2, field(1, key.keytype))


def _public_key(key: NotaryKey) -> bytes:
    return field(1, _key_info(key)) + field(2, key.public)
