"""The one exception a user is meant to read."""

from formsafe.core.redaction import redact
from formsafe.core.texts import printable


class FormsafeError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Messages quote models, servers, data and settings, and go to terminals, logs and pages: they are shown without
    control characters and secrets.
    """

    def __str__(self) -> str:
        return redact(printable(super().__str__()))
