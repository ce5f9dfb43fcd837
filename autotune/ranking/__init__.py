"""Which of many proposals to evaluate: cost models, and what the evaluations of this very program teach."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.ranking.base import Ranker as Ranker
from autotune.ranking.base import Standing as Standing
from autotune.ranking.effects_ranker import EffectsRanker
from autotune.ranking.residual_ranker import ResidualRanker
from autotune.spaces.base import Space
from autotune.strategies.base import Guidance
from cost_model import CostModel, ProgramGraph


def make_ranker(
    models: Sequence[CostModel], graph: ProgramGraph | None, space: Space, guidance: Guidance, *, estimated: bool
) -> Ranker | None:
    """The ranker of a search; None where there is nothing to rank by.

    Args:
        models: cost models, the preferred one first; may be none.
        graph: the program as they see it; None without models.
        space: of the configs.
        guidance: what the strategy asks for; effects can be learned where the space has factors.
        estimated: whether costs are a compiler's estimates.
    """
    if guidance is Guidance.NONE:
        return None
    if guidance is Guidance.EFFECTS and space.factors is not None:
        return EffectsRanker(models, graph, space, space.factors)
    return ResidualRanker(models, graph, space, estimated=estimated) if models and graph is not None else None
