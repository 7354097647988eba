import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from nacelle_bench import model_shapes, random_model
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 300,
}


@pytest.mark.parametrize("shape", sorted(model_shapes.SHAPES))
def test_a_random_model_has_every_tensor_of_its_family(shape, tmp_path, monkeypatch):
    monkeypatch.setitem(model_shapes.SHAPES, shape, model_shapes.SHAPES[shape] | SMALL)
    folder = tmp_path / "model"

    table = random_model.write_model(shape, folder, layers=2, seed=3)

    files = find_checkpoint(folder)
    tensors = {name: t for file in files.weights for name, t in load_file(file).items()}
    config = json.loads(files.config.read_text())
    spec = read_spec(config)
    made = {
        name for source in source_names(family_of(config), spec).values() for name in source.names
    }
    assert set(tensors) == made
    assert len(checkpoint_tensors(spec)) > len(tensors) / 2
    up = tensors["model.layers.1.mlp.down_proj.weight"]
    assert up.shape == (64, 96)
    assert up.dtype == torch.bfloat16
    assert up.float().std().item() == pytest.approx(96**-0.5, rel=0.05)
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert table.rows == [{"shape": shape, "layers": 2, "gb": total / 1e9}]


def test_its_tokenizer_gives_back_any_text_and_stays_below_the_vocabulary(tmp_path):
    random_model._write_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    ids = tokenizer.encode("Crème brûlée, 日本").ids

    assert tokenizer.decode(ids) == "Crème brûlée, 日本"
    assert tokenizer.token_to_id("<|begin|>") == 256
    assert tokenizer.token_to_id("<|end|>") == 257


def test_a_folder_that_is_there_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="is there already: name another folder"):
        random_model.write_model("llama-3.1-8b", tmp_path, layers=1, seed=0)
