"""A benchmark's table prints every figure, as text and as JSON."""

import json

from nacelle_bench.table import Table

TABLE = Table(
    {"isa": "avx2", "read GB/s": 32.66},
    [{"row": "one", "tokens/s": 72.5, "best": None}, {"row": "twenty", "tokens/s": 7.0, "best": 9}],
)


def test_text():
    assert TABLE.text().splitlines() == [
        "isa: avx2",
        "read GB/s: 32.7",
        "row     tokens/s  best",
        "one         72.5     -",
        "twenty       7.0     9",
    ]


def test_json():
    found = json.loads(TABLE.json())
    assert found["isa"] == "avx2" and found["rows"] == TABLE.rows


def test_decimals_and_further_rows():
    rows, prefill = [{"n": 1, "ms": 2.1058}], [{"n": 2, "s": 1.26}]
    table = Table({}, rows, {"ms": 3}, {"prefill": prefill})
    assert table.text().splitlines() == ["n     ms", "1  2.106", "", "prefill:", "n    s", "2  1.3"]
    assert json.loads(table.json()) == {"rows": rows, "prefill": prefill}
