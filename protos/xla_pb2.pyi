from protos import hlo_pb2 as _hlo_pb2
from protos import xla_data_pb2 as _xla_data_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HloModuleConfigProto(_message.Message):
    __slots__ = ("entry_computation_layout", "replica_count", "num_partitions", "layout_config")
    class Int64List(_message.Message):
        __slots__ = ("vals",)
        VALS_FIELD_NUMBER: _ClassVar[int]
        vals: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, vals: _Optional[_Iterable[int]] = ...) -> None: ...
    class Int64ListList(_message.Message):
        __slots__ = ("lists",)
        LISTS_FIELD_NUMBER: _ClassVar[int]
        lists: _containers.RepeatedCompositeFieldContainer[HloModuleConfigProto.Int64List]
        def __init__(self, lists: _Optional[_Iterable[_Union[HloModuleConfigProto.Int64List, _Mapping]]] = ...) -> None: ...
    ENTRY_COMPUTATION_LAYOUT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_COUNT_FIELD_NUMBER: _ClassVar[int]
    NUM_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    entry_computation_layout: _xla_data_pb2.ProgramShapeProto
    replica_count: int
    num_partitions: int
    layout_config: _containers.RepeatedCompositeFieldContainer[HloModuleConfigProto.Int64ListList]
    def __init__(self, entry_computation_layout: _Optional[_Union[_xla_data_pb2.ProgramShapeProto, _Mapping]] = ..., replica_count: _Optional[int] = ..., num_partitions: _Optional[int] = ..., layout_config: _Optional[_Iterable[_Union[HloModuleConfigProto.Int64ListList, _Mapping]]] = ...) -> None: ...

class HloModuleProtoWithConfig(_message.Message):
    __slots__ = ("hlo_module", "config")
    HLO_MODULE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    hlo_module: _hlo_pb2.HloModuleProto
    config: HloModuleConfigProto
    def __init__(self, hlo_module: _Optional[_Union[_hlo_pb2.HloModuleProto, _Mapping]] = ..., config: _Optional[_Union[HloModuleConfigProto, _Mapping]] = ...) -> None: ...

class ExecutableBuildOptionsProto(_message.Message):
    __slots__ = ("device_ordinal", "result_layout", "num_replicas", "num_partitions", "use_spmd_partitioning", "device_assignment", "run_backend_only", "use_shardy_partitioner")
    DEVICE_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    RESULT_LAYOUT_FIELD_NUMBER: _ClassVar[int]
    NUM_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    NUM_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    USE_SPMD_PARTITIONING_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    RUN_BACKEND_ONLY_FIELD_NUMBER: _ClassVar[int]
    USE_SHARDY_PARTITIONER_FIELD_NUMBER: _ClassVar[int]
    device_ordinal: int
    result_layout: _xla_data_pb2.ShapeProto
    num_replicas: int
    num_partitions: int
    use_spmd_partitioning: bool
    device_assignment: _xla_data_pb2.DeviceAssignmentProto
    run_backend_only: bool
    use_shardy_partitioner: bool
    def __init__(self, device_ordinal: _Optional[int] = ..., result_layout: _Optional[_Union[_xla_data_pb2.ShapeProto, _Mapping]] = ..., num_replicas: _Optional[int] = ..., num_partitions: _Optional[int] = ..., use_spmd_partitioning: _Optional[bool] = ..., device_assignment: _Optional[_Union[_xla_data_pb2.DeviceAssignmentProto, _Mapping]] = ..., run_backend_only: _Optional[bool] = ..., use_shardy_partitioner: _Optional[bool] = ...) -> None: ...

class OptionOverrideProto(_message.Message):
    __slots__ = ("string_field", "bool_field", "int_field", "double_field")
    STRING_FIELD_FIELD_NUMBER: _ClassVar[int]
    BOOL_FIELD_FIELD_NUMBER: _ClassVar[int]
    INT_FIELD_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_FIELD_FIELD_NUMBER: _ClassVar[int]
    string_field: str
    bool_field: bool
    int_field: int
    double_field: float
    def __init__(self, string_field: _Optional[str] = ..., bool_field: _Optional[bool] = ..., int_field: _Optional[int] = ..., double_field: _Optional[float] = ...) -> None: ...

class CompileOptionsProto(_message.Message):
    __slots__ = ("argument_layouts", "executable_build_options", "env_option_overrides")
    class EnvOptionOverridesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OptionOverrideProto
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OptionOverrideProto, _Mapping]] = ...) -> None: ...
    ARGUMENT_LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_BUILD_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ENV_OPTION_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    argument_layouts: _containers.RepeatedCompositeFieldContainer[_xla_data_pb2.ShapeProto]
    executable_build_options: ExecutableBuildOptionsProto
    env_option_overrides: _containers.MessageMap[str, OptionOverrideProto]
    def __init__(self, argument_layouts: _Optional[_Iterable[_Union[_xla_data_pb2.ShapeProto, _Mapping]]] = ..., executable_build_options: _Optional[_Union[ExecutableBuildOptionsProto, _Mapping]] = ..., env_option_overrides: _Optional[_Mapping[str, OptionOverrideProto]] = ...) -> None: ...
