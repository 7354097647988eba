"""An engine that is wanted, as far as it is there: what checks look at."""

from collections.abc import Mapping
from dataclasses import dataclass

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.engine_build_status import TargetStatus
from nacelle_operator.api.inference_deployment import InferenceDeployment


@dataclass(frozen=True)
class Candidate:
    """The engine, the one that drafts for it, and where both come from."""

    resource: InferenceDeployment
    build: EngineBuild | None
    target: TargetStatus | None
    engine_name: str
    engine: Engine | None
    runtime_images: Mapping[str, str]
    triton_images: Mapping[str, str]
    draft: Engine | None = None

    @property
    def draft_name(self) -> str | None:
        """The Engine that is to draft, if one is."""
        speculative = self.resource.spec.runtime.speculative
        ref = speculative.draft_engine_ref if speculative else None
        return ref.name if ref else None
