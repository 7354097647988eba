"""A tiny model on an interpreted GPU, beside transformers' model that rounds as it does."""

from typing import get_args

import torch
from interpreted_gpu import launch_list, open_interpreted
from tiny_llama import CONFIG, VOCAB, random_model, write_weights

from nacelle_builder.compile.gpu.layer_launches import own_linears
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.place import HeadProduct, LibraryCall
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.gate.fake_quantise import Stretch, rounding_of
from nacelle_builder.gate.fidelity import bounds_of
from nacelle_builder.gate.planned import planned_steps
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import Span, block_tables, step_input
from nacelle_builder.numerics import step_classes
from nacelle_engine.limits import Limits
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.precision import ComputeType, Quantization
from nacelle_engine.program.launch import NumericsClass
from nacelle_engine.program.signature import WEIGHTS
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=6, max_input_len=200, max_seq_len=256, max_num_tokens=192)
PER_TOKEN = Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN")


# The interpreter knows no dependent launch: the architecture is one without.
class Tiny:
    """A program, its reference, and sequences whose cache the program holds.

    libraries: kind of layer -> what attends in its steps of prompts, instead of a kernel.
    """

    limits = LIMITS

    def libraries(self, spec, recipe):
        return {}

    backend = "native"

    def linears(self, spec, recipe):
        """What layers consist of beside attention."""
        return own_linears

    # The largest mixed step that is captured.
    captured_tokens = 0

    def __init__(self, monkeypatch, rank, quantization=PER_TOKEN, config=CONFIG, **recipe):
        """A Llama of a config.json."""
        model, spec = random_model(config), read_spec(config)
        write_weights(model, quantization, rank, config)
        names = source_names(family_of(config), spec)
        self._open(monkeypatch, rank, Reference(model), spec, names, quantization, **recipe)

    def _open(self, monkeypatch, rank, reference, spec, names, quantization, **recipe):
        """The program of a rank that holds weights, and the reference that has their values."""
        recipe = Recipe(
            architecture="sm_89",
            backend=self.backend,
            quantization=quantization,
            limits=self.limits,
            **recipe,
        )
        self.layers = spec.num_layers
        self.reference = reference
        self.classes = step_classes(spec, recipe)
        with open_checkpoint(rank / WEIGHTS) as weights:
            self.roundings = {
                numerics: rounding_of(spec, names, weights, quantization, numerics=numerics)
                for numerics in get_args(NumericsClass)
            }
        every = places(spec, recipe, self.libraries(spec, recipe))
        times = {
            number: {candidate.kernel.name: 1}
            for number, place in enumerate(every)
            for candidate in place.candidates
            if isinstance(candidate.kernel, (LibraryCall, HeadProduct))
        }
        chosen, _ = decide(every, times, "no GPU")
        self.lowered = lower(spec, recipe, chosen, self.linears(spec, recipe))
        self.planned = planned_steps(launch_list(self.lowered))
        self.program = open_interpreted(
            monkeypatch,
            rank,
            signature_of(spec, recipe),
            self.lowered,
            captured_tokens=self.captured_tokens,
        )

    def class_of(self, step):
        """The numerics class of a step of spans (sequence, start, count)."""
        tokens = sum(count for _, _, count in step)
        return self.classes.of(tokens, decode=tokens == len(step))

    def bound(self, steps):
        """The largest error that rounding explains."""
        quantised = any(self.class_of(step) != "fused" for step in steps)
        return bounds_of(
            ComputeType.BFLOAT16,
            self.layers,
            quantised=quantised,
            fp8_cache=any(rounding.kv for rounding in self.roundings.values()),
            fp8_queries=self.planned.fp8_queries,
        ).together

    def logits(self, ids, steps):
        """The program's logits of each step of spans (sequence, start, count)."""
        tables = block_tables([len(tokens) for tokens in ids])
        self.program.allocate_kv(1 + sum(map(len, tables)))
        groups = len(self.program.signature.kv_groups)
        for step in steps:
            spans = [Span(*span) for span in step]
            yield spans, self.program.run(step_input(spans, ids, tables, groups)).clone()

    def error(self, lengths, steps):
        """||found - wanted|| / ||wanted - mean|| over steps of spans (sequence, start, count)."""
        return self.errors(lengths, steps, self.roundings)[0]

    def errors(self, lengths, steps, *several):
        """The same program's error against the reference of each of several roundings."""
        torch.manual_seed(len(steps))
        ids = [torch.randint(VOCAB, (length,)).tolist() for length in lengths]
        made = list(self.logits(ids, steps))
        return [self.error_of(ids, steps, made, roundings) for roundings in several]

    def _rounding(self, step, roundings):
        spans = [Span(*span) for span in step]
        return self.planned.rounding(spans, roundings[self.class_of(step)])

    def error_of(self, ids, steps, made, roundings):
        """The error of logits that `logits(ids, steps)` made, against one reference."""
        wanted = []
        for sequence, tokens in enumerate(ids):
            stretches = [
                Stretch(count, self._rounding(step, roundings))
                for step in steps
                for owner, _, count in step
                if owner == sequence
            ]
            wanted.append(self.reference.logits(torch.tensor([tokens]), stretches)[0])
        errors, norms = [], []
        for spans, found in made:
            rows = torch.cat([wanted[s.sequence][s.start : s.start + s.count] for s in spans])
            errors.append((found - rows).norm())
            norms.append((rows - rows.mean(1, keepdim=True)).norm())
        return float(torch.stack(errors).norm() / torch.stack(norms).norm())
