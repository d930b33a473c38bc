# SPDX-License-Identifier: Apache-2.0
"""A shorter way to the answers that are asked for most: ahead of Flask, which takes longer than all the rest.

    app.wsgi_app = Ahead("troth-server", app.wsgi_app, find)

`find` gives an answer where all is well: the thing is there, and the caller may have it.  Whatever else it may be,
the app behind is asked as if nothing had been before, and says what it is.  So `find` leads to an answer that the app
would give as well, and never to another; it changes nothing and counts nothing unless it answers.

As in the app, a request has an ID, one line in the log, and is counted (`trust.web.app`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import TrustError
from trust.web import tracing
from trust.web.app import log_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_STATUS = {200: "200 OK", 304: "304 NOT MODIFIED"}
_log = logging.getLogger("troth.request")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered.

    Attributes:
        status: 200 or 304.
        headers: all but the request's ID; with the length of what GET would send.
        body: what GET sends.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Ahead:
    """A WSGI application before another.

    Args:
        service: who answers.
        behind: answers everything that is not answered here.
        find: answers a GET or HEAD within its request (`trust.web.tracing`); None, or an error: it does not.
    """

    def __init__(
        self, service: str, behind: WSGIApplication, find: Callable[[WSGIEnvironment], Answer | None]
    ) -> None:
        self._service = service
        self.behind = behind
        self._find = find

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD") and (answer := self._answer(environ)) is not None:
            start_response(_STATUS[answer.status], answer.headers)
            return [answer.body] if environ["REQUEST_METHOD"] == "GET" else []
        return self.behind(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Answer | None:
        started = time.monotonic()
        facts = tracing.enter(self._service, environ.get("HTTP_X_REQUEST_ID", ""))
        facts.address = environ.get("REMOTE_ADDR", "")
        try:
            answer = self._find(environ)
            if answer is not None:
                answer.headers.append((tracing.HEADER, facts.request_id))
                seconds = time.monotonic() - started
                log_answer(
                    environ["REQUEST_METHOD"], environ["PATH_INFO"], answer.status, seconds, client=facts.address
                )
        except TrustError:
            return None
        except Exception:
            # The app meets it, too, and then its caller is told; if not, this is the only trace.
            _log.exception("%s: no short way to an answer", self._service)
            return None
        else:
            return answer
        finally:
            tracing.leave(facts)
