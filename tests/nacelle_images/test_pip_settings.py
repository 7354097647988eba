import configparser

import pytest

from nacelle_images.pip_settings import CERTIFICATES, pip_configuration


def parsed(listing: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(pip_configuration(listing))
    return dict(parser["global"])


ALWAYS = {"cert": CERTIFICATES, "disable-pip-version-check": "true"}


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("", {}),
        (
            "global.index-url='https://mirror.example/simple'",
            {"index-url": "https://mirror.example/simple"},
        ),
        (":env:.default-timeout='180'", {"timeout": "180"}),
        ("global.timeout='5'\n:env:.timeout='9'", {"timeout": "9"}),
        # Files of this machine mean nothing inside the image.
        (":env:.find-links='/opt/wheels'\nglobal.cert='/some/where.pem'", {}),
    ],
)
def test_settings_that_hold_inside_an_image(listing, expected):
    assert parsed(listing) == ALWAYS | expected
