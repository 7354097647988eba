"""Operations of a step: what its products and its attention take, an addition counted too."""

from math import prod

from nacelle_engine.program.signature import ProgramSpec, Signature


def step_operations(signature: Signature, requests: int, start: int, count: int) -> int:
    """Operations of `requests` that each run `count` tokens from position `start`.

    2 n k a token for each matrix [n, k] of the layers, and for the head on one token a request;
    4 x the queries' width for each pair of a query and a key that its layer lets it see.
    """
    kinds = {kind.name: kind for kind in signature.kinds}
    one = 0
    for layer in signature.layers:
        kind = kinds[layer.program]
        pairs = seen(start, count, signature.kv_groups[layer.group].window)
        one += 2 * count * _elements(kind) + 4 * _queries_width(kind) * pairs
    return requests * (one + 2 * _elements(signature.head))


def seen(start: int, count: int, window: int | None = None) -> int:
    """Keys that `count` queries from position `start` see together: themselves and before."""
    end = start + count
    if window is None:
        return (end * (end + 1) - start * (start + 1)) // 2
    return sum(min(position + 1, window) for position in range(start, end))


def _elements(program: ProgramSpec) -> int:
    return sum(prod(weight.shape) for weight in program.weights if len(weight.shape) == 2)


def _queries_width(kind: ProgramSpec) -> int:
    # The output projection takes what the query heads give.
    return next(weight.shape[1] for weight in kind.weights if weight.name == "dense")
