"""The texts that a model is calibrated on: the user's file, or short built-in ones.

A sample is the tokenizer's own beginning of a sequence and a text's tokens, 512 at most together.
JSON lines give a sample each, cut off at its end; a plain text is cut into samples.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from nacelle_builder.source.tokenizer import read_tokenizer
from nacelle_engine.bundle import file_sha256
from nacelle_engine.calibration import Calibration
from nacelle_engine.canonical import digest
from nacelle_engine.errors import InvalidModel, InvalidRequest
from nacelle_engine.precision import Quantization

BUILT_IN: Final = Path(__file__).with_name("texts.txt")
LONGEST_SAMPLE: Final = 512
# More of a text cannot fit its sample: tokens are hardly ever longer.
_LETTERS_A_TOKEN: Final = 32
_PIECE: Final = 1_000_000


def calibration_digest(quantization: Quantization, folder: Path) -> str:
    """What stands in the engine's key for how scales are found; "" where nothing has one."""
    if not quantization.calibrated:
        return ""
    calibration = quantization.calibration or Calibration()
    file = text_file(calibration, folder)
    return digest(
        {
            "method": calibration.method.value,
            "percentile": calibration.percentile or "",
            "samples": calibration.samples,
            "longest": LONGEST_SAMPLE,
            "kind": file.suffix,
            "texts": file_sha256(file),
        }
    )


def text_file(calibration: Calibration, folder: Path) -> Path:
    """Where the texts are; InvalidRequest names a file that is not in the model's folder."""
    if calibration.path is None:
        return BUILT_IN
    file = folder / calibration.path
    if not file.is_file():
        raise InvalidRequest(f"quantization.calibration.path: there is no file {file}")
    return file


def read_samples(
    calibration: Calibration, folder: Path, tokenizer_file: Path, vocab_size: int
) -> list[list[int]]:
    """The token ids of each sample; errors name the file, and the line that is wrong."""
    file = text_file(calibration, folder)
    tokenizer = read_tokenizer(tokenizer_file)
    try:
        found = _lines(file, tokenizer) if file.suffix == ".jsonl" else _whole(file, tokenizer)
        samples = list(islice(found, calibration.samples))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file} is no UTF-8: {error}") from error
    if not samples:
        raise InvalidRequest(f"{file} holds no text to calibrate on")
    if (largest := max(map(max, samples))) >= vocab_size:
        raise InvalidModel(
            f"{tokenizer_file} gives token {largest}; config.json has vocab_size {vocab_size}"
        )
    return samples


def _whole(file: Path, tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The samples of a plain text; it is read in pieces, as it may be longer than memory."""
    with file.open(encoding="utf-8") as stream:
        while text := stream.read(_PIECE):
            yield from _cut(text, tokenizer)


def _lines(file: Path, tokenizer: Tokenizer) -> Iterator[list[int]]:
    """One sample for each line that is not blank."""
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                text = _text(file, number, line)[: LONGEST_SAMPLE * _LETTERS_A_TOKEN]
                yield from islice(_cut(text, tokenizer), 1)


def _cut(text: str, tokenizer: Tokenizer) -> Iterator[list[int]]:
    beginning: list[int] = tokenizer.encode("", add_special_tokens=True).ids
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    room = LONGEST_SAMPLE - len(beginning)
    for start in range(0, len(ids), room):
        yield beginning + ids[start : start + room]


def _text(file: Path, number: int, line: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{file}: line {number} is not JSON: {error.msg}") from error
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(f'{file}: line {number} is no JSON object with a "text"')
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half an emoji, say, of a text that was cut
        raise InvalidRequest(f"{file}: line {number} is no Unicode: {error}") from error
    return text
