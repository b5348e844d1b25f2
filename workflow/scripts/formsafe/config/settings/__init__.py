"""The typed settings, one module per section: code depends only on the settings that it uses."""
