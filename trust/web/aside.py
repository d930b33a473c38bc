# SPDX-License-Identifier: Apache-2.0
"""Do something in a process of its own that ends with it, so that nothing of it stays in the memory of this one.

    aside(lambda: upgrade(database, migrations), "the tables could not be brought up to date")

What a service's first process has imported and allocated when it forks its workers, all of them hold as long as they
live; a migration's tools, which are a good part of that, are of no use to them.  And what may crash, such as the
module of a token, crashes there alone.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

from trust.errors import SettingsError, TrustError


def aside(work: Callable[[], object], failure: str) -> None:
    """Do `work` in a child process, and wait for its end.

    Before there are threads, and connections that must not cross a fork.

    Args:
        work: what is done there.
        failure: what is said if the child ends without an answer; its traceback is on standard error, if it had one.

    Raises:
        TrustError: `work` raised it.
        SettingsError: the child did not come to its end.
    """

    def child(answer: Connection) -> None:
        try:
            work()
            answer.send(None)
        except TrustError as error:
            answer.send(error)

    fork = get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        error: TrustError | None = ours.recv()
    except EOFError:
        error = SettingsError(failure)
    process.join()
    ours.close()
    if error is not None:
        raise error
