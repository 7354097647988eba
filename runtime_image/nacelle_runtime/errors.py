"""Errors of the serving process.

nacelle_engine.errors.TemporaryError
`-- CoreDied                       the core process ended; a restart brings it back: exit 75
"""

from nacelle_engine.errors import TemporaryError


class CoreDied(TemporaryError):
    """The core process ended without being asked to."""
