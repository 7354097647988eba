"""Every error that a user can meet in an engine's life, with the exit code its process ends with.

NacelleError
|-- PermanentError                 trying again gives the same answer: exit 65
|   |-- InvalidRequest             a field of the request or a flag
|   |-- InvalidModel               the model folder: config.json, safetensors, tokenizer
|   |   |-- UnsupportedModel       a family, or a feature of it, that is not built yet
|   |   |-- TensorMissing          a tensor the family needs is absent
|   |   |-- TensorUnexpected       a tensor is left over after the conversion
|   |   `-- TensorInvalid          truncated, wrong shape or dtype, NaN or Inf
|   |-- CompileFailed              the compiler refused the program
|   |-- FidelityFailed             the compiled programs differ from their own eager reference
|   `-- AccuracyFailed             the user's bounds on quality do not hold
|-- MismatchError                  a sound bundle in the wrong place: exit 78
|   |-- TargetMismatch             compiled for another architecture
|   `-- AbiMismatch                compiled for another runtime
|-- CorruptBundle                  digests, sizes or names do not match the manifest: exit 79
|-- OutOfMemory                    the process ran out of memory: exit 71
|   `-- GpuOutOfMemory             of a GPU's memory, which no larger request of the host's changes
`-- TemporaryError                 the surroundings failed, trying again can help: exit 75
    |-- SourceUnavailable          the hub or the claim did not answer
    `-- StoreUnavailable           the store cannot be written or is full
"""

from typing import ClassVar


class NacelleError(Exception):
    """An error with a stable code (its class name) and the exit code of the process it ends."""

    exit_code: ClassVar[int] = 70

    @property
    def code(self) -> str:
        """The stable name that conditions, results and documents use."""
        return type(self).__name__


class PermanentError(NacelleError):
    """Trying again gives the same answer."""

    exit_code = 65


class InvalidRequest(PermanentError):
    """A field of the request or a flag is wrong."""


class InvalidModel(PermanentError):
    """The model folder cannot be read as a Hugging Face checkpoint."""


class UnsupportedModel(InvalidModel):
    """The model's family, or a feature of it, is not supported."""


class TensorMissing(InvalidModel):
    """A tensor that the family needs is absent."""


class TensorUnexpected(InvalidModel):
    """A tensor is left over after the conversion."""


class TensorInvalid(InvalidModel):
    """A tensor is truncated, has a wrong shape or dtype, or holds NaN or Inf."""


class CompileFailed(PermanentError):
    """The compiler refused the program."""


class FidelityFailed(PermanentError):
    """The compiled programs differ from their own eager reference, or by the step they run in."""


class AccuracyFailed(PermanentError):
    """The bounds on quality do not hold."""


class MismatchError(NacelleError):
    """A sound bundle stands in the wrong place."""

    exit_code = 78


class TargetMismatch(MismatchError):
    """The bundle was compiled for another architecture."""


class AbiMismatch(MismatchError):
    """The bundle was compiled for another runtime."""


class CorruptBundle(NacelleError):
    """Digests, sizes or names in the bundle do not match its manifest."""

    exit_code = 79


class OutOfMemory(NacelleError):
    """The process ran out of host or device memory."""

    exit_code = 71


class GpuOutOfMemory(OutOfMemory):
    """The process ran out of a GPU's memory."""


class TemporaryError(NacelleError):
    """The surroundings failed; trying again can help."""

    exit_code = 75


class SourceUnavailable(TemporaryError):
    """The hub or the claim that holds the model did not answer."""


class StoreUnavailable(TemporaryError):
    """The store cannot be written, or is full."""
