"""Errors of the operator, by what a reconcile does about them.

OperatorError
|-- Retry                   the queue tries again with backoff
|   |-- Unavailable         no answer in time, 5xx, or the connection broke
|   |-- Throttled           429: the API server asks for patience, perhaps for how long
|   |-- Conflict            409: the object changed, or is going, under our hands
|   `-- NamespaceEnds       403: the namespace is going, and takes nothing new
|-- NotFound                404: the object, its namespace or its kind does not exist
|-- NotConfigured           no kubeconfig says which cluster is meant
|-- Refused                 400, 401, 403, 422 ...: asking again as it is gives the same answer
`-- NotLeader               this process may not write
"""


class OperatorError(Exception):
    """The root of the operator's own errors."""


class Retry(OperatorError):
    """Trying again later can help."""


class Unavailable(Retry):
    """The API server gave no answer in time, a 5xx, or the connection broke."""


class Throttled(Retry):
    """The API server has asked for patience; `after` is in seconds."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Conflict(Retry):
    """The object has changed, exists already, or is going."""


class NamespaceEnds(Retry):
    """The namespace is being deleted: what we have in it goes soon, and then asks for no more."""


class NotFound(OperatorError):
    """The object, its namespace or its kind does not exist."""


class NotConfigured(OperatorError):
    """No kubeconfig says which cluster is meant, or it cannot be read."""


class Refused(OperatorError):
    """The API server refuses the request, and would again."""


class NotLeader(OperatorError):
    """Another process leads, or may lead: nothing may be written."""
