"""A GPU program on the CPU: the same launches in the same order, by Triton's interpreter."""

import torch
from interpreted import run

from nacelle_engine.program.check import check_step
from nacelle_engine.program.graphs import captured_sizes
from nacelle_engine.program.launch import LaunchList
from nacelle_engine.program.rope_table import rope_table
from nacelle_engine.program.signature import WEIGHTS
from nacelle_engine.program.step_arrays import decode_arrays, is_decode, sizes_of, step_arrays
from nacelle_engine.program.weights import DTYPES, Stored
from nacelle_engine.program.workspace import workspace

CPU = torch.device("cpu")


class InterpretedProgram:
    """Runs a lowered launch list over a rank's weights; `ran` lists the numerics of its steps."""

    device = CPU

    def __init__(self, rank, signature, lowered):
        self.signature = signature
        self.kernels = {kernel.name: kernel for kernel in lowered.kernels}
        self.list = LaunchList(
            kernels=(), buffers=lowered.buffers, steps=lowered.steps, heads=lowered.heads
        )
        self.buffers = workspace(self.list, signature, CPU)
        self.rope = rope_table(signature)
        weights = Stored(rank / WEIGHTS, CPU)
        kinds = {kind.name: kind for kind in signature.kinds}

        def named(program, layer=0):
            return {spec.name: weights.get(spec, layer) for spec in program.weights}

        self.embed, self.head = named(signature.embed), named(signature.head)
        self.layers = [
            (layer.program, layer.group, named(kinds[layer.program], n))
            for n, layer in enumerate(signature.layers)
        ]
        weights.finish()
        self.kv, self.ran = [], []

    def allocate_kv(self, blocks):
        groups = [self.signature.kv_groups[group] for _, group, _ in self.layers]
        dtype = DTYPES[self.signature.kinds[0].state[0].dtype]
        self.kv = [
            torch.zeros(blocks, 2, g.kv_heads, self.signature.tokens_per_block, g.head_dim).to(
                dtype
            )
            for g in groups
        ]

    def run(self, step):
        check_step(step, self.signature, self.kv[0].shape[0])
        rows, decode = len(step.logits_rows), is_decode(step)
        if decode:
            sizes = captured_sizes(self.signature.max_batch_size)
            size = min(size for size in sizes if size >= len(step.seq_lens))
            arrays = decode_arrays(step, size, self.signature.max_blocks)
            index = self.list.step_index(size, decode)
        else:
            index = self.list.step_index(len(step.token_ids), decode)
            arrays = step_arrays(step, self.list.steps[index].query_tile)
        sizes, chosen = sizes_of(arrays), self.list.steps[index]
        self.ran.append(("decode" if decode else "mixed", chosen.numerics))
        places = {
            "input": {name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
            "buffer": self.buffers,
            "state": {"rope": self.rope},
            "size": sizes,
            "output": {"logits": torch.full((sizes["L"], self.signature.vocab_size), torch.nan)},
            "weight": self.embed,
        }
        self._launch(chosen.embed, places)
        for number, (kind, group, weights) in enumerate(self.layers):
            inputs = places["input"] | {"block_table": places["input"][f"block_table.{group}"]}
            state = {"rope": self.rope, "kv": self.kv[number]}
            self._launch(
                chosen.kinds[kind], places | {"input": inputs, "state": state, "weight": weights}
            )
        self._launch(chosen.finish, places)
        head = self.list.heads[self.list.head_index(sizes["L"])]
        self._launch(head.launches, places | {"weight": self.head})
        return places["output"]["logits"][:rows]

    def _launch(self, launches, places):
        def value(binding):
            return places[binding.source][binding.name]

        tokens = places["size"]["T"]
        for launch in launches:
            if launch.call == "kernel":
                kernel = self.kernels[launch.kernel]
                named = zip(kernel.arguments.items(), launch.arguments, strict=True)
                arguments = {
                    name: value(binding).view(torch.uint8) if kind == "*u8" else value(binding)
                    for (name, kind), binding in named
                }
                run(kernel, arguments, **places["size"])
            elif launch.call == "scaled_mm":
                products = value(launch.x)[:tokens].float() @ value(launch.weight).float().t()
                products *= value(launch.x_scale)[:tokens, None] * value(launch.weight_scale)
                value(launch.out)[:tokens] = products.to(torch.bfloat16)
            elif launch.call == "zero":
                value(launch.out)[:tokens] = 0
            else:
                value(launch.x)[:tokens] += value(launch.delta)[:tokens]
