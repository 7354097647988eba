"""What a step of each size consists of on a GPU: launches of a layer, and of the whole step."""

from dataclasses import dataclass

from nacelle_engine.program.launch import Launch, LaunchList, StepRange
from nacelle_engine.program.signature import Signature


@dataclass(frozen=True)
class StepFacts:
    """One range of the launch list.

    tokens_a_request  the least in the mean
    layer             launches of one layer, by kind
    step              launches of a whole step whose rows of logits are as many as its first size
                      allows
    launches          what one layer launches, in order, by kind
    """

    first: int
    last: int
    decode: bool
    tokens_a_request: int
    numerics: str
    layer: dict[str, int]
    step: int
    launches: dict[str, tuple[str, ...]]


def step_facts(launches: LaunchList, signature: Signature) -> tuple[StepFacts, ...]:
    """Every range of steps, in the list's order."""
    return tuple(_facts(one, launches, signature) for one in launches.steps)


def _facts(one: StepRange, launches: LaunchList, signature: Signature) -> StepFacts:
    layers = sum(len(one.kinds[layer.program]) for layer in signature.layers)
    # A step of one prompt makes one row of logits, a decode step one a token.
    head = launches.heads[launches.head_index(one.min_tokens if one.decode else 1)]
    return StepFacts(
        first=one.min_tokens,
        last=one.max_tokens,
        decode=one.decode,
        tokens_a_request=one.tokens_a_request,
        numerics=one.numerics,
        layer={name: len(made) for name, made in one.kinds.items()},
        step=len(one.embed) + layers + len(head.launches),
        launches={name: tuple(map(_name, made)) for name, made in one.kinds.items()},
    )


def _name(launch: Launch) -> str:
    if launch.call == "kernel":
        return launch.kernel
    if launch.call == "plan":
        return f"TensorRT's plan {launch.plan}, profile {launch.profile}"
    return launch.library if launch.call == "paged_attention" else launch.call
