"""pip's configuration on this machine, put so that it holds inside an image being built."""

import re

# Files that these settings name are not there inside: certificates are mounted at Debian's place.
KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def pip_configuration(listing: str) -> str:
    """A pip.conf from the output of `pip config list`; later lines win, as they do for pip."""
    settings = {"cert": CERTIFICATES, "disable-pip-version-check": "true"}
    for line in listing.splitlines():
        found = re.fullmatch(r"(?:global|:env:)\.(?:default-)?([a-z-]+)='(.*)'", line)
        if found and found[1] in KEPT:
            settings[found[1]] = found[2]
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
