"""Descriptions, prepared programs and evaluations as messages, and back.

What comes from a peer is checked here: a message that makes no sense is a `MessageError`, never another exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, LabelKind, Measured, Outcome
from autotune.hlo.program import Program
from autotune.spaces.base import Config, JsonObject
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from protos import hlo_pb2
from protos import measurement_pb2 as messages

PROTOCOL = 1
"""Raised when peers of another version would misunderstand each other."""

_LABELS = {
    LabelKind.MEASURED: messages.LABEL_KIND_MEASURED,
    LabelKind.ESTIMATED: messages.LABEL_KIND_ESTIMATED,
}
_LABEL_KINDS = {number: label for label, number in _LABELS.items()}


INSTANCE_HEADER = "autotune-instance"
"""In the metadata of a call: which server process it is for."""

UNFORESEEN = "in the server; its log says more"
"""How the words of a status end that tells of a mistake in the server, and not of a broken line."""


class MessageError(AutotuneError):
    """A peer sent what makes no sense; it is of another version, or no peer of ours."""


def config_to_json(config: Config) -> str:
    """The text of a config."""
    return json.dumps(config.to_json(), separators=(",", ":"))


def config_object(text: str) -> JsonObject:
    """The object in the text of a config; which config it is, its space knows.

    Raises:
        MessageError: it is no JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"expected a config as JSON, found {text[:80]!r} ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise MessageError(f"expected a config as a JSON object, found {text[:80]!r}")
    return value


# ---- Descriptions ----------------------------------------------------------------------------------------------------


def description_to_message(description: TargetDescription) -> messages.TargetDescription:
    """A target's description as a message."""
    return messages.TargetDescription(
        name=description.name,
        device_kind=description.device_kind,
        compiler_version=description.compiler_version,
        label=_LABELS[description.label],
        cost_model_device=description.cost_model_device,
    )


def description_from_message(message: messages.TargetDescription) -> TargetDescription:
    """The inverse of `description_to_message`.

    Raises:
        MessageError: a field is empty or not known.
    """
    label = _LABEL_KINDS.get(message.label)
    if label is None or not all((message.name, message.device_kind, message.compiler_version)):
        raise MessageError(f"expected the description of a target, found {_short(message)}")
    return TargetDescription(
        message.name, message.device_kind, message.compiler_version, label, message.cost_model_device
    )


# ---- Prepared and tuned programs -------------------------------------------------------------------------------------


def prepared_to_message(prepared: PreparedProgram, *, with_program: bool = False) -> messages.PreparedProgram:
    """What a target found out about a program; the program itself only `with_program`."""
    message = messages.PreparedProgram(notes=prepared.notes, caveat=prepared.caveat)
    if with_program:
        message.program = prepared.program.module
    if prepared.module.module != prepared.program.module:
        message.module = prepared.module.module
    if prepared.assigned is not None:
        message.assigned = prepared.assigned.SerializeToString(deterministic=True)
    _set_details(message.details, prepared.details)
    return message


def prepared_from_message(message: messages.PreparedProgram, program: Program, origin: str) -> PreparedProgram:
    """The inverse of `prepared_to_message`.

    Args:
        message: of the program.
        program: as it was submitted.
        origin: where the message comes from, for the source of the module.

    Raises:
        MessageError: a module is damaged.
    """
    try:
        assigned = hlo_pb2.HloModuleProto.FromString(message.assigned) if message.assigned else None
        if message.module:
            hlo_pb2.HloModuleProto.FromString(message.module)
    except Exception as error:  # DecodeError of whichever implementation protobuf has chosen
        raise MessageError(f"expected a module of program {program.name!r}, found none ({error})") from None
    module = program
    if message.module:
        source = f"{program.source}, just before layout assignment, from {origin}"
        module = replace(program, module=message.module, source=source)
    return PreparedProgram(program, module, tuple(message.notes), _details(message.details), message.caveat, assigned)


