"""Who may ask: bearer tokens from a file, compared in constant time."""

import hashlib
import hmac
from pathlib import Path

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.frontends.openai.errors import ApiError


class ApiKeys:
    """The keys of a file, one a line; blank lines and lines beginning with # are passed over."""

    def __init__(self, file: Path) -> None:
        try:
            lines = [line.strip() for line in file.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"--api-keys-file {file} cannot be read: {error}") from error
        self._digests = [_digest(line) for line in lines if line and not line.startswith("#")]
        if not self._digests:
            raise InvalidRequest(f"--api-keys-file {file} holds no key: nobody could ask")

    def tenant(self, authorization: str | None) -> str:
        """What keeps this key's prefixes apart from the others'; ApiError 401 without a key."""
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        # Every key is compared, so the time tells nothing about which one came near.
        known = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            raise ApiError(
                401,
                "a valid API key is needed: Authorization: Bearer KEY",
                code="invalid_api_key",
            )
        return given.hex()[:32]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
