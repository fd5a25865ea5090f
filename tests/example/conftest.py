"""The tests of the example that the repository ships: its three consumers, its program and its README.

They are yours: change them with the example, and delete the folder with it. No other test needs the example.
"""

from tests.handler.conftest import log_lines as log_lines
