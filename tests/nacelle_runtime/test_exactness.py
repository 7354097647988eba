"""A float32 engine of SmolLM2 against transformers in float32 with the same quantised weights."""

import asyncio
import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from kept_folder import kept_folder
from real_engine import float32_engine, quantised_reference
from serving import serve_engine

from nacelle_engine.bundle import read_bundle
from nacelle_runtime.client import CoreClient, Generation
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.request import Ending, Sampling

pytestmark = pytest.mark.slow
PROMPTS = Path(__file__).with_name("prompts.txt")
LENGTH = 64
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def engine():
    return float32_engine()


@pytest.fixture(scope="module")
def server(engine, tmp_path_factory):
    server = serve_engine(engine, tmp_path_factory.mktemp("exact"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def prompts(engine):
    tokenizer = Tokenizer(engine / "tokenizer")
    lines = PROMPTS.read_text().splitlines()
    assert len(lines) == 20
    return [tokenizer.encode(line.replace("\\n", "\n"), special=True) for line in lines]


@pytest.fixture(scope="module")
def expected(engine, prompts):
    """transformers' greedy answers, kept beside the engine's key: they take a minute."""
    digest = hashlib.sha256(PROMPTS.read_bytes()).hexdigest()[:16]

    def answer(folder):
        model = quantised_reference(engine)
        told = json.dumps([greedy(model, prompt) for prompt in prompts])
        (folder / "answers.json").write_text(told)

    name = f"{read_bundle(engine).manifest.key[:16]}-{digest}"
    return json.loads((kept_folder("greedy", name, answer) / "answers.json").read_text())


@torch.inference_mode()
def greedy(model, prompt):
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=LENGTH,
        do_sample=False,
    )
    return out[0, len(prompt) :].tolist()


async def answers(server, engine, prompts, at_once, walk):
    """Every prompt's tokens, at most `at_once` of them running, arriving after random pauses."""
    client, places = CoreClient(), asyncio.Semaphore(at_once)
    connection = asyncio.create_task(client.run(server.core_socket()))
    await client.ready
    ending = Ending(LENGTH, frozenset(read_bundle(engine).manifest.eos_token_ids))

    async def ask(prompt):
        async with places:
            await asyncio.sleep(walk.random() * 0.3 * (at_once > 1))
            answer, tokens = client.submit(Generation(prompt, GREEDY, ending)), []
            while True:
                outputs = await answer.read()
                tokens += [output.token for output in outputs]
                if outputs[-1].finish:
                    answer.close()
                    return tokens

    order = list(range(len(prompts)))
    walk.shuffle(order)
    tasks = {n: asyncio.create_task(ask(prompts[n])) for n in order}
    results = [await tasks[n] for n in range(len(prompts))]
    connection.cancel()
    return results


async def test_alone_every_answer_is_the_references(server, engine, prompts, expected):
    assert await answers(server, engine, prompts, 1, random.Random(0)) == expected


@pytest.mark.parametrize("seed", [1, 2])
async def test_eight_at_once_in_any_mix_change_nothing(server, engine, prompts, expected, seed):
    assert await answers(server, engine, prompts, 8, random.Random(seed)) == expected


def test_it_answers_through_openais_client(server):
    with server.openai() as client:
        chat = client.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=20,
        )
    assert "Paris" in chat.choices[0].message.content
