"""Trains the small networks over hand-made descriptors (`cost_model.descriptors`) that rank programs never seen before.

They need thousands of steps of a few milliseconds, so everything is described once and kept in memory, and a training
that is interrupted starts again.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cost_model.card import LabelKind, ModelCard, TrainingData
from cost_model.descriptors.architecture import DescriptorArchitecture, Space
from cost_model.descriptors.base import Descriptors
from cost_model.descriptors.network import DescriptorNetwork
from cost_model.descriptors.scoring import Arguments, describe, describer_of, tensors_of
from cost_model.devices import DEVICES
from cost_model.learned import LearnedCostModel
from training.data.collections import collection_of
from training.data.store import StoredGraph
from training.errors import TrainingError

_LEAST_SPREAD: Final = 1e-3
"""Relative to the spread of a column, below which it is a constant and is left alone."""

_PRIOR: Final = MappingProxyType({"layout": "log_analytical_share", "tile": "log_iterations"})
"""Columns of the summary that rank better, or about as well, by themselves as what is learned, and err elsewhere."""

_PRIOR_WEIGHT: Final = MappingProxyType({"layout": 3.0, "tile": 1.0})
"""Of these, beside what is learned; both have the same spread within a program."""

_RESOLUTION: Final = MappingProxyType({"layout": 1.0, "tile": 0.1})
"""Of scores, in units of the spread of what is learned: closer ones are a tie. Layouts of 84 programs of 32 families
(v5e): learned alone .685, the column .739, together .72, rounded .75 (the column rounded by itself: .74 to .75). Tiles
of 1,050 kernels of 25 families (v5e): learned alone .9575, the column .9579, together .9582, rounded .9609."""

Progress = Callable[[int, int, float], None]
"""Told how many iterations are made, of how many, and the loss."""


@dataclass(frozen=True)
class DescriptorRecipe:
    """How a descriptor network is trained. Long trainings of wide networks rank unseen families worse.

    Attributes:
        architecture: the network.
        iterations: steps of the optimiser.
        programs: drawn in each of them.
        configs: of each program, at most.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        weight_decay: of AdamW.
        tie: two configs whose costs differ by less than this share are a tie and teach nothing.
        certain: a pair counts in proportion to how far apart its costs are, up to this share.
        bootstrap: share of the programs that each member learns from.
        seed: of initial weights and draws.
    """

    architecture: DescriptorArchitecture
    iterations: int = 600
    programs: int = 8
    configs: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    tie: float = 1e-3
    certain: float = 0.05
    bootstrap: float = 0.8
    seed: int = 0


def default_recipe(space: Space, device: str) -> DescriptorRecipe:
    """The recipe that ranks programs of unseen families best.

    Args:
        space: what configs choose.
        device: name of its description.
    """
    if space == "tile" and device == "cpu":
        # One shape of program in many sizes: a wider network that is trained for longer ranks better, not worse.
        architecture = DescriptorArchitecture(space, device, width=128, members=8)
        return DescriptorRecipe(architecture, iterations=12_000, learning_rate=1e-2, weight_decay=0.02)
    return DescriptorRecipe(DescriptorArchitecture(space, device))


@dataclass(frozen=True, eq=False)
class Example:
    """A described program.

    Attributes:
        name: of the program.
        descriptors: of its distinct configs.
        log_costs: natural logarithm of what they cost, float64[c].
    """

    name: str
    descriptors: Descriptors
    log_costs: NDArray[np.float64]


def describe_programs(
    graphs: Sequence[StoredGraph], architecture: DescriptorArchitecture, progress: Callable[[str], None] | None = None
) -> list[Example]:
    """Describes all configs of programs.

    Args:
        graphs: with labels.
        architecture: what the descriptors are for.
        progress: told the name of each program.

    Raises:
        TrainingError: a program has no labels.
    """
    examples = []
    for graph in graphs:
        if progress is not None:
            progress(graph.name)
        if graph.targets is None:
            raise TrainingError(f"{graph.name}: expected costs, found a file without: name labelled files")
        describer = describer_of(graph.graph, architecture.space, DEVICES[architecture.device])
        descriptors = describe(describer, graph.configs(np.arange(len(graph))))
        examples.append(Example(graph.name, descriptors, np.log(graph.targets)))
    return examples


def train_descriptors(
    recipe: DescriptorRecipe, examples: Sequence[Example], progress: Progress | None = None
) -> DescriptorNetwork:
    """Trains a network: it learns which of two configs of one program is faster.

    Args:
        recipe: how.
        examples: on what.
        progress: told how it goes.

    Raises:
        TrainingError: there is nothing to learn from, or the loss is no number any more.
    """
    usable = [each for each in examples if np.ptp(each.log_costs) > recipe.tie]
    if not usable:
        raise TrainingError(f"expected programs whose configs differ in cost, found none among {len(examples)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = DescriptorNetwork(recipe.architecture)
    _normalise(network, usable)
    random = np.random.default_rng(recipe.seed)
    members = recipe.architecture.members
    learns = torch.from_numpy(random.random((members, len(usable))) < recipe.bootstrap).float()
    learns[:, learns.sum(0) == 0] = 1.0
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.iterations)
    network.train()
    for iteration in range(1, recipe.iterations + 1):
        chosen = random.choice(len(usable), size=min(recipe.programs, len(usable)), replace=False)
        batch = _Batch.draw([usable[program] for program in chosen], recipe.configs, random)
        scores = network(*batch.arguments)
        losses = _pair_loss(batch.spread_out(scores), batch.log_costs, batch.present, recipe)
        loss = (losses * learns[:, chosen]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if iteration % 100 == 0 or iteration == recipe.iterations:
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(f"iteration {iteration}: expected a finite loss, found {value}")
            if progress is not None:
                progress(iteration, recipe.iterations, value)
    network.eval()
    _mix_in_prior(network, usable)
    return network


def descriptor_model(
    recipe: DescriptorRecipe,
    network: DescriptorNetwork,
    collection: str,
    label: LabelKind,
    data: TrainingData,
    metrics: dict[str, object] | None = None,
) -> LearnedCostModel:
    """A cost model with its card.

    Args:
        recipe: how it was trained.
        network: its weights.
        collection: what it was trained on.
        label: what the costs are.
        data: programs, configs and families.
        metrics: how good it is.
    """
    card = ModelCard(
        name=f"{collection}, descriptors, seed {recipe.seed}",
        architecture=recipe.architecture,
        space="tile" if collection_of(collection).kind == "tile" else "layout",
        target=collection,
        label_kind=label,
        training_data=(data,),
        recipe={"collection": collection, **asdict(recipe)},
        metrics=metrics or {},
        kind="descriptors",
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    return LearnedCostModel(network, card)


def _normalise(network: DescriptorNetwork, examples: Sequence[Example]) -> None:
    """Sets mean and spread of every column; every program counts the same, however many configs it has."""
    for name in ("items", "summary") if network.architecture.item_columns else ("summary",):
        tables = [getattr(each.descriptors, name) for each in examples]
        tables = [table.astype(np.float64) for table in tables if len(table)]
        mean = np.mean([table.mean(0) for table in tables], axis=0)
        spread = np.sqrt(np.mean([((table - mean) ** 2).mean(0) for table in tables], axis=0))
        scale = np.where(spread > _LEAST_SPREAD, 1 / np.maximum(spread, _LEAST_SPREAD), 1.0)
        network.get_buffer(f"{name}_mean").copy_(torch.from_numpy(mean))
        network.get_buffer(f"{name}_scale").copy_(torch.from_numpy(scale))


@torch.inference_mode()
def _mix_in_prior(network: DescriptorNetwork, examples: Sequence[Example]) -> None:
    """Gives what was learned and the prior's column the same spread within a program, and each its weight."""
    architecture = network.architecture
    if architecture.space == "tile" and architecture.device == "cpu":
        return
    column = architecture.summary_columns.index(_PRIOR[architecture.space])
    arguments = [tensors_of(each.descriptors, torch.device("cpu")) for each in examples]

    def spread(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([each.var(0, correction=0) for each in values]).mean(0).sqrt().clamp(min=_LEAST_SPREAD)

    learned = spread([network(*each).mean(0) for each in arguments])
    scale = network.get_buffer("summary_scale")
    own = spread([each[-1] * scale for each in arguments])
    network.get_buffer("output_scale").fill_(float(1 / learned))
    network.get_buffer("prior")[column] = _PRIOR_WEIGHT[architecture.space] / own[column]
    network.get_buffer("resolution").fill_(_RESOLUTION[architecture.space])


@dataclass(frozen=True, eq=False)
class _Batch:
    """Configs of several programs, side by side.

    Attributes:
        arguments: of the network.
        places: the program and the place in it of every config, int64[2, c].
        log_costs: float32[p, m]; 0 where a program has fewer than m configs.
        present: bool[p, m].
    """

    arguments: Arguments
    places: tuple[Tensor, Tensor]
    log_costs: Tensor
    present: Tensor

    @classmethod
    def draw(cls, examples: Sequence[Example], most: int, random: np.random.Generator) -> _Batch:
        parts, costs = [], []
        for each in examples:
            count = len(each.log_costs)
            chosen = random.choice(count, most, replace=False) if count > most else np.arange(count)
            parts.append(each.descriptors.take(chosen))
            costs.append(each.log_costs[chosen])
        counts = [len(each) for each in costs]
        program = np.repeat(np.arange(len(parts)), counts)
        place = np.concatenate([np.arange(count) for count in counts])
        log_costs = np.zeros((len(parts), max(counts)), np.float32)
        present = np.zeros(log_costs.shape, bool)
        log_costs[program, place], present[program, place] = np.concatenate(costs), True
        known = np.cumsum([0, *(len(part.items) for part in parts)])
        decided = np.cumsum([0, *(len(part.decisions) for part in parts)])
        arrays = (
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.shares for part in parts]),
            np.concatenate([part.decisions + start for part, start in zip(parts, known, strict=False)]),
            np.concatenate(
                [*(part.offsets[:-1] + start for part, start in zip(parts, decided, strict=False)), decided[-1:]]
            ),
            np.concatenate([part.summary for part in parts]),
        )
        items, shares, decisions, offsets, summary = map(torch.from_numpy, arrays)
        places = (torch.from_numpy(program), torch.from_numpy(place))
        return cls(
            (items, shares, decisions, offsets, summary), places, torch.from_numpy(log_costs), torch.from_numpy(present)
        )

    def spread_out(self, scores: Tensor) -> Tensor:
        """From [members, c] to [members, p, m]."""
        result = scores.new_zeros(len(scores), *self.present.shape)
        return result.index_put((torch.arange(len(scores))[:, None], *self.places), scores)


def _pair_loss(scores: Tensor, log_costs: Tensor, present: Tensor, recipe: DescriptorRecipe) -> Tensor:
    r"""Logistic loss over the pairs of each program, float32[members, p].

    .. math:: \frac{\sum_{t_i > t_j} w_{ij} \log(1 + e^{s_j - s_i})}{\sum w_{ij}},\quad
        w_{ij} = \min(1, (t_i - t_j) / certain)

    Source: C. Burges et al., "Learning to Rank using Gradient Descent" (RankNet), ICML 2005; weights as said above.
    """
    apart = log_costs[:, :, None] - log_costs[:, None, :]
    counts = present[:, :, None] & present[:, None, :] & (apart > recipe.tie)
    weights = torch.where(counts, (apart / recipe.certain).clamp(max=1.0), 0.0)
    losses = functional.softplus(scores[..., None, :] - scores[..., :, None])
    return (losses * weights).sum((-1, -2)) / weights.sum((-1, -2)).clamp(min=1e-6)
