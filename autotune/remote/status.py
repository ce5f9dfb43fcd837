"""How servers are: what `autotune servers status` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autotune.remote import loop
from autotune.remote.address import SCHEME, Address
from autotune.remote.connection import DESCRIBE_SECONDS, Connection, LostServerError, RejectedError, ServerFacts
from autotune.remote.credentials import ClientCredentials
from autotune.spaces.base import JsonObject


@dataclass(frozen=True)
class Status:
    """What is known of one server.

    Attributes:
        address: of it.
        facts: what it said; None if it said nothing.
        problem: why not; "" if it did.
    """

    address: Address
    facts: ServerFacts | None
    problem: str = ""

    def to_json(self) -> JsonObject:
        """The facts, for machines."""
        server: JsonObject = {"address": str(self.address), "problem": self.problem or None}
        if self.facts is not None:
            facts = asdict(self.facts)
            facts["description"]["label"] = self.facts.description.label.value
            server |= {"target": facts.pop("description")} | facts
        return server


def ask(addresses: Sequence[Address], credentials: ClientCredentials) -> list[Status]:
    """Ask servers, all at once.

    Raises:
        AutotuneError: a file of the credentials cannot be used.
    """

    async def one(address: Address) -> Status:
        line = Connection(address, credentials, silence=DESCRIBE_SECONDS, deadline=DESCRIBE_SECONDS)
        try:
            return Status(address, await line.describe())
        except (LostServerError, RejectedError) as error:
            return Status(address, None, str(error))
        finally:
            await line.close()

    async def everyone() -> list[Status]:
        return list(await asyncio.gather(*(one(address) for address in addresses)))

    return loop.run(everyone())


def render(servers: Sequence[Status]) -> RenderableType:
    """A table of those that answer, and a line for each that does not."""
    table = Table("server", "target", "device", "compiler", "label", "now", "waiting", "evaluations", "up", "version")
    for each in servers:
        if each.facts is not None:
            facts, described = each.facts, each.facts.description
            table.add_row(
                f"{SCHEME}{each.address}",
                described.name,
                described.device_kind,
                described.compiler_version,
                described.label.value,
                "busy" if facts.busy else "free",
                f"{facts.waiting} of {facts.clients} clients" if facts.waiting else "0",
                str(facts.evaluations),
                _duration(facts.uptime),
                facts.tool_version,
            )
    problems = [Text(f"{SCHEME}{each.address}: {each.problem}", style="red") for each in servers if each.problem]
    return Group(*([table] if table.rows else []), *problems)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
