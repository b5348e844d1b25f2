"""Errors of other libraries, shown in one line."""

import pytest

from formsafe.core.errors import first_line


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("no such key\nin line 3"), "no such key"),
        (AssertionError(), "AssertionError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_an_error_without_a_message_is_named_by_its_kind(error, shown):
    assert first_line(error) == shown
