"""The typed configuration, one module a room, so that a room's code depends on its own settings only."""
