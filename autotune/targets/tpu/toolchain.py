"""Which libtpu is installed, and what its processes need. Asked without loading it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from types import MappingProxyType
from typing import Final

from autotune.errors import ToolchainError

ADVICE: Final = "run: pip install 'xla-autotune[tpu]'"

KNOWN_VERSIONS: Final = ("0.0.52",)
"""Of libtpu; names of passes and the format of logs are nobody's promise, so each version has to be tried."""

ENVIRONMENT: Final = MappingProxyType(
    {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process fails over a lock file
        "TPU_SKIP_MDS_QUERY": "1",  # do not look for a metadata server
        "TPU_LOG_DIR": "disabled",  # else logs fill the temporary directory
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",  # these three only silence warnings, whatever the topology
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }
)
VERBOSE_ENVIRONMENT: Final = MappingProxyType(
    {
        "TPU_STDERR_LOG_LEVEL": "0",
        "TPU_MIN_LOG_LEVEL": "0",
        "TPU_VMODULE": "spatial_major_convolution=3,fusion_emitter=5",  # the two that list tile candidates
    }
)
DEVICE_ENVIRONMENT: Final = MappingProxyType(
    {
        "JAX_PLATFORMS": "tpu",
        "TPU_LOG_DIR": "disabled",
        # One chip, whatever the host has: programs are compiled for one, and others may use the rest.
        "TPU_VISIBLE_CHIPS": "0",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
    }
)
"""Of the process that runs programs on a TPU: the variables by which jax's own multi-process tests choose a chip."""


def libtpu_version() -> str:
    """The version of libtpu that is installed, without loading it.

    Raises:
        ToolchainError: it is missing, or not one that we know.
    """
    try:
        if importlib.util.find_spec("libtpu") is None:
            raise importlib.metadata.PackageNotFoundError
        version = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        raise ToolchainError(f"libtpu, the TPU compiler, is not installed; {ADVICE}") from None
    if version not in KNOWN_VERSIONS:
        known = ", ".join(KNOWN_VERSIONS)
        raise ToolchainError(f"libtpu {version} is installed, but this tool knows only {known}; {ADVICE}")
    return version
