"""A target's next Job: created, and never applied again."""

from nacelle_operator.build import reasons
from nacelle_operator.build.decision import Progressing
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.objects.build_job import build_job


def new_job(target: TargetInput, name: str) -> Progressing:
    """The decision to create the Job of this name, one of the request's."""
    image, memory = target.toolchain.builder_image, target.memory(name)
    job = build_job(target.build, target.request, image, name, memory)
    return Progressing(reasons.JOB_CREATED, f"Job {name} is created", creates=(job,))
