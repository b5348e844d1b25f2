"""The one exception a user is meant to read."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from formsafe.core.redaction import redact
from formsafe.core.texts import printable


class FormsafeError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Messages quote models, servers, data and settings, and go to terminals, logs and pages: they are shown without
    control characters and secrets.
    """

    def __str__(self) -> str:
        return redact(printable(super().__str__()))


def command(main: Callable[..., int]) -> Callable[..., int]:
    """A command line that shows a FormsafeError as its message, not as a traceback, and ends with 1 then."""

    @wraps(main)
    def run(*arguments: Any) -> int:
        try:
            return main(*arguments)
        except FormsafeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


def first_line(error: Exception) -> str:
    """The first line of an error's message; the error's kind where it has none (a bare `assert`)."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
