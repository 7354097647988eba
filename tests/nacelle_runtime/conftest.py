"""The tiny model beside the tests, and `nacelle serve` processes over it."""

import sys
from pathlib import Path

TINY = Path(__file__).parent / "tiny"
sys.path.insert(0, str(TINY))

import pytest  # noqa: E402
from serving import start_server  # noqa: E402


@pytest.fixture
def serve(tmp_path):
    """Start servers over a tiny bundle; all of them are gone at the end."""
    started = []

    def start(*flags, **bundle):
        server = start_server(tmp_path / f"server{len(started)}", flags, bundle)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for a module's tests that leave it as it was."""
    server = start_server(tmp_path_factory.mktemp("shared"), (), {})
    yield server
    server.kill()
