"""The owner of a connection is killed."""

import socket
import subprocess
import sys

from sandbox.gate.faults import kill_client

CONNECT = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.recv(1)
"""


def test_the_process_of_a_connection_is_killed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen([sys.executable, "-c", CONNECT, str(server.getsockname()[1])])
        connection, (_, port) = server.accept()
        with connection:
            kill_client(port)
            assert process.wait(10) < 0


def test_nothing_happens_if_nobody_has_the_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        kill_client(free.getsockname()[1])
