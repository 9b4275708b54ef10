"""Every error a user can meet: what was found, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Callable


class FerryError(Exception):
    """Base of all errors of this package, one sentence each.

    `found` is what was met, `wanted` what would have been right, `fix` what the user can do.
    """

    exit_code = 1

    def __init__(self, found: str, *, wanted: str, fix: str) -> None:
        self.found = found
        self.wanted = wanted
        self.fix = fix
        super().__init__(f"{found}; wanted {wanted}; {fix}")

    def __reduce__(self) -> tuple[Callable[..., FerryError], tuple[object, ...]]:
        """Let an error be pickled, which exceptions with named arguments cannot by themselves."""
        return _rebuilt, (type(self), self.found, self.wanted, self.fix)

    @property
    def code(self) -> str:
        """Return the stable name of this kind of error, as `--json` prints it."""
        return type(self).__name__


def _rebuilt(kind: type[FerryError], found: str, wanted: str, fix: str) -> FerryError:
    return kind(found, wanted=wanted, fix=fix)


class UsageError(FerryError):
    """A request that makes no sense whatever the files hold."""

    exit_code = 2


class SourceError(FerryError):
    """A model source that is malformed, truncated or lies about itself."""


class UnsupportedModelError(SourceError):
    """A well-formed source of a kind this version cannot compile."""


class TokenizerError(FerryError):
    """A tokenizer that cannot be built, or text that it cannot handle."""


class TemplateError(FerryError):
    """A chat template that is malformed, unsafe, or refuses the messages."""


class CompileError(FerryError):
    """A model that could not be lowered to the wanted target."""


class ArtifactError(FerryError):
    """An artifact that is incomplete, malformed or of another version."""


class IntegrityError(ArtifactError):
    """A file of an artifact whose size or hash is not the manifest's."""


class LibraryMismatchError(ArtifactError):
    """A library whose functions or parameters are not those of the manifest."""


class DiskSpaceError(FerryError):
    """Too little disk for what is about to be written."""


class LockError(FerryError):
    """An output folder that another compile is writing."""


class BundleError(FerryError):
    """A bundle whose parts are missing or do not fit together."""


class DeviceError(FerryError):
    """A device that is absent or failed."""


class NoLibraryError(DeviceError):
    """An artifact without a library that this machine can run."""


class MemoryLimitError(FerryError):
    """A model or context that does not fit the memory."""


class ContextOverflowError(FerryError):
    """A prompt, or prompt and answer, longer than the context."""


class NumericError(FerryError):
    """Logits that are not finite numbers."""


class VerificationError(FerryError):
    """A kernel or a greedy trace that differs from its golden data."""