def tuned_to_message(tuned: TunedProgram) -> messages.TunedProgram:
    """An applied config as a message."""
    message = messages.TunedProgram(
        module=tuned.module, extra_options=tuned.extra_options, backend_only=tuned.backend_only
    )
    for name, value in tuned.options.items():
        match value:
            case bool():
                message.options[name].flag = value
            case int():
                message.options[name].number = value
            case _:
                message.options[name].text = value
    return message


def tuned_from_message(message: messages.TunedProgram) -> TunedProgram:
    """The inverse of `tuned_to_message`."""
    options: dict[str, str | int | bool] = {
        name: getattr(option, option.WhichOneof("value") or "text") for name, option in message.options.items()
    }
    return TunedProgram(message.module, options, dict(message.extra_options), message.backend_only)


# ---- Evaluations -----------------------------------------------------------------------------------------------------


def evaluation_to_message(evaluation: Evaluation) -> messages.Evaluation:
    """An evaluation as a message."""
    message = messages.Evaluation(
        config=config_to_json(evaluation.config),
        purpose=evaluation.purpose,
        compile_seconds=evaluation.compile_seconds,
    )
    _set_details(message.details, evaluation.details)
    match evaluation.outcome:
        case Measured() as measured:
            message.measured.CopyFrom(measured_to_message(measured))
        case Estimated() as estimated:
            message.estimated.CopyFrom(
                messages.Estimated(cycles=estimated.cycles, default_cycles=estimated.default_cycles)
            )
        case Failed() as failed:
            message.failed.CopyFrom(failed_to_message(failed))
    return message


def evaluation_from_message(
    message: messages.Evaluation, config_from_json: Callable[[JsonObject], Config]
) -> Evaluation:
    """The inverse of `evaluation_to_message`.

    Raises:
        MessageError: the outcome is missing, or its reason is not known.
        SpaceError: the config is none of the space.
    """
    outcome: Outcome
    match message.WhichOneof("outcome"):
        case "measured":
            outcome = measured_from_message(message.measured)
        case "estimated":
            outcome = Estimated(message.estimated.cycles, message.estimated.default_cycles)
        case "failed":
            outcome = failed_from_message(message.failed)
        case _:
            raise MessageError(f"expected an evaluation with an outcome, found {_short(message)}")
    return Evaluation(
        config_from_json(config_object(message.config)),
        outcome,
        message.compile_seconds,
        message.purpose,
        _details(message.details),
    )


def measured_to_message(measured: Measured) -> messages.Measured:
    """A measurement as a message; the fields have the same names."""
    return messages.Measured(**vars(measured))


def measured_from_message(message: messages.Measured) -> Measured:
    """The inverse of `measured_to_message`.

    Raises:
        MessageError: a time is not above 0.
    """
    if not (message.seconds > 0 and message.default_seconds > 0):
        raise MessageError(f"expected a measurement of times above 0, found {_short(message)}")
    return Measured(**{field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields})


def failed_to_message(failed: Failed) -> messages.Failed:
    """A failure as a message. A compiler's words may hold bytes that were no text; a message takes only what is."""
    return messages.Failed(reason=failed.reason.name, message=plain_text(failed.message))


def failed_from_message(message: messages.Failed) -> Failed:
    """The inverse of `failed_to_message`.

    Raises:
        MessageError: the reason is not known.
    """
    if message.reason not in FailureReason.__members__:
        raise MessageError(f"expected a known reason of a failure, found {message.reason!r}")
    return Failed(FailureReason[message.reason], message.message)


def plain_text(text: str) -> str:
    """A text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


# ---- Details ---------------------------------------------------------------------------------------------------------


def _set_details(field: Any, details: Mapping[str, float | str]) -> None:
    for name, value in details.items():
        if isinstance(value, str):
            field[name].text = plain_text(value)
        else:
            field[name].number = value


def _details(field: Any) -> dict[str, float | str]:
    return {
        name: detail.text if detail.WhichOneof("value") == "text" else detail.number for name, detail in field.items()
    }


def _short(message: Any) -> str:
    return " ".join(str(message).split())[:200] or "nothing"
