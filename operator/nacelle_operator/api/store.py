"""Where engines are kept."""

from nacelle_operator.api.schema import ApiModel, Name


class ClaimStore(ApiModel):
    """A claim that holds engines below engines/<key>."""

    claim_name: Name
    """The PersistentVolumeClaim, in the resource's namespace. ReadWriteMany where builds and
    replicas run on several nodes."""


class Store(ApiModel):
    """The place of engines; pods mount it, so it lies in their own namespace."""

    persistent_volume_claim: ClaimStore
    """A claim of the namespace."""
