"""Amounts of memory as Kubernetes writes them."""

import pytest

from nacelle_operator.objects.quantity import from_bytes, to_bytes


@pytest.mark.parametrize(
    ("quantity", "count"),
    [
        (7, 7),
        ("4Gi", 4 << 30),
        ("1.5Gi", 3 << 29),
        (".5Gi", 1 << 29),
        ("500M", 500_000_000),
        ("+5k", 5000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12E", 12 * 10**18),
        ("100m", 1),
        ("1u", 1),
    ],
)
def test_bytes(quantity: int | str, count: int) -> None:
    assert to_bytes(quantity) == count
    assert to_bytes(from_bytes(count)) == count


@pytest.mark.parametrize("text", ["", "x", "4GiB", "1.2.3", "-", "Gi"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory"):
        to_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (8 << 30, "8Gi"), (3 << 29, "1536Mi"), (1000, "1000")]
)
def test_the_shortest_text(count: int, text: str) -> None:
    assert from_bytes(count) == text
