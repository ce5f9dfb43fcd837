from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LabelKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LABEL_KIND_UNSPECIFIED: _ClassVar[LabelKind]
    LABEL_KIND_MEASURED: _ClassVar[LabelKind]
    LABEL_KIND_ESTIMATED: _ClassVar[LabelKind]
LABEL_KIND_UNSPECIFIED: LabelKind
LABEL_KIND_MEASURED: LabelKind
LABEL_KIND_ESTIMATED: LabelKind

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TargetDescription(_message.Message):
    __slots__ = ("name", "device_kind", "compiler_version", "label", "cost_model_device")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    COMPILER_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COST_MODEL_DEVICE_FIELD_NUMBER: _ClassVar[int]
    name: str
    device_kind: str
    compiler_version: str
    label: LabelKind
    cost_model_device: str
    def __init__(self, name: _Optional[str] = ..., device_kind: _Optional[str] = ..., compiler_version: _Optional[str] = ..., label: _Optional[_Union[LabelKind, str]] = ..., cost_model_device: _Optional[str] = ...) -> None: ...

class ServerDescription(_message.Message):
    __slots__ = ("protocol", "target", "tool_version", "parallel", "takes_programs_apart", "largest_program_bytes", "waiting", "clients", "busy", "evaluations", "uptime_seconds", "instance")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TOOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    TAKES_PROGRAMS_APART_FIELD_NUMBER: _ClassVar[int]
    LARGEST_PROGRAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    target: TargetDescription
    tool_version: str
    parallel: int
    takes_programs_apart: bool
    largest_program_bytes: int
    waiting: int
    clients: int
    busy: bool
    evaluations: int
    uptime_seconds: float
    instance: str
    def __init__(self, protocol: _Optional[int] = ..., target: _Optional[_Union[TargetDescription, _Mapping]] = ..., tool_version: _Optional[str] = ..., parallel: _Optional[int] = ..., takes_programs_apart: _Optional[bool] = ..., largest_program_bytes: _Optional[int] = ..., waiting: _Optional[int] = ..., clients: _Optional[int] = ..., busy: _Optional[bool] = ..., evaluations: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., instance: _Optional[str] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("module", "kernel")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    module: bytes
    kernel: bytes
    def __init__(self, module: _Optional[bytes] = ..., kernel: _Optional[bytes] = ...) -> None: ...

class SpaceRequest(_message.Message):
    __slots__ = ("program", "kind")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    program: str
    kind: str
    def __init__(self, program: _Optional[str] = ..., kind: _Optional[str] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("program", "configs", "purpose", "repeat")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CONFIGS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    program: str
    configs: _containers.RepeatedScalarFieldContainer[str]
    purpose: str
    repeat: bool
    def __init__(self, program: _Optional[str] = ..., configs: _Optional[_Iterable[str]] = ..., purpose: _Optional[str] = ..., repeat: _Optional[bool] = ...) -> None: ...

class RealiseRequest(_message.Message):
    __slots__ = ("program", "config")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    program: str
    config: str
    def __init__(self, program: _Optional[str] = ..., config: _Optional[str] = ...) -> None: ...

class KernelsRequest(_message.Message):
    __slots__ = ("program", "config")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    program: str
    config: str
    def __init__(self, program: _Optional[str] = ..., config: _Optional[str] = ...) -> None: ...

class ApplyTilesRequest(_message.Message):
    __slots__ = ("program", "config", "tiles")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    program: str
    config: str
    tiles: _containers.RepeatedCompositeFieldContainer[ForcedTile]
    def __init__(self, program: _Optional[str] = ..., config: _Optional[str] = ..., tiles: _Optional[_Iterable[_Union[ForcedTile, _Mapping]]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("progress", "refusal", "prepared", "space", "evaluation", "tuned", "kernels", "tiled")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    TUNED_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    TILED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    refusal: Refusal
    prepared: PreparedProgram
    space: Space
    evaluation: Evaluation
    tuned: TunedProgram
    kernels: Kernels
    tiled: TiledProgram
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., prepared: _Optional[_Union[PreparedProgram, _Mapping]] = ..., space: _Optional[_Union[Space, _Mapping]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., tuned: _Optional[_Union[TunedProgram, _Mapping]] = ..., kernels: _Optional[_Union[Kernels, _Mapping]] = ..., tiled: _Optional[_Union[TiledProgram, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("waiting", "seconds")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    seconds: float
    def __init__(self, waiting: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("error", "message")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    error: str
    message: str
    def __init__(self, error: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Detail(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class PreparedProgram(_message.Message):
    __slots__ = ("module", "assigned", "notes", "details", "caveat", "program")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Detail
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Detail, _Mapping]] = ...) -> None: ...
    MODULE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    CAVEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    module: bytes
    assigned: bytes
    notes: _containers.RepeatedScalarFieldContainer[str]
    details: _containers.MessageMap[str, Detail]
    caveat: str
    program: bytes
    def __init__(self, module: _Optional[bytes] = ..., assigned: _Optional[bytes] = ..., notes: _Optional[_Iterable[str]] = ..., details: _Optional[_Mapping[str, Detail]] = ..., caveat: _Optional[str] = ..., program: _Optional[bytes] = ...) -> None: ...

class Space(_message.Message):
    __slots__ = ("layout", "dot_tile", "kernel_tile")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    DOT_TILE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_TILE_FIELD_NUMBER: _ClassVar[int]
    layout: LayoutSpace
    dot_tile: DotTileSpace
    kernel_tile: KernelTileSpace
    def __init__(self, layout: _Optional[_Union[LayoutSpace, _Mapping]] = ..., dot_tile: _Optional[_Union[DotTileSpace, _Mapping]] = ..., kernel_tile: _Optional[_Union[KernelTileSpace, _Mapping]] = ...) -> None: ...

class LayoutSpace(_message.Message):
    __slots__ = ("places",)
    PLACES_FIELD_NUMBER: _ClassVar[int]
    places: int
    def __init__(self, places: _Optional[int] = ...) -> None: ...

class DotTileSpace(_message.Message):
    __slots__ = ("rows", "steps", "columns", "element_type")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    steps: int
    columns: int
    element_type: str
    def __init__(self, rows: _Optional[int] = ..., steps: _Optional[int] = ..., columns: _Optional[int] = ..., element_type: _Optional[str] = ...) -> None: ...

class KernelTileSpace(_message.Message):
    __slots__ = ("kernel", "candidates")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    kernel: Kernel
    candidates: _containers.RepeatedCompositeFieldContainer[TileCandidate]
    def __init__(self, kernel: _Optional[_Union[Kernel, _Mapping]] = ..., candidates: _Optional[_Iterable[_Union[TileCandidate, _Mapping]]] = ...) -> None: ...

class TileCandidate(_message.Message):
    __slots__ = ("cycles", "output_bounds", "kernel_bounds", "vmem_bytes")
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    VMEM_BYTES_FIELD_NUMBER: _ClassVar[int]
    cycles: int
    output_bounds: _containers.RepeatedScalarFieldContainer[int]
    kernel_bounds: _containers.RepeatedScalarFieldContainer[int]
    vmem_bytes: int
    def __init__(self, cycles: _Optional[int] = ..., output_bounds: _Optional[_Iterable[int]] = ..., kernel_bounds: _Optional[_Iterable[int]] = ..., vmem_bytes: _Optional[int] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("config", "purpose", "compile_seconds", "details", "measured", "estimated", "failed")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Detail
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Detail, _Mapping]] = ...) -> None: ...
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    COMPILE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    config: str
    purpose: str
    compile_seconds: float
    details: _containers.MessageMap[str, Detail]
    measured: Measured
    estimated: Estimated
    failed: Failed
    def __init__(self, config: _Optional[str] = ..., purpose: _Optional[str] = ..., compile_seconds: _Optional[float] = ..., details: _Optional[_Mapping[str, Detail]] = ..., measured: _Optional[_Union[Measured, _Mapping]] = ..., estimated: _Optional[_Union[Estimated, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...

class Measured(_message.Message):
    __slots__ = ("seconds", "spread", "default_seconds", "default_spread", "repeat_spread", "passes", "runs")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SPREAD_FIELD_NUMBER: _ClassVar[int]
    REPEAT_SPREAD_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    spread: float
    default_seconds: float
    default_spread: float
    repeat_spread: float
    passes: int
    runs: int
    def __init__(self, seconds: _Optional[float] = ..., spread: _Optional[float] = ..., default_seconds: _Optional[float] = ..., default_spread: _Optional[float] = ..., repeat_spread: _Optional[float] = ..., passes: _Optional[int] = ..., runs: _Optional[int] = ...) -> None: ...

class Estimated(_message.Message):
    __slots__ = ("cycles", "default_cycles")
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_CYCLES_FIELD_NUMBER: _ClassVar[int]
    cycles: float
    default_cycles: float
    def __init__(self, cycles: _Optional[float] = ..., default_cycles: _Optional[float] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Option(_message.Message):
    __slots__ = ("text", "number", "flag")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    text: str
    number: int
    flag: bool
    def __init__(self, text: _Optional[str] = ..., number: _Optional[int] = ..., flag: _Optional[bool] = ...) -> None: ...

class TunedProgram(_message.Message):
    __slots__ = ("module", "options", "extra_options", "backend_only")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Option
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Option, _Mapping]] = ...) -> None: ...
    class ExtraOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODULE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    BACKEND_ONLY_FIELD_NUMBER: _ClassVar[int]
    module: bytes
    options: _containers.MessageMap[str, Option]
    extra_options: _containers.ScalarMap[str, str]
    backend_only: bool
    def __init__(self, module: _Optional[bytes] = ..., options: _Optional[_Mapping[str, Option]] = ..., extra_options: _Optional[_Mapping[str, str]] = ..., backend_only: _Optional[bool] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("kernel_bounds", "output_bounds", "input_bounds", "iteration_bounds", "estimated_cycles", "other")
    KERNEL_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    INPUT_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    ITERATION_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_CYCLES_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    kernel_bounds: _containers.RepeatedScalarFieldContainer[int]
    output_bounds: _containers.RepeatedScalarFieldContainer[int]
    input_bounds: _containers.RepeatedScalarFieldContainer[int]
    iteration_bounds: _containers.RepeatedScalarFieldContainer[int]
    estimated_cycles: int
    other: str
    def __init__(self, kernel_bounds: _Optional[_Iterable[int]] = ..., output_bounds: _Optional[_Iterable[int]] = ..., input_bounds: _Optional[_Iterable[int]] = ..., iteration_bounds: _Optional[_Iterable[int]] = ..., estimated_cycles: _Optional[int] = ..., other: _Optional[str] = ...) -> None: ...

class Kernel(_message.Message):
    __slots__ = ("name", "opcode", "module", "window", "executions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPCODE_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    opcode: str
    module: bytes
    window: Window
    executions: int
    def __init__(self, name: _Optional[str] = ..., opcode: _Optional[str] = ..., module: _Optional[bytes] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., executions: _Optional[int] = ...) -> None: ...

class Kernels(_message.Message):
    __slots__ = ("kernels",)
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    kernels: _containers.RepeatedCompositeFieldContainer[Kernel]
    def __init__(self, kernels: _Optional[_Iterable[_Union[Kernel, _Mapping]]] = ...) -> None: ...

class ForcedTile(_message.Message):
    __slots__ = ("kernel", "output_bounds", "kernel_bounds", "cycles")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    kernel: str
    output_bounds: _containers.RepeatedScalarFieldContainer[int]
    kernel_bounds: _containers.RepeatedScalarFieldContainer[int]
    cycles: int
    def __init__(self, kernel: _Optional[str] = ..., output_bounds: _Optional[_Iterable[int]] = ..., kernel_bounds: _Optional[_Iterable[int]] = ..., cycles: _Optional[int] = ...) -> None: ...

class TiledProgram(_message.Message):
    __slots__ = ("module", "asked", "held", "cycles", "measured", "failed")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    module: bytes
    asked: _containers.RepeatedScalarFieldContainer[str]
    held: _containers.RepeatedScalarFieldContainer[str]
    cycles: float
    measured: Measured
    failed: Failed
    def __init__(self, module: _Optional[bytes] = ..., asked: _Optional[_Iterable[str]] = ..., held: _Optional[_Iterable[str]] = ..., cycles: _Optional[float] = ..., measured: _Optional[_Union[Measured, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...

class KeptProgram(_message.Message):
    __slots__ = ("prepared", "name", "source", "notes", "space", "target")
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    prepared: PreparedProgram
    name: str
    source: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    space: Space
    target: TargetDescription
    def __init__(self, prepared: _Optional[_Union[PreparedProgram, _Mapping]] = ..., name: _Optional[str] = ..., source: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[Space, _Mapping]] = ..., target: _Optional[_Union[TargetDescription, _Mapping]] = ...) -> None: ...
