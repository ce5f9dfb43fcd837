"""A user's function with its arguments, as a program: arrays in, arrays out, everything else fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.export
import numpy as np

from autotune.errors import UnsupportedProgramError
from autotune.hlo.modules import instructions
from autotune.hlo.program import Program
from protos import hlo_pb2

Arrays = Sequence[Any]
"""Arrays, tracers or their shapes: whatever has a shape and a dtype."""


@dataclass(frozen=True)
class Captured:
    """A function whose array arguments are free and whose other arguments are what they were.

    Attributes:
        name: of the function.
        function: as the user wrote it.
        structure: how its positional and keyword arguments are put together.
        leaves: of the arguments: shapes where there was an array, the thing itself elsewhere.
    """

    name: str
    function: Callable[..., Any]
    structure: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Captured:
        """Take a call apart.

        Args:
            function: that is called.
            args: positional arguments: pytrees of arrays, tracers, `jax.ShapeDtypeStruct` and static values.
            kwargs: keyword arguments, likewise.
        """
        leaves, structure = jax.tree.flatten((tuple(args), dict(kwargs)))
        shapes = tuple(_shape(leaf) if is_array(leaf) else leaf for leaf in leaves)
        return cls(getattr(function, "__name__", type(function).__name__), function, structure, shapes)

    @cached_property
    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Of the arrays, in order."""
        return [leaf for leaf in self.leaves if is_array(leaf)]

    def flat(self, *arrays: Any) -> list[Any]:
        """The function from arrays to a list of arrays; the structure of the output is kept beside it."""
        free = iter(arrays)
        leaves = [next(free) if is_array(leaf) else leaf for leaf in self.leaves]
        args, kwargs = jax.tree.unflatten(self.structure, leaves)
        outputs, structure = jax.tree.flatten(self.function(*args, **kwargs))
        self.__dict__["_output_structure"] = structure
        return outputs

    def outputs(self, arrays: Sequence[Any]) -> Any:
        """The output as the function returns it, from what `flat` returns; only after `flat` was traced."""
        return jax.tree.unflatten(self.__dict__["_output_structure"], arrays)

    @cached_property
    def program(self) -> Program:
        """The HLO of it, as jax gives it to the compiler.

        Raises:
            Exception: what jax says of a function that it cannot trace or lower.
        """

        def named(*arrays: Any) -> list[Any]:
            return self.flat(*arrays)

        named.__name__ = self.name
        computation: Any = jax.jit(named).lower(*self.shapes).compiler_ir("hlo")
        module = hlo_pb2.HloModuleProto.FromString(computation.as_serialized_hlo_module_proto())
        module.ClearField("stack_frame_index")  # paths of this machine
        for instruction in instructions(module):
            instruction.metadata.ClearField("stack_frame_id")
        return Program(module.name, module.SerializeToString(deterministic=True), f"{self.name} (function of jax)")

    def exported(self, stablehlo: bytes | None = None) -> jax.export.Exported:
        """`flat` as `jax.export` has it.

        Args:
            stablehlo: code to call in place of the function's own, with the same parameters and results.

        Raises:
            UnsupportedProgramError: it is for several devices, or has effects that cannot be exported.
        """
        return self._export(self.flat, self.shapes, {}, stablehlo)

    def exported_whole(self, stablehlo: bytes | None = None) -> jax.export.Exported:
        """The function with its pytrees as `jax.export` has it; its arguments are those that are not static.

        Args:
            stablehlo: as for `exported`.

        Raises:
            UnsupportedProgramError: likewise.
        """
        args, kwargs = jax.tree.unflatten(self.structure, self.leaves)
        free_args = [each for each in args if not _is_static(each)]
        free_kwargs = {name: each for name, each in kwargs.items() if not _is_static(each)}

        def whole(*args: Any, **kwargs: Any) -> Any:
            return self.outputs(self.flat(*jax.tree.leaves((args, kwargs))))

        return self._export(whole, free_args, free_kwargs, stablehlo)

    def _export(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], stablehlo: bytes | None
    ) -> jax.export.Exported:
        try:
            own = jax.export.export(jax.jit(function))(*args, **kwargs)
        except NotImplementedError as error:
            raise UnsupportedProgramError(
                f"{self.name} cannot be exported from jax, hence not tuned: {error}; tune the parts of it without "
                "callbacks and other effects"
            ) from error
        if own.nr_devices != 1:
            raise UnsupportedProgramError(f"{self.name} is for {own.nr_devices} devices; only one can be tuned here")
        if stablehlo is None:
            return own
        return replace(own, mlir_module_serialized=stablehlo, _get_vjp=None)

    def arrays(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arrays of a call, in the order in which `flat` takes them.

        Args:
            args: positional arguments, put together as in the call that was captured.
            kwargs: keyword arguments.
        """
        leaves = jax.tree.leaves((tuple(args), dict(kwargs)))
        return [leaf for leaf, own in zip(leaves, self.leaves, strict=True) if is_array(own)]

    def describe(self) -> str:
        """Such as "mlp(f32[8,16], bf16[16])"."""
        shapes = [f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]" for leaf in self.shapes]
        shown = shapes if len(shapes) <= _SHOWN else [*shapes[: _SHOWN - 1], f"{len(shapes) - _SHOWN + 1} more"]
        return f"{self.name}({', '.join(shown)})"


_SHOWN = 4


def is_array(leaf: Any) -> bool:
    """Whether a leaf of the arguments is free; all else belongs to the program."""
    return isinstance(leaf, (jax.Array, jax.core.Tracer, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _is_static(argument: Any) -> bool:
    leaves = jax.tree.leaves(argument)
    return bool(leaves) and not any(is_array(leaf) for leaf in leaves)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic)):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=getattr(leaf, "weak_type", False))
