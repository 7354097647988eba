"""What the environment asks for."""

from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.settings import Settings, read_settings


def test_without_a_word_the_cache_is_in_the_home_folder():
    settings = read_settings({})
    assert settings == Settings(Path("~/.cache/nacelle").expanduser(), "nacelle")
    assert settings.home == settings.cache / "cluster"


def test_every_variable_is_read():
    settings = read_settings(
        {
            "NACELLE_CACHE": "/c",
            "NACELLE_CLUSTER": "mine",
            "KUBECONFIG": "/k",
            "REGISTRY": "r:5000/x",
            "REGISTRY_PLAIN_HTTP": "1",
        }
    )
    assert settings == Settings(Path("/c"), "mine", "/k", "r:5000/x", registry_plain_http=True)


@pytest.mark.parametrize("name", ["Mine", "1st", "a_b", "a/b", "a" * 31, "a\n"])
def test_a_name_that_cannot_be_a_host_name_is_refused(name):
    with pytest.raises(ClusterError, match="NACELLE_CLUSTER"):
        Settings(Path("/c"), name)
