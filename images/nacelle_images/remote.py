"""What a registry already has."""

import urllib.error
import urllib.request

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.registry import Registry

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
SECONDS = 20


def has_image(registry: Registry, repository: str, tag: str) -> bool:
    """Whether a tag is there. A registry that wants credentials counts as one without it."""
    host, _, prefix = registry.name.partition("/")
    path = "/".join(filter(None, ["v2", prefix, repository, "manifests", tag]))
    url = f"{'http' if registry.plain_http else 'https'}://{host}/{path}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFESTS})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return True
    except urllib.error.HTTPError as error:
        if error.code in {401, 403, 404}:
            return False
        raise ClusterError(f"{url}: {error.code} {error.reason}") from error
    except OSError as error:
        raise ClusterError(f"registry {registry.name} does not answer: {error}") from error
