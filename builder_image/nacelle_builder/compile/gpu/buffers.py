"""The tensors between the launches of a GPU's program."""

from nacelle_builder.compile.gpu.place import HeadProduct, libraries_of
from nacelle_builder.compile.gpu.plan import Plan
from nacelle_builder.numerics import quantises, step_classes
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu.block_scales import COLUMNS, MOST_TOKENS
from nacelle_engine.program.launch import Buffer, BufferDtype, Size
from nacelle_engine.recipe import Recipe


def buffers(spec: ModelSpec, recipe: Recipe, plan: Plan) -> tuple[Buffer, ...]:
    """The workspace's tensors, each as large as the largest step needs it."""
    tokens = Size(symbol="T")
    made = [
        _buffer("x", "bfloat16", tokens, spec.hidden_size),
        _buffer("qkv", "bfloat16", tokens, spec.q_size + 2 * spec.kv_size),
        _buffer("q", "bfloat16", tokens, spec.q_size),
        _buffer("attention", "bfloat16", tokens, spec.q_size),
    ]
    if recipe.backend == "native":
        made += _of_linears(spec, recipe, plan)
    else:
        # A plan reads one and writes the other.
        made.append(_buffer("y", "bfloat16", tokens, spec.hidden_size))
    if any(library.query_dtype != "bfloat16" for library in libraries_of(plan.candidates)):
        made.append(_buffer("q_codes", "float8_e4m3fn", tokens, spec.q_size))
    if any(isinstance(candidate.kernel, HeadProduct) for candidate in plan.candidates):
        made.append(_buffer("normed_rows", "bfloat16", Size(symbol="L"), spec.hidden_size))
    if partial := max(candidate.partial for candidate in plan.candidates):
        made.append(_buffer("partial", "float32", Size(times=partial)))
    if counters := max(candidate.counters for candidate in plan.candidates):
        made.append(_buffer("counters", "int32", Size(times=counters)))
    return tuple(made)


def _of_linears(spec: ModelSpec, recipe: Recipe, plan: Plan) -> list[Buffer]:
    tokens, classes = Size(symbol="T"), step_classes(spec, recipe)
    quantising = quantises(spec, recipe)
    made = [_buffer("inner", "bfloat16", Size(times=classes.fused), spec.intermediate_size)]
    if quantising or spec.output_norms:
        made.append(_buffer("delta", "bfloat16", tokens, spec.hidden_size))
    if quantising:
        made.append(_buffer("gate_up", "bfloat16", tokens, 2 * spec.intermediate_size))
        if not plan.static:
            made.append(_buffer("row_scale", "float32", tokens))
    if quantising or classes.block:
        made += [
            _buffer("hidden_codes", "float8_e4m3fn", tokens, spec.hidden_size),
            _buffer("attention_codes", "float8_e4m3fn", tokens, spec.q_size),
            _buffer("inner_codes", "float8_e4m3fn", tokens, spec.intermediate_size),
        ]
    if classes.block:
        hidden_blocks = Size(times=spec.hidden_size // COLUMNS)
        inner_blocks = Size(times=spec.intermediate_size // COLUMNS)
        made += [
            _buffer("x_scales", "float32", hidden_blocks, MOST_TOKENS),
            _buffer("x_squares", "float32", hidden_blocks, MOST_TOKENS),
            _buffer("attention_scales", "float32", Size(times=spec.num_kv_heads), MOST_TOKENS),
            _buffer("inner_scales", "float32", inner_blocks, MOST_TOKENS),
        ]
    return made


def _buffer(name: str, dtype: BufferDtype, first: Size, *rest: int) -> Buffer:
    return Buffer(name=name, dtype=dtype, shape=(first, *(Size(times=size) for size in rest)))
