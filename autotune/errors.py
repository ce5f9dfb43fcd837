"""Every error that this package raises on purpose.

A message names the file or value, what was expected, what was found and what to do. The command line maps each class
to a documented exit code (see `autotune.cli`).
"""


class AutotuneError(Exception):
    """Root of all errors raised by autotune."""


class ProgramReadError(AutotuneError):
    """A file could not be read as a program: missing, damaged, or in no format that we know."""


class UnsupportedProgramError(AutotuneError):
    """The program is valid, but this target (or this host) cannot compile or run it."""


class SpaceError(AutotuneError):
    """The program has no choice of the requested kind, or a config does not belong to the space."""


class ToolchainError(AutotuneError):
    """A compiler or library that the target needs is missing or of an unsupported version."""


class WorkerError(AutotuneError):
    """A child process could not do its work: it crashed, ran out of time or out of memory."""


class DatabaseError(AutotuneError):
    """The evaluation database cannot be opened, read or written."""


class DefaultFailedError(AutotuneError):
    """The program's default config could not be evaluated, so there is nothing to compare with."""


class ServerError(AutotuneError):
    """No measurement server can be reached or is left, or those there are do not serve us or do not belong together."""


class NotTunedError(AutotuneError):
    """A tuned program is required, and there is none for this program, device and compiler."""
