"""The hub on loopback of the unit tests."""

from tests.unit.conftest import environment, hub, no_network  # noqa: F401
