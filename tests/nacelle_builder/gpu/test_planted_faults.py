"""What the gate measures exceeds its bound when a GPU program computes something else."""

from dataclasses import replace

import pytest
import tiny_gpu
from safetensors.torch import load_file, save_file
from tiny_gpu import Tiny

from nacelle_engine.program.signature import WEIGHTS

# A prompt and the token after it, both without quantised activations: the narrowest bounds.
STEPS = ([(0, 0, 12)], [(0, 12, 1)])


def error_over_bound(tiny):
    return tiny.error([13], STEPS) / tiny.bound(STEPS)


def test_the_sound_program_is_within(monkeypatch, tmp_path):
    assert error_over_bound(Tiny(monkeypatch, tmp_path / "rank0")) < 1


@pytest.mark.parametrize("name", ["attention.dense", "mlp.fc"])
def test_a_transposed_tile_shows(monkeypatch, tmp_path, name):
    write = tiny_gpu.write_weights

    def written(model, quantization, rank, config):
        write(model, quantization, rank, config)
        tensors = load_file(rank / WEIGHTS)
        weight = tensors[f"transformer.layers.0.{name}.weight"]
        weight[:32, :32] = weight[:32, :32].T.clone()
        save_file(tensors, rank / WEIGHTS)

    monkeypatch.setattr(tiny_gpu, "write_weights", written)
    assert error_over_bound(Tiny(monkeypatch, tmp_path / "rank0")) > 1


def test_a_wrong_mask_shows(monkeypatch, tmp_path):
    opened = tiny_gpu.open_interpreted

    def open_masked(monkeypatch, rank, signature, lowered, **options):
        masked = [
            replace(kernel, constants={**kernel.constants, "WINDOW": 6})
            if kernel.name.startswith("prefill_attention")
            else kernel
            for kernel in lowered.kernels
        ]
        masked_list = replace(lowered, kernels=tuple(masked))
        return opened(monkeypatch, rank, signature, masked_list, **options)

    monkeypatch.setattr(tiny_gpu, "open_interpreted", open_masked)
    assert error_over_bound(Tiny(monkeypatch, tmp_path / "rank0")) > 1


def test_a_stale_block_of_the_cache_shows(monkeypatch, tmp_path):
    tiny = Tiny(monkeypatch, tmp_path / "rank0")
    run, stale = tiny.program.run, []

    def forgetting(step):
        logits = run(step)
        if not stale:
            # What the block held before the prompt came.
            (block,) = step.block_tables[0].flatten().tolist()
            stale.append(block)
            for cache in tiny.program._kv:
                cache[block].zero_()
        return logits

    monkeypatch.setattr(tiny.program, "run", forgetting)
    assert error_over_bound(tiny) > 1
    assert stale
