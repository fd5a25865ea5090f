"""The engine's fixtures that the commands' tests use."""

from tests.handler.conftest import log_lines as log_lines
