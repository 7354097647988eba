"""What a deployment's status tells about its rollout, and about those before."""

from typing import Annotated, Literal

from pydantic import Field

from nacelle_operator.api.schema import ApiModel, Text, Word

Outcome = Literal["RollingOut", "Serving", "Replaced", "Failed", "Superseded"]


class RevisionStatus(ApiModel):
    """One rendered pod template and what came of it."""

    revision: Annotated[int, Field(ge=1)]
    """Its number."""

    engine: Word
    """The Engine it serves."""

    started: Annotated[str, Field(max_length=32)] = ""
    """When its rollout began."""

    ended: Annotated[str, Field(max_length=32)] = ""
    """When its rollout ended, well or not."""

    outcome: Outcome
    """RollingOut: on its way. Serving: it proved itself, and is the one to fall back to. Replaced:
    it served before. Failed: taken back. Superseded: a newer spec came first."""

    message: Text = ""
    """Why it failed."""


class RolloutStatus(ApiModel):
    """Which revision is live and how far the pods are."""

    slot: Literal["a", "b"]
    """The slot that serves, or will once the rollout is over."""

    revision: Annotated[int, Field(ge=1)]
    """The number of the wanted pod template; it rises with every new one."""

    updated_replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that run that template."""

    stable_revision: Annotated[int, Field(ge=1)] | None = None
    """The revision to fall back to."""

    step: Annotated[int, Field(ge=1)] | None = None
    """The canary's step, from 1; past the last one it serves everything."""

    weight_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """The share of requests that the wanted revision gets now, while there are two."""

    history: Annotated[tuple[RevisionStatus, ...], Field(max_length=128)] = ()
    """The revisions that are kept, newest first."""
