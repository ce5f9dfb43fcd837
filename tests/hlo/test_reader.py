"""Any file that holds a program is read, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autotune.errors import AutotuneError, ProgramReadError, ToolchainError, UnsupportedProgramError
from autotune.hlo import formats
from autotune.hlo.fingerprint import fingerprint
from autotune.hlo.program import Program
from autotune.hlo.reader import SIZE_LIMIT, read, read_bytes
from autotune.targets.isolation import run_in_child
from protos import hlo_pb2, tuning_pb2
from tests import hlo_texts, programs

ROOT = Path(__file__).resolve().parents[2]
TEXT = hlo_texts.TWO_DOTS


@pytest.fixture(scope="module")
def program() -> Program:
    return programs.two_dots()


# ---- Formats ---------------------------------------------------------------------------------------------------------


def test_hlo_text(program: Program) -> None:
    assert program.name == "two_dots"
    assert program.source == "two_dots (HLO text)"
    assert (program.notes, program.tuning) == ((), None)
    assert [i.opcode for i in program.proto.computations[0].instructions].count("dot") == 2
    assert formats.recognise_text(TEXT) is formats.Format.HLO_TEXT


@pytest.mark.parametrize(
    "text",
    [
        "// a comment\n/* another,\nlonger one */\n" + TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        "\n\n" + TEXT.partition("\n")[2],  # XLA takes a module without its first line
    ],
    ids=["comments", "byte order mark", "windows", "no header"],
)
def test_ways_of_writing_hlo_text(text: str, program: Program) -> None:
    assert read_bytes(text.encode(), "x").fingerprint == program.fingerprint


def test_content_decides_not_the_name(tmp_path: Path, program: Program) -> None:
    path = tmp_path / "model.mlir"
    path.write_text(TEXT)
    found = read(path)
    assert found.source == "model.mlir (HLO text)"
    assert found.fingerprint == program.fingerprint


def _in_every_binary_format(module: hlo_pb2.HloModuleProto) -> dict[str, bytes]:
    hlo = hlo_pb2.HloProto(hlo_module=module)
    tuning = tuning_pb2.ModuleTuningData(module=module, fingerprint=7)
    run = tuning.runs.add()
    run.op_config.tile_size_config.output_bounds[:] = [8, 8]
    # XLA's buffer assignment (field 3, not in our protos): a logical buffer with id 1, and an allocation of 64 bytes.
    assignment = b"\x1a\x0a" + b"\x0a\x02\x08\x01" + b"\x1a\x04\x08\x00\x10\x40"
    return {
        "HloModuleProto": module.SerializeToString(),
        "HloProto": hlo.SerializeToString() + assignment,
        "HloSnapshot": hlo_pb2.HloSnapshot(hlo=hlo, execution_platform="cpu").SerializeToString(),
        "ModuleTuningData": tuning.SerializeToString(),
        "TuningData": tuning_pb2.TuningData(modules=[tuning]).SerializeToString(),
    }


@pytest.mark.parametrize("name", ["HloModuleProto", "HloProto", "HloSnapshot", "ModuleTuningData", "TuningData"])
def test_binary_formats(name: str, program: Program) -> None:
    found = read_bytes(_in_every_binary_format(program.proto)[name], "dump")
    assert found.source == f"dump ({name})"
    assert found.module == program.module
    assert found.fingerprint == program.fingerprint
    if "Tuning" in name:
        assert found.tuning is not None
        data = tuning_pb2.ModuleTuningData.FromString(found.tuning)
        assert list(data.runs[0].op_config.tile_size_config.output_bounds) == [8, 8]
    else:
        assert found.tuning is None


def test_one_of_several_modules(program: Program) -> None:
    other = hlo_pb2.HloModuleProto()
    other.CopyFrom(program.proto)
    other.name = "other"
    parts = [tuning_pb2.ModuleTuningData(module=module, fingerprint=1) for module in (program.proto, other)]
    data = tuning_pb2.TuningData(modules=parts).SerializeToString()
    assert read_bytes(data, "x", module_name="other").name == "other"
    with pytest.raises(ProgramReadError, match=r"x: several modules; choose one by its name: two_dots, other"):
        read_bytes(data, "x")
    with pytest.raises(ProgramReadError, match=r"x: no module named 'third'; there is: two_dots, other"):
        read_bytes(data, "x", module_name="third")


def test_stablehlo_in_all_its_forms() -> None:
    text, artifact, export = run_in_child("tests.hlo.child", "export_tanh_of_product", time_limit=60.0)
    found = [read_bytes(data, "f") for data in (text.encode(), artifact, export)]
    assert {program.source for program in found} == {"f (StableHLO)"}
    assert len({program.fingerprint for program in found}) == 1
    opcodes = [i.opcode for c in found[0].proto.computations for i in c.instructions]
    assert sorted(opcodes) == ["dot", "parameter", "parameter", "tanh"]


def test_stablehlo_bytecode_of_a_program(program: Program) -> None:
    code = run_in_child("autotune.hlo.jaxlib", "module_to_stablehlo", program.module, time_limit=60.0)
    assert read_bytes(code, "x").fingerprint == program.fingerprint


def test_mhlo_text() -> None:
    text = """module @m {
      func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {
        %0 = "mhlo.tanh"(%a) : (tensor<4xf32>) -> tensor<4xf32>
        return %0 : tensor<4xf32>
      }
    }"""
    assert [i.opcode for i in read_bytes(text.encode(), "x").proto.computations[0].instructions] == [
        "parameter",
        "tanh",
    ]


def test_several_devices_are_kept() -> None:
    # XLA's own proto has no other place for the two numbers.
    text = TEXT.replace("HloModule two_dots", "HloModule two_dots, replica_count=2, num_partitions=4")
    devices = read_bytes(text.encode(), "x").proto.device_assignment
    assert (devices.replica_count, devices.computation_count) == (2, 4)
    assert [list(d.replica_device_ids) for d in devices.computation_devices] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    code = """module @m attributes {mhlo.num_partitions = 8 : i32, mhlo.num_replicas = 1 : i32} {
      func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> { return %a : tensor<4xf32> }
    }"""
    assert read_bytes(code.encode(), "x").proto.device_assignment.computation_count == 8


def test_elided_constants_are_mentioned() -> None:
    text = "HloModule m\nENTRY e {\n  ROOT c = f32[40]{0} constant({...})\n}\n"
    (note,) = read_bytes(text.encode(), "x").notes
    assert "constants left out of the text ({...}): 1" in note


# ---- Refusals --------------------------------------------------------------------------------------------------------


def test_no_such_file_a_folder_and_odd_files(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path / "missing.hlo", "no such file"),
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / "a\0b", "cannot be read"),
    ]:
        with pytest.raises(ProgramReadError, match=message):
            read(path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ProgramReadError, match="not a regular file"):
        read(fifo)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.hlo"
    path.write_text(TEXT)
    path.chmod(0)
    with pytest.raises(ProgramReadError, match="no permission"):
        read(path)


def test_more_than_two_gib_is_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "huge.pb"
    with path.open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)  # sparse: no byte is written
    with pytest.raises(ProgramReadError, match=r"2,147,483,648 bytes; a program has at most 2,147,483,647 \(2 GiB\)"):
        read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "the file is empty"),
        (b"import jax\n", "text that is no program; .* found 'import jax'"),
        (b"HloModule m\n\xff\n", "byte 12 is not UTF-8"),
        (b"HloModule m\n\nf {\n  ROOT p = f32[4] parameter(0)\n}\n", "without an ENTRY computation; was the file cut"),
        (bytes(range(256)), "256 bytes of binary data that hold no whole program"),
        (b"ML\xefR garbage", "XLA refuses this program"),
        (b"module @m {\n  func.func @main() { return 3 }\n}\n", "x:2:"),
    ],
)
def test_what_is_no_program(data: bytes, message: str) -> None:
    with pytest.raises(ProgramReadError, match=message):
        read_bytes(data, "x")


def test_a_syntax_error_shows_the_line_that_xla_names() -> None:
    text = TEXT.replace("tanh(h)", "tanhh(h)")
    with pytest.raises(ProgramReadError) as caught:
        read_bytes(text.encode(), "model.hlo")
    place, line, mark = str(caught.value).split("\n")
    assert place == "model.hlo:7:22: Unknown opcode: tanhh"
    assert line.strip() == "t = f32[8,32]{1,0} tanhh(h)"
    assert line[mark.index("^") :].startswith("tanhh")


def test_a_syntax_error_in_a_long_line_shows_its_surroundings() -> None:
    operands = ", ".join(f"x{index}" for index in range(2000))
    text = f"HloModule m\nENTRY e {{\n  x0 = f32[4] parameter(0)\n  ROOT t = tuple({operands})\n}}\n"
    with pytest.raises(ProgramReadError) as caught:
        read_bytes(text.encode(), "x")
    assert "instruction does not exist: x1" in str(caught.value)
    assert all(len(line) < 140 for line in str(caught.value).split("\n")[1:])


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated_text(keep: float) -> None:
    with pytest.raises(ProgramReadError):
        read_bytes(TEXT[: int(len(TEXT) * keep)].encode(), "x")


def test_a_program_that_xla_refuses() -> None:
    with pytest.raises(ProgramReadError, match=r"XLA refuses this program: .*stablehlo.add.* requires the same shape"):
        read_bytes(b"HloModule m\nENTRY e {\n  p = f32[4] parameter(0)\n  ROOT s = f32[5] add(p, p)\n}\n", "x")


def test_dynamic_shapes_are_refused() -> None:
    code = run_in_child("tests.hlo.child", "export_any_batch", time_limit=60.0)
    with pytest.raises(UnsupportedProgramError, match="export the program with concrete shapes"):
        read_bytes(code, "x")


def test_another_jaxlib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "jaxlib-0.9.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: jaxlib\nVersion: 0.9.2\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"jaxlib 0\.9\.2 is installed.*>= 0\.10, < 0\.11.*pip install"):
        read_bytes(TEXT.encode(), "x")


# ---- Damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HloModuleProto", "HloProto", "HloSnapshot", "ModuleTuningData", "TuningData"])
def test_no_truncated_binary_is_taken_for_another_program(name: str, program: Program) -> None:
    data = _in_every_binary_format(program.proto)[name]
    for length in range(1, len(data)):
        parsed = formats.parse_binary(data[:length])
        if parsed is not None:
            # What was cut off is not of the program: an empty field at the end, or what stands beside the module.
            assert fingerprint(parsed[1][0].module.SerializeToString()) == program.fingerprint


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_binary_gets_a_clear_error(keep: float, program: Program) -> None:
    with pytest.raises(ProgramReadError, match="hold no whole program: damaged, cut short or something else"):
        read_bytes(program.module[: int(len(program.module) * keep)], "x")


def test_damaged_bytes_never_crash_the_parser(program: Program) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(program.module)
        for place in random.integers(len(data), size=int(random.integers(1, 6))):
            data[place] = random.integers(256)
        formats.parse_binary(bytes(data))
        formats.parse_binary(random.bytes(int(random.integers(1, 400))))


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_end_in_a_program_or_a_clear_error(seed: int, program: Program) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(program.module)
    data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    try:
        read_bytes(bytes(data), "x")
    except AutotuneError as error:
        assert str(error).startswith(("x: ", "x:"))  # noqa: PT017 - either outcome is right


# ---- Real programs ---------------------------------------------------------------------------------------------------

HLO_FILES = [
    "bert_graph_1",
    "bert_graph_2",
    "clip_inference",
    "dlrm_train_step",
    "gemma3_4b_prefill",
    "gemma4_2b_bf16",
    "layer_norm_bf16",
    "llama3_8b_prefill",
    "llama3_8b_train_step",
    "mha_block_bf16",
    "mixtral_8x7b_2x8",
    "mobilenet_v2_inference",
    "resnet50_keras_inference",
    "resnet50_train_step",
    "vit_inference",
]
FUSIONS = [f"fusion.{number}" for number in (181, 191, 205, 206, 250, 261)]
KERNELS = ["copy.24", "reshape.37", "reshape.39", *FUSIONS]


@pytest.mark.parametrize("name", HLO_FILES)
def test_real_programs(name: str, shared: Path) -> None:
    found = read(shared / f"data/hlo/{name}.hlo")
    lines = [line.split() for line in (shared / f"data/hlo/{name}.hlo").read_text().splitlines() if " = " in line]
    written = sum(len(line) > 2 and line[0] not in ("HloModule", "//") for line in lines)
    assert sum(len(computation.instructions) for computation in found.proto.computations) == written
    assert len(found.fingerprint) == 32
    assert found.module == found.proto.SerializeToString(deterministic=True), "XLA and our protos write the same"


def test_a_real_program_that_does_not_parse(shared: Path) -> None:
    with pytest.raises(ProgramReadError, match=r'^unparsable_topk.hlo:5:78: unexpected attribute "is_stable"'):
        read(shared / "data/hlo/unparsable_topk.hlo")


@pytest.mark.parametrize("name", KERNELS)
def test_published_kernels(name: str, shared: Path) -> None:
    path = shared / f"data/tpugraphs/modules/{name}.pb"
    as_written = read(path, keep_optimised=True)
    original = hlo_pb2.HloModuleProto.FromString(path.read_bytes())
    assert as_written.proto == original
    undone = read(path).proto
    opcodes = {i.opcode for c in undone.computations for i in c.instructions}
    assert not opcodes & {"fusion", "bitcast"}
    assert not undone.HasField("schedule")


def test_published_tuning_data(shared: Path) -> None:
    found = read(shared / "data/tpugraphs/module_tuning_data_layout.pb")
    assert found.source == "module_tuning_data_layout.pb (ModuleTuningData)"
    assert found.tuning is not None
    module = read(shared / "data/tpugraphs/modules/unet_3d.4x4.bf16.pb")
    assert found.fingerprint == module.fingerprint
    assert [i.id for c in found.proto.computations for i in c.instructions] == [
        i.id for c in tuning_pb2.ModuleTuningData.FromString(found.tuning).module.computations for i in c.instructions
    ], "the order of nodes, to which the configs refer"


def test_the_parent_process_never_imports_jax(tmp_path: Path) -> None:
    path = tmp_path / "model.hlo"
    path.write_text(TEXT)
    script = (
        "import sys; from autotune.hlo.reader import read; print(read(sys.argv[1]).fingerprint); "
        "assert not {'jax', 'jaxlib'} & set(sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == programs.two_dots().fingerprint
