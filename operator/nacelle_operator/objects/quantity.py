"""Kubernetes' amounts of bytes: `4Gi` and `500M` as whole bytes, and back.

The suffixes are those of k8s.io/apimachinery/pkg/api/resource: powers of 1000 and of 1024.
"""

from decimal import Decimal
from math import ceil
from typing import Final

_SUFFIXES: Final = {
    "": Decimal(1),
    **{letter: Decimal(10) ** power for letter, power in (("n", -9), ("u", -6), ("m", -3))},
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def to_bytes(quantity: int | str) -> int:
    """The bytes, rounded up; ValueError when it is no quantity."""
    text = str(quantity)
    number = text.rstrip("".join(_SUFFIXES))
    factor = _SUFFIXES.get(text[len(number) :])
    try:
        if factor is None:
            raise ArithmeticError
        return ceil(Decimal(number) * factor)
    except ArithmeticError as error:
        raise ValueError(f"{text} is no amount of memory") from error


def from_bytes(count: int) -> str:
    """The shortest text of exactly these bytes in powers of 1024."""
    for letter in "TGMK":
        unit = int(_SUFFIXES[f"{letter}i"])
        if count and count % unit == 0:
            return f"{count // unit}{letter}i"
    return str(count)
