"""What keeps a cluster's status from being read; each says what is wrong and what to do.

NacelleError
|-- PermanentError
|   |-- NoCluster             no kubeconfig says which cluster is meant
|   |-- DefinitionsMissing    the cluster does not know our kinds
|   |-- NoSuchResource        nothing of that name
|   `-- AccessRefused         who asks may not
`-- TemporaryError
    |-- ClusterUnavailable    the API server does not answer
    `-- StillUnderWay         the watch's time is over
"""

from nacelle_engine.errors import PermanentError, TemporaryError


class NoCluster(PermanentError):
    """No kubeconfig says which cluster is meant, or it cannot be read."""


class DefinitionsMissing(PermanentError):
    """The cluster does not know our kinds."""


class NoSuchResource(PermanentError):
    """Neither an EngineBuild nor an InferenceDeployment has that name."""


class AccessRefused(PermanentError):
    """The API server refuses who asks."""


class ClusterUnavailable(TemporaryError):
    """The API server does not answer."""


class StillUnderWay(TemporaryError):
    """The time of a watch is over before all is done."""
