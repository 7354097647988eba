"""Stands for an opened FlashInfer library: the same plan and run, by the formula on the CPU."""

from dataclasses import dataclass

import torch

from nacelle_engine.ops.gpu import prefill_attention


@dataclass
class Planned:
    step: object


class AttentionDouble:
    """forgetful: a new plan for a graph is not sent, as if the launch had kept its old one."""

    def __init__(self, library, shape, *, forgetful=False):
        self.library, self._shape, self._forgetful = library, shape, forgetful
        self.plans = []

    def plan(self, step, captured=None):
        self.plans.append(step)
        return Planned(step)

    def replan(self, plan, step):
        if not self._forgetful:
            plan.step = step

    def run(self, plan, layer):
        assert (layer.scale, layer.soft_cap) == (self._shape.softmax_scale, self._shape.soft_cap)
        q = layer.q.float() * layer.q_scale if layer.q_scale is not None else layer.q
        lengths = (torch.from_numpy(x) for x in (plan.step.q_start, plan.step.seq_lens))
        found = prefill_attention.reference(
            q.flatten(1), layer.kv, layer.block_table, *lengths, self._shape,
            kv_scales=layer.kv_scales,
        )  # fmt: skip
        layer.out.copy_(found.view(layer.out.shape))
