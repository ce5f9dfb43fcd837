"""The reference of the command line, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import typer.main

from autotune.cli import app
from autotune.terminal import EXIT_CODES, INTERRUPTED
from website.markdown import table

_TYPES: Final[dict[object, str]] = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
"""How the values of options are called that have no name of their own."""


def commands_section() -> str:
    """Every command with its arguments and options, and the exit codes."""
    return "\n".join([*(_command(path, command) for path, command in _walk("autotune", _root())), _exit_codes()])


def _root() -> Any:
    return typer.main.get_command(app)


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and all below it, those below in alphabetical order."""
    if path != "autotune":
        yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(f"{path} {name}", inner)


def _command(path: str, command: Any) -> str:
    depth = "#" * path.count(" ")
    parts = [f"#{depth} {path}\n", f"{inspect.cleandoc(command.help or '')}\n"]
    if getattr(command, "commands", None):
        return "\n".join(parts)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join([path, *(_placeholder(each) for each in arguments), "[OPTIONS]" if options else ""]).strip()
    parts.append(f"```text\n{usage}\n```\n")
    if arguments:
        parts.append(table(("argument", ""), ((f"`{_metavar(each)}`", each.help or "") for each in arguments)))
    if options:
        rows = ((_names(each), _described(each), _default(each)) for each in options)
        parts.append(table(("option", "", "default"), rows))
    return "\n".join(parts)


def _metavar(parameter: Any) -> str:
    name: str = parameter.metavar or parameter.name.upper()
    return name.strip("[]")


def _placeholder(argument: Any) -> str:
    name = _metavar(argument)
    more = "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return f"{name}{more}" if argument.required else f"[{name}{more}]"


def _names(option: Any) -> str:
    names = [", ".join(f"`{each}`" for each in part) for part in (option.opts, option.secondary_opts) if part]
    value = "" if option.is_flag else f" {option.metavar or _TYPES[_value_type(option)]}"
    return " / ".join(names) + value


def _value_type(option: Any) -> object:
    """The type of one value: an option that may be repeated has a list of them."""
    annotation: object = option.type_descriptor.annotation
    return next(iter(get_args(annotation)), annotation)


def _described(option: Any) -> str:
    limits = [f"{what} {limit}" for what, limit in (("at least", option.min), ("at most", option.max)) if limit]
    text = option.help or ""
    return f"{text} ({', '.join(limits)})" if limits else text


def _default(option: Any) -> str:
    if option.required:
        return "**required**"
    if isinstance(option.show_default, str):
        return option.show_default
    if option.default is None or option.show_default is False or (option.is_flag and not option.default):
        return ""
    return f"`{option.opts[0]}`" if option.is_flag else f"`{option.default}`"


def _exit_codes() -> str:
    rows: dict[int, list[str]] = {0: ["Done, whether or not a difference was found."], 1: ["Any other error."]}
    rows[2] = ["Wrong usage."]
    for kind, code in EXIT_CODES.items():
        rows.setdefault(code, []).append(f"`{kind.__name__}`: {_first_line(kind)}")
    rows[INTERRUPTED] = ["Interrupted; what was found is saved."]
    cells = ((str(code), " ".join(texts)) for code, texts in sorted(rows.items()))
    return "## Exit codes\n\n" + table(("code", "meaning"), cells)


def _first_line(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
