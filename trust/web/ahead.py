# SPDX-License-Identifier: Apache-2.0
"""A shorter way to the answers that are asked for most: ahead of Flask, which takes longer than all the rest.

    app.wsgi_app = Ahead("troth-server", app.wsgi_app, find, database.watch(…))

`find` answers where all is well: the thing is there, and the caller may have it.  Where it knows nothing, the app
behind is asked; where it raises an error, the app behind answers with that error.  So the answers are those that the
app would give, and either way the request has one ID, one line in the log, and is counted once (`trust.web.app`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from trust.errors import TrustError
from trust.web import tracing
from trust.web.app import BEGUN, Begun, log_answer
from trust.web.bearer import Guard
from trust.web.watch import Look, Watch

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STATUS = {200: "200 OK", 304: "304 NOT MODIFIED"}
_log = logging.getLogger("troth.request")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered.

    Attributes:
        status: 200 or 304.
        headers: all but the request's ID; with the length of what GET would send.
        body: what all but HEAD send.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Ahead:
    """A WSGI application before another.

    Args:
        service: who answers.
        behind: answers everything that is not answered here.
        find: answers within its request (`trust.web.tracing`); None: the app is to be asked.  Where there is a watch,
            what it raises is raised before anything is counted, written or told of.
        watch: changes with everything that answers are made of, so that what was found for one row of it may be given
            out again for the same row; None: nothing may.
        methods: what `find` is asked for.
    """

    def __init__(
        self,
        service: str,
        behind: WSGIApplication,
        find: Callable[[WSGIEnvironment], Answer | None],
        watch: Watch | None,
        methods: Collection[str] = ("GET", "HEAD"),
    ) -> None:
        self.service = service
        self.behind = behind
        self._find = find
        self._watch = watch
        self._methods = methods
        self._thread = threading.local()

    @property
    def has_answered(self) -> bool:
        """Whether the last request of this thread was answered here."""
        return getattr(self._thread, "has_answered", False)

    @property
    def gives_again(self) -> bool:
        """Whether anything may be given out again."""
        return self._watch is not None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        self._thread.has_answered = False
        if environ["REQUEST_METHOD"] not in self._methods:
            return self.behind(environ, start_response)
        begun = self._begin(environ)
        environ[BEGUN] = begun
        try:
            if (answer := self._answer(environ, begun)) is None:
                return self.behind(environ, start_response)
        finally:
            if environ.pop(BEGUN, None) is not None:  # else the app has it, and ends it
                tracing.leave(begun.facts)
        self._thread.has_answered = True
        start_response(STATUS[answer.status], answer.headers)
        return [answer.body] if environ["REQUEST_METHOD"] != "HEAD" else []

    def look(self) -> Look | None:
        """The row of the watch for `at_once`; None: nothing can be answered at once."""
        return None if self._watch is None else self._watch.look()

    def at_once(
        self, environ: WSGIEnvironment, row: Look, known: Mapping[object, object] = MappingProxyType({})
    ) -> Answer | tracing.AwaitsError | None:
        """The answer, if it is at hand and is no error.

        Args:
            environ: what `find` reads of a request: method, path, address and headers.
            row: what `look` gave after the request had come.
            known: what other services answered after that, by the keys of their questions.

        Returns:
            None: the app is to be called as if nothing had happened, and nothing has.  An error that is not raised:
            what another service must be asked first.
        """
        begun = self._begin(environ)
        begun.facts.at_once = True
        begun.facts.seen |= {self._watch: row, **known}
        try:
            return self._answer(environ, begun)
        except tracing.AwaitsError as error:
            return error
        finally:
            tracing.leave(begun.facts)

    def _begin(self, environ: WSGIEnvironment) -> Begun:
        return Begun(tracing.enter(self.service, environ.get("HTTP_X_REQUEST_ID", "")), time.monotonic())

    def _answer(self, environ: WSGIEnvironment, begun: Begun) -> Answer | None:
        begun.facts.address = environ.get("REMOTE_ADDR", "")
        try:
            answer = self._find(environ)
        except tracing.AwaitsError:
            raise
        except tracing.TakesTimeError:
            return None
        except TrustError as error:
            if not begun.facts.at_once:
                begun.error = error
                Guard.count(begun.facts)
            return None
        except Exception:
            # The app meets it, too, and tells; if not, this is the only trace.
            _log.exception("%s: the short way to an answer failed", self.service)
            return None
        if answer is not None:
            Guard.count(begun.facts)
            answer.headers.append((tracing.HEADER, begun.facts.request_id))
            seconds = time.monotonic() - begun.started
            path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
            log_answer(environ["REQUEST_METHOD"], path, answer.status, seconds, client=begun.facts.address)
        return answer
