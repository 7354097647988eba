"""Which Go is installed, as its releases, candidates and builds from source tell."""

import pytest

from nacelle_cluster import golang
from nacelle_cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("go1.26", (1, 26)),
        ("go1.26.3", (1, 26)),
        ("go1.25rc2", (1, 25)),
        ("go1.27rc1", (1, 27)),
        ("go1.26.0 X:nodwarf5", (1, 26)),
        ("go1.25 X:nodwarf5", (1, 25)),
        ("devel go1.28-0a1b2c3d4e Mon Nov 2 10:00:00 2026 +0000", (1, 28)),
    ],
)
def test_major_and_minor(monkeypatch, told, version):
    monkeypatch.setattr(golang, "run", lambda _: f"{told}\n")
    assert golang.go_version() == version


def test_what_is_no_version_is_told(monkeypatch):
    monkeypatch.setattr(golang, "run", lambda _: "unknown\n")
    with pytest.raises(ClusterError, match="go env GOVERSION says 'unknown'"):
        golang.go_version()
