"""A whole tiny model in torch, with a paged cache: a wrong slot, table or length changes answers.

One attention layer over 260 tokens in float64, so that no batch rounds an answer to another token.
It answers in the first 94 tokens, which are the printable ASCII characters but the space.
"""

import json
import time

import torch

from nacelle_engine.program.load_times import LoadTimes

# Tensors so small are slower with more threads.
torch.set_num_threads(1)

VOCABULARY = 260
ANSWERS = 94
SIZE = 32
WIDTH = 16
HEADS = 2
# A prompt of so many tokens is answered by the script, where there is one.
SCRIPTED = 256


class TinyProgram:
    """Serves StepInput as a compiled program does; `step_seconds` makes its steps slow."""

    device = torch.device("cpu")
    load_times = LoadTimes(weight_bytes=2_000_000, weight_seconds=0.5)
    kv_bytes_per_block = 2 * SIZE * HEADS * WIDTH * 8

    def __init__(self, step_seconds=0.0, script=()):
        self.script = torch.tensor(script, dtype=torch.long)
        make = torch.Generator().manual_seed(5)
        self.embedding = torch.randn(VOCABULARY, HEADS * WIDTH, generator=make).double()
        self.places = torch.randn(4096, HEADS * WIDTH, generator=make).double() * 0.5
        self.weights = torch.randn(4, HEADS * WIDTH, HEADS * WIDTH, generator=make).double() * 0.3
        self.unembedding = torch.randn(HEADS * WIDTH, VOCABULARY, generator=make).double()
        self.bias = torch.where(torch.arange(VOCABULARY) < ANSWERS, 0.0, -1000.0)
        self.step_seconds = step_seconds
        self.kv = torch.empty(0)

    def allocate_kv(self, blocks):
        self.kv = torch.full((blocks, 2, HEADS, SIZE, WIDTH), torch.nan, dtype=torch.float64)

    def run(self, step):
        time.sleep(self.step_seconds)
        hidden = self.embedding[step.token_ids] + self.places[step.positions]
        q, k, v = (torch.tanh(hidden @ w).view(-1, HEADS, WIDTH) for w in self.weights[:3])
        self.kv[step.slots // SIZE, 0, :, step.slots % SIZE] = k
        self.kv[step.slots // SIZE, 1, :, step.slots % SIZE] = v
        out = torch.empty_like(q)
        for r in range(len(step.seq_lens)):
            first, last = int(step.q_start[r]), int(step.q_start[r + 1])
            blocks = step.block_tables[0][r].long()
            keys, values = self.kv[blocks].permute(1, 2, 0, 3, 4).flatten(2, 3)
            length = int(step.seq_lens[r])
            out[first:last] = attend(
                q[first:last], keys[:, :length], values[:, :length], step.positions[first:last]
            )
        rows = step.logits_rows
        return self.follow(self.head(hidden, out)[rows], step.positions[rows])

    def follow(self, logits, positions):
        """The script's tokens are by far the likeliest."""
        places = positions - (SCRIPTED - 1)
        told = ((places >= 0) & (places < len(self.script))).nonzero()[:, 0]
        logits[told, self.script[places[told]]] += 10_000
        return logits

    def head(self, hidden, out):
        hidden = hidden + out.reshape(len(out), -1) @ self.weights[3]
        return (hidden @ self.unembedding + self.bias).float()

    def reference(self, tokens):
        """Logits of a whole sequence, with no cache at all."""
        tokens = torch.tensor(tokens)
        positions = torch.arange(len(tokens))
        hidden = self.embedding[tokens] + self.places[positions]
        q, k, v = (torch.tanh(hidden @ w).view(-1, HEADS, WIDTH) for w in self.weights[:3])
        return self.head(hidden, attend(q, k.transpose(0, 1), v.transpose(0, 1), positions))

    def greedy(self, prompt, count, stop_ids=()):
        """The greedy answer by the reference."""
        tokens = list(prompt)
        while len(tokens) < len(prompt) + count:
            tokens.append(int(self.reference(tokens)[-1].argmax()))
            if tokens[-1] in stop_ids:
                break
        return tokens[len(prompt) :]


def attend(q, keys, values, positions):
    scores = torch.einsum("thd,hsd->hts", q, keys) / WIDTH**0.5
    future = torch.arange(keys.shape[1])[None] > positions[:, None]
    weights = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
    return torch.einsum("hts,hsd->thd", weights, values)


def open_tiny(rank, threads=None):
    return TinyProgram(**json.loads((rank / "tiny.json").read_text()))
