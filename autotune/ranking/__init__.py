"""Which of many proposals to evaluate: cost models, and what the evaluations of this very program teach."""

from autotune.ranking.ranker import Ranker as Ranker
from autotune.ranking.ranker import Standing as Standing
