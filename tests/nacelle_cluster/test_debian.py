"""The machine's own apt sources tell where Debian's archive is."""

import pytest

from nacelle_cluster.debian import mirror
from nacelle_cluster.errors import ClusterError

ONE_LINE = "# comment\ndeb [arch=amd64] https://mirror.example/debian bookworm main\n"
PLAIN = "deb http://mirror.example/debian/ bookworm main\n"
DEB822 = """Types: deb
# an older snapshot
URIs: http://mirror.example/debian
Suites: bookworm
"""
SECURITY = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n"
OTHER = "deb https://mirror.example/apt tools main\n"


@pytest.mark.parametrize(
    ("texts", "address"),
    [
        ([ONE_LINE], "https://mirror.example/debian"),
        ([PLAIN], "http://mirror.example/debian/"),
        ([SECURITY, OTHER, DEB822], "http://mirror.example/debian"),
    ],
)
def test_the_archive_is_found(texts, address):
    assert mirror(texts) == address


def test_without_one_the_error_says_where_to_add_it():
    with pytest.raises(ClusterError, match="/etc/apt"):
        mirror([SECURITY, OTHER, ""])
