"""The commands of `training`, for the command line to mount. Heavy imports happen inside the commands."""

from __future__ import annotations

import typer

from training.commands import collect, data, ranking, train, zoo


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(data.data_commands)
    app.add_typer(zoo.zoo_commands)
    collect.register(app)
    train.register(app)
    ranking.register(app)
