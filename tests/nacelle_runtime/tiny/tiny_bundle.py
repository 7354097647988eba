"""A sealed bundle for the tiny model: every byte is a token, and "b" ends an answer."""

import json

from tiny_program import VOCABULARY
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from nacelle_engine.abi import ABI
from nacelle_engine.arch import Architecture
from nacelle_engine.bundle import list_files, write_manifest
from nacelle_engine.limits import Limits
from nacelle_engine.manifest import KvGroup, Manifest, Provenance, Target
from nacelle_engine.precision import Determinism, Quantization

# The token "b".
EOS = 65
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and loop.index > 1 %}"
    "{{ raise_exception('system comes first') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


def make_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<s>", "</s>", "<pad>", "<unk>")]
    )
    return tokenizer


def seal(
    root,
    step_seconds=0.0,
    abi=ABI,
    architecture=Architecture.X86_64_V3,
    eos=EOS,
    template=TEMPLATE,
    script="",
    **limits,
):
    tokenizer = make_tokenizer()
    told = [*tokenizer.encode(script).ids, eos] if script else []
    (root / "rank0").mkdir(parents=True)
    program = {"step_seconds": step_seconds, "script": told}
    (root / "rank0" / "tiny.json").write_text(json.dumps(program))
    (root / "tokenizer").mkdir()
    tokenizer.save(str(root / "tokenizer" / "tokenizer.json"))
    (root / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "</s>"}, "chat_template": template})
    )
    sizes = {"max_batch_size": 8, "max_input_len": 300, "max_seq_len": 400, "max_num_tokens": 128}
    manifest = Manifest(
        key="a" * 64,
        target=Target(architecture=architecture),
        abi=abi,
        limits=Limits(**(sizes | limits)),
        quantization=Quantization(),
        determinism=Determinism.FAST,
        numerics=(),
        vocab_size=VOCABULARY,
        hidden_size=32,
        kv_groups=(KvGroup(layers=1, kv_heads=2, head_dim=16),),
        eos_token_ids=(eos,),
        accuracy=None,
        provenance=Provenance(
            model_name="tiny",
            source={"path": "p"},
            model_digest="b" * 64,
            builder_version="0",
            built_at="2026-01-01T00:00:00Z",
        ),
        files=list_files(root),
    )
    write_manifest(root, manifest)
    return root
