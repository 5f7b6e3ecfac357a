"""Processes beside the tests."""

from __future__ import annotations

import socket
import subprocess
import sys


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def run_script(path, *arguments):
    """Run a file that is no test; what it says where it fails."""
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
