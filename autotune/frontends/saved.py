"""`autotune.load`: a result folder becomes a function again, if it belongs to this program, device and compiler."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import jax
import jax.export
from google.protobuf.message import DecodeError

from autotune.errors import AutotuneError, NotTunedError
from autotune.frontends.calls import traceable
from autotune.frontends.capture import Captured
from autotune.frontends.device import device_keys
from autotune.frontends.parameters import exported_parameters
from autotune.targets.base import TunedProgram
from autotune.tuned import tuned_stablehlo
from cost_model.files import replace_file
from protos import hlo_pb2

FUNCTION_FILE: Final = "tuned.jax"
"""The tuned function with its pytrees: what `jax.export.Exported.serialize` returns."""


def save_function(folder: Path, captured: Captured, stablehlo: bytes) -> Path:
    """Write the tuned function beside the other files of a result.

    Args:
        folder: that exists.
        captured: the function.
        stablehlo: its tuned version; empty if its own is best.

    Raises:
        AutotuneError: the folder cannot be written, or the pytrees have types that jax cannot serialize.
    """
    path = folder / FUNCTION_FILE
    exported = captured.exported_whole(stablehlo or None)
    try:
        replace_file(path, bytes(exported.serialize()))
    except OSError as error:
        raise AutotuneError(f"result folder {folder}: cannot be written ({error}); choose another") from error
    except ValueError as error:
        raise AutotuneError(
            f"{captured.name} cannot be saved: {error}; register the type with jax.export, or load the folder with "
            "callable(function)"
        ) from error
    return path


@dataclass(frozen=True)
class Loaded:
    """A search that was saved.

    Attributes:
        folder: where.
        facts: what best.json says.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """The search's own sentence."""
        return str(self.facts["verdict"])

    @property
    def improved(self) -> bool:
        """Whether it found a config better than the default."""
        return bool(self.facts["improved"])

    def differences(self, fingerprint: str | None = None) -> list[str]:
        """What speaks against running it here; empty if nothing does.

        Args:
            fingerprint: of the program that it is wanted for; None if that is not known.
        """
        target, program = self.facts["target"], self.facts["program"]
        there = (target["device_kind"], target["compiler_version"])
        keys = [(key.device_kind, key.compiler_version) for key in device_keys()]
        found = []
        if there not in keys:
            here = keys[0] if keys else (jax.devices()[0].device_kind, "a compiler that we do not know")
            for what, tuned, ours in zip(("device kind", "compiler version"), there, here, strict=True):
                if tuned != ours:
                    found.append(f"{what}: tuned for {tuned!r}, this is {ours!r}")
        if fingerprint is not None and fingerprint != program["fingerprint"]:
            found.append(f"program: tuned was {program['name']} ({program['fingerprint']}), this is {fingerprint}")
        return found

    def callable(
        self, function: Callable[..., Any] | None = None, *, force: bool = False, **jit_options: Any
    ) -> Callable[..., Any]:
        """The tuned program as a function under `jax.jit`.

        Args:
            function: that the program came from: the result is called as it is, differentiates as it does, and calls
                of another program (other shapes, other code) are refused. Without one the result takes what
                `autotune.tune` was given, but for static arguments; or, where the folder comes from the command line,
                the program's parameters as arrays in order, and returns a list of arrays.
            force: run it although the program, the device or the compiler is another.
            **jit_options: `static_argnums`, `donate_argnums`, ... of `jax.jit`.

        Raises:
            NotTunedError: it belongs to another device or compiler (another program: at the call); says which.
            AutotuneError: jax cannot run the tuned program, or files are missing.
        """
        self._refuse(self.differences(), force)
        options = dict(self.facts["compile_options"]["options"]) if self.improved else {}
        if function is not None:
            run = self._in_place_of(function, force)
        elif (self.folder / FUNCTION_FILE).exists():
            run = _read_function(self.folder / FUNCTION_FILE).call
        else:
            run = exported_parameters(self._module(), self._stablehlo, jax.default_backend()).call
        return jax.jit(run, compiler_options=options or None, **jit_options)

    def _in_place_of(self, function: Callable[..., Any], force: bool) -> Callable[..., Any]:
        def lookup(captured: Captured) -> bytes | None:
            fingerprint = captured.program.fingerprint
            if captured.function is not function:  # a half of the derivative, which was not saved
                return None
            self._refuse(self.differences(fingerprint), force)
            return self._stablehlo if self.improved else None

        return traceable(function, lookup)

    def _refuse(self, differences: Sequence[str], force: bool) -> None:
        if differences and not force:
            raise NotTunedError(f"{self.folder} is not for this: {'; '.join(differences)}; force=True runs it anyway")

    @cached_property
    def _stablehlo(self) -> bytes:
        options = self.facts["compile_options"]
        tuned = TunedProgram(self._module(), options["options"], options["extra_options"])
        code, problem = tuned_stablehlo(tuned)
        if problem:
            raise AutotuneError(f"{self.folder}: jax cannot run the tuned program: {problem}")
        return code

    def _module(self) -> bytes:
        path = self.folder / "tuned.pb"
        try:
            module = path.read_bytes()
            hlo_pb2.HloModuleProto.FromString(module)
        except OSError as error:
            raise AutotuneError(f"{path}: cannot be read ({error}); save the result again") from error
        except DecodeError as error:
            raise AutotuneError(f"{path}: no program ({error}); save the result again") from error
        return module


def _read_function(path: Path) -> jax.export.Exported:
    try:
        return jax.export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever flatbuffers and jax say of damaged bytes
        raise AutotuneError(f"{path}: cannot be read ({error}); save the tuned function again") from error


def load(folder: str | Path) -> Loaded:
    """Read a result folder.

    Args:
        folder: of `autotune search` or of `TunedFunction.save`.

    Raises:
        AutotuneError: it is no result folder.
    """
    path = Path(folder) / "best.json"
    try:
        facts = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AutotuneError(f"{path}: cannot be read ({error}); expected the folder that a search wrote") from error
    wanted = ("verdict", "improved", "program", "target", "compile_options")
    missing = [name for name in wanted if not isinstance(facts, dict) or name not in facts]
    if missing:
        raise AutotuneError(f"{path}: no result of a search ({', '.join(missing)} missing); search again")
    return Loaded(Path(folder), facts)
