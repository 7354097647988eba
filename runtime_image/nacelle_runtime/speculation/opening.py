"""From settings to a speculation that can run: its engine, its costs, its words."""

import logging
from dataclasses import dataclass
from pathlib import Path

from nacelle_engine.bundle import Bundle, read_bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.program.program import Program, open_program
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.runner import Runner
from nacelle_runtime.settings import CoreSettings
from nacelle_runtime.speculation.acceptance import accept
from nacelle_runtime.speculation.draft_bundle import check_draft
from nacelle_runtime.speculation.draft_engine import DraftEngine
from nacelle_runtime.speculation.drafter import Drafter
from nacelle_runtime.speculation.measuring import answering_costs, drafting_costs
from nacelle_runtime.speculation.prompt_lookup import PromptLookup
from nacelle_runtime.speculation.speculation import Speculation
from nacelle_runtime.speculation.synthetic import AnyTokens, SyntheticAcceptance
from nacelle_runtime.speculation.words import Method, describe


@dataclass(frozen=True)
class Draft:
    """An open draft engine; its cache has as many blocks as the target's."""

    bundle: Bundle
    program: Program


@dataclass(frozen=True)
class Served:
    """The engine that is drafted for: what runs it, and how it is run."""

    bundle: Bundle
    runner: Runner
    requests: int
    blocks: int
    depth: int


def open_draft(settings: CoreSettings, target: Bundle, requests: int) -> Draft | None:
    """The draft engine that was asked for; InvalidRequest where it does not fit the target."""
    if settings.draft_engine is None:
        return None
    bundle = read_bundle(Path(settings.draft_engine))
    check_draft(target, bundle, requests)
    return Draft(bundle, open_program(bundle.rank(), settings.threads))


def speculation(settings: CoreSettings, served: Served, draft: Draft | None) -> Speculation | None:
    """The speculation that was asked for; steps of both engines are measured for its rule."""
    method = Method(settings.speculation)
    if method is Method.NONE:
        return None
    limits, size = served.bundle.manifest.limits, served.bundle.manifest.tokens_per_block
    most = min(limits.max_num_tokens, limits.max_seq_len)
    if most < 2:
        raise InvalidRequest(f"--speculation {method}: the engine runs one token a step")
    width = settings.speculative_tokens + 1
    needed = max(min(served.requests * width, most), 2)
    costs = drafting_costs(served.runner, needed, min(width, most), size)
    plain = answering_costs(served.runner, min(served.requests, most), served.depth)
    rule = accept
    if settings.synthetic_acceptance is not None:
        rule = SyntheticAcceptance(settings.synthetic_acceptance)
        logging.getLogger("nacelle").warning("%s", words(settings, draft))
    drafter = _drafter(settings, served, draft)
    tokens, depth = settings.speculative_tokens, served.depth
    return Speculation(drafter, costs, tokens, depth, rule, plain)


def words(settings: CoreSettings, draft: Draft | None) -> str:
    """What is done, for people."""
    key = draft.bundle.manifest.key if draft is not None else ""
    method, tokens = Method(settings.speculation), settings.speculative_tokens
    return describe(method, tokens, key, settings.synthetic_acceptance)


def _drafter(settings: CoreSettings, served: Served, draft: Draft | None) -> Drafter:
    if draft is None:
        return PromptLookup() if settings.synthetic_acceptance is None else AnyTokens()
    limits, size = draft.bundle.manifest.limits, draft.bundle.manifest.tokens_per_block
    runner = Runner.of(draft.bundle, draft.program)
    costs = answering_costs(runner, min(served.requests, limits.max_num_tokens), depth=1)
    pool = BlockPool(served.blocks)
    # A text that is caught up with holds up a step of the target: no longer than a prompt's share.
    most = min(settings.prompt_tokens(draft.program.device.type), limits.max_num_tokens)
    return DraftEngine(runner, pool, size, max(most, served.requests), costs)
