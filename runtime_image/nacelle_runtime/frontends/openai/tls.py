"""TLS at the frontend's port, by a certificate and its key from files that may be renewed."""

import asyncio
import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from nacelle_engine.errors import InvalidRequest

# How often the files are looked at (s): a kubelet takes a minute to bring a changed Secret.
_PERIOD: Final = 10.0
_log = logging.getLogger(__name__)


class Tls:
    """A server's context; connections made after the files were renewed get the new certificate."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen: object = None
        try:
            self._load()
        except (OSError, ValueError) as error:
            raise InvalidRequest(self._refusal(error)) from error

    async def keep_fresh(self) -> None:
        """Look at the files again and again, for ever."""
        while True:
            await asyncio.sleep(_PERIOD)
            self.refresh()

    def refresh(self) -> None:
        """Take in files that have changed; while they cannot be used the old ones go on."""
        try:
            if self._stamp() != self._seen:
                self._load()
                _log.info("the certificate %s is renewed", self._files[0])
        except (OSError, ValueError) as error:
            _log.error("%s; the one before goes on", self._refusal(error))

    def _load(self) -> None:
        stamp = self._stamp()
        with ExitStack() as stack:
            # Read once: they may be renewed between two looks at them.
            certificate, key = (stack.enter_context(_copy(file)) for file in self._files)
            # Tried apart first: half of a pair must not get into the context in use. The password
            # keeps OpenSSL from asking a terminal for one.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                context.load_cert_chain(certificate, key, password="")
        self._seen = stamp

    def _stamp(self) -> object:
        stats = [file.stat() for file in self._files]
        return [(stat.st_mtime_ns, stat.st_ino) for stat in stats]

    def _refusal(self, error: Exception) -> str:
        certificate, key = self._files
        said = str(error).partition(" (_ssl.c")[0]
        return f"--tls-certificate {certificate} and --tls-key {key} cannot be used: {said}"


@contextmanager
def _copy(file: Path) -> Iterator[str]:
    """The path of a copy in memory: OpenSSL takes a path, and a key is kept off disks."""
    descriptor = os.memfd_create("tls")
    with os.fdopen(descriptor, "wb") as copy:
        copy.write(file.read_bytes())
        copy.flush()
        yield f"/proc/self/fd/{descriptor}"
