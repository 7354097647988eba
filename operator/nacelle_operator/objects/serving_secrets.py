"""Secrets in a serving pod, as files that `nacelle serve` is told of: API keys, a certificate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nacelle_operator.api.serving import OpenAIFrontend

_FOLDER = "/etc/nacelle"


@dataclass(frozen=True)
class SecretFiles:
    """A Secret's keys as files: by key, the file's name; by flag, the key whose file it names."""

    volume: str
    secret: str
    files: dict[str, str]
    flags: dict[str, str]


def secret_files(frontend: OpenAIFrontend) -> Iterator[SecretFiles]:
    """The Secrets that a frontend asks for."""
    keys, tls = frontend.api_keys_secret_ref, frontend.tls_secret_ref
    if keys:
        yield SecretFiles("api-keys", keys.name, {keys.key: "keys"}, {"--api-keys-file": keys.key})
    if tls:
        certificate, key = "tls.crt", "tls.key"
        yield SecretFiles(
            "tls",
            tls.name,
            {certificate: certificate, key: key},
            {"--tls-certificate": certificate, "--tls-key": key},
        )


def secret_volumes(frontend: OpenAIFrontend) -> list[dict[str, Any]]:
    """A volume for each; it follows the Secret as it changes."""
    return [
        {
            "name": each.volume,
            "secret": {
                "secretName": each.secret,
                "items": [{"key": key, "path": path} for key, path in each.files.items()],
            },
        }
        for each in secret_files(frontend)
    ]


def secret_mounts(frontend: OpenAIFrontend) -> list[dict[str, Any]]:
    """Where the container sees them."""
    return [
        {"name": each.volume, "mountPath": f"{_FOLDER}/{each.volume}", "readOnly": True}
        for each in secret_files(frontend)
    ]


def secret_flags(frontend: OpenAIFrontend) -> dict[str, str]:
    """What `nacelle serve` is told of them."""
    return {
        flag: f"{_FOLDER}/{each.volume}/{each.files[key]}"
        for each in secret_files(frontend)
        for flag, key in each.flags.items()
    }
