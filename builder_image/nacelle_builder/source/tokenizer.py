"""A checkpoint's tokenizer, which gives a text's tokens: all of them, and no others."""

from pathlib import Path

from tokenizers import Tokenizer

from nacelle_engine.errors import InvalidModel


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a file; InvalidModel when there is none to read.

    A model that was tuned keeps in it how its training cut and padded texts: nobody serves it so.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception for a file it cannot read
        raise InvalidModel(f"{file} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
