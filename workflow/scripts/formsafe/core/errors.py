"""The one exception a user is meant to read."""


class FormsafeError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""
