"""The zoo: small programs of many model families, to make training data from. Importing it imports no jax.

Weights are arguments, so programs hold no random numbers and nothing is downloaded.
"""

from __future__ import annotations

from training.zoo.lowering import Lowerer, lower
from training.zoo.program import ZooProgram
from training.zoo.selection import ZOO, families, find, split_by_family

__all__ = ["ZOO", "Lowerer", "ZooProgram", "families", "find", "lower", "split_by_family"]
