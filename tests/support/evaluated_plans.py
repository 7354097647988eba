"""TensorRT without TensorRT: a program's plans computed as their networks describe them.

Stands where `Plans` does in a `GpuProgram` on an interpreted GPU.
"""

from functools import partial

import interpreted_gpu
from network_evaluator import evaluate
from tiny_family import TinyFamily
from tiny_gpu import Tiny

from nacelle_builder.compile.tensorrt.layer_networks import layer_networks
from nacelle_builder.compile.tensorrt.plan_launches import PlanLinears
from nacelle_builder.compile.tensorrt.profiles import profiles
from nacelle_engine.program import gpu


class EvaluatedPlans:
    """Plans that check their profile, and keep count of their calls."""

    def __init__(self, networks, ranges):
        self._networks = {network.name: network for network in networks}
        self._ranges = ranges
        self.calls = 0

    def call(self, launch, inputs, weights, output, stream):
        network, profile = self._networks[launch.plan], self._ranges[launch.profile]

        def run(tokens):
            assert profile.first <= tokens <= profile.last, (launch.plan, tokens)
            assert all(tensor is not output for tensor in inputs.values()), "written while read"

            def now():
                self.calls += 1
                rows = {name: tensor[:tokens] for name, tensor in inputs.items()}
                output[:tokens] = evaluate(network, rows | dict(weights))

            capturing = interpreted_gpu._capturing
            (now if capturing is None else lambda: capturing.append(now))()

        return run


class _OnPlans:
    """Layers are TensorRT's plans."""

    backend = "tensorrt"

    def _open(self, monkeypatch, *arguments, **recipe):
        monkeypatch.setattr(gpu, "open_plans", lambda rank, files: self.plans)
        super()._open(monkeypatch, *arguments, **recipe)

    def linears(self, spec, recipe):
        networks = layer_networks(spec, recipe)
        ranges = profiles(networks, recipe.limits.max_num_tokens)
        self.plans = EvaluatedPlans(networks, ranges)
        entry, leave = networks
        return partial(
            PlanLinears, entry=entry, exit=leave, profiles=ranges, layers=spec.num_layers
        )


class PlannedLlama(_OnPlans, Tiny):
    """The tiny Llama."""


class PlannedFamily(_OnPlans, TinyFamily):
    """A tiny model of a family."""
