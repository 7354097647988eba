"""Random inputs of attention: a step of requests over a cache with scattered blocks."""

import torch


def step(shape, lengths, *, seed=0, device="cpu"):
    """Tensors by name; lengths: (tokens of this step, tokens in the cache after it) a request."""
    torch.manual_seed(seed)
    width = max(-(-length // 32) for _, length in lengths) + 1
    blocks = len(lengths) * width + 1
    table = (torch.randperm(blocks - 1) + 1).int().view(len(lengths), width)
    counts = torch.tensor([count for count, _ in lengths])
    positions = [torch.arange(length - count, length) for count, length in lengths]
    slots = [table[r, p // 32].long() * 32 + p % 32 for r, p in enumerate(positions)]
    dim = shape.head_dim
    turns = torch.rand(width * 32, shape.rotary // 2) * 6.3
    scales = torch.tensor([0.011, 0.007])
    kv = torch.randn(blocks, 2, shape.kv_heads, 32, dim)
    kv = (kv / 0.01).clamp(-448, 448).to(torch.float8_e4m3fn) if shape.fp8 else kv.bfloat16()
    found = {
        "qkv": torch.randn(sum(counts), (shape.heads + 2 * shape.kv_heads) * dim).bfloat16(),
        "rope": torch.cat((turns.cos(), turns.sin()), 1),
        "positions": torch.cat(positions),
        "slots": torch.cat(slots),
        "kv": kv,
        "kv_scales": scales if shape.fp8 else None,
        "q_norm": None if shape.norm_eps is None else (torch.rand(dim) + 0.5).bfloat16(),
        "k_norm": None if shape.norm_eps is None else (torch.rand(dim) + 0.5).bfloat16(),
        "block_table": table,
        "W": width,
        "q_start": torch.cat((torch.zeros(1), counts.cumsum(0))).int(),
        "seq_lens": torch.tensor([length for _, length in lengths], dtype=torch.int32),
    }
    return {n: x.to(device) if isinstance(x, torch.Tensor) else x for n, x in found.items()}


def spoil(kv, table, seq_lens):
    """NaN in every place of the cache that no request has written: none may be read."""
    used = torch.zeros(kv.shape[0], 32, dtype=torch.bool)
    for row, length in zip(table.tolist(), seq_lens.tolist(), strict=True):
        for position in range(length):
            used[row[position // 32], position % 32] = True
    kv.view(torch.uint8 if kv.element_size() == 1 else torch.int16)[
        (~used)[:, None, None].expand(kv.shape[:4])
    ] = 0x7F if kv.element_size() == 1 else 0x7FC0
