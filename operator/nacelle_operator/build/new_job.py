"""A target's next Job: created, and never applied again."""

from nacelle_engine.canonical import digest
from nacelle_operator.build import reasons
from nacelle_operator.build.decision import Progressing
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.objects.build_job import WantedJob, build_job


def new_job(target: TargetInput, name: str) -> Progressing:
    """The decision to create the Job of this name, one of the request's."""
    image, memory = target.toolchain.builder_image, target.memory(name)
    made = digest({"now": target.now.isoformat()})[:8]
    wanted = WantedJob(name, memory, made, target.observed.gpu_labels)
    job = build_job(target.build, target.request, image, wanted)
    return Progressing(reasons.JOB_CREATED, f"Job {name} is created", creates=(job,))
