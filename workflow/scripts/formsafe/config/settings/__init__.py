"""The typed settings, one module a section: code depends only on the settings that it uses."""
