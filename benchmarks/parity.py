"""Does our network compute what the original code computed? Its outputs, losses and gradients, for the same weights.

Run it as: python -m benchmarks.parity --json parity.json

Errors are in parts per million (ppm): the largest difference between ours and theirs over theirs, except

- losses are taken of the predictions in the file. A loss of differences, taken of our own predictions, would show how
  far apart float32 numbers are: scores of -23.3 that differ by 0.02 leave four digits of their difference.
- gradient is over sum_i |dloss/dscore_i| |dscore_i/dparameter|, what the norm would be if the configs of a slate did
  not cancel. That is what the rounding of float32 is relative to: the bias of the last layer has no gradient in a
  loss of differences, so both sides have a remainder only. And 2 ReLUs of 40 million that rounding switches move what
  cancelling leaves by 0.1 % (layout_wide_residual: in float64, without them, our norms are theirs to 10 ppm but for
  the last layer's). Another processor may switch others. So judged, the median parameter's norm may still be off by
  0.02 % (tile), 0.4 to 1 % (layouts). gradient_itself, over the norm itself, is shown and not judged.
- scorer compares `Scorer` with our own plain forward, over the largest score of the case: it sums in another order.

The exit code is 1 if a case is beyond the tolerance.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from google.protobuf.message import DecodeError
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from autotune.errors import AutotuneError
from autotune.hlo.graph import program_graph
from autotune.hlo.tuning_data import layout_configs_from_tuning
from benchmarks.common import SHARED, parser, publish
from benchmarks.plain import plain_scores
from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs, features
from cost_model.architecture import Architecture
from cost_model.network import SageNetwork
from cost_model.npz import read_npz
from cost_model.scoring import Scorer
from protos import tuning_pb2
from training.losses import diffmat_hinge, list_mle, mape

TOLERANCE: Final = 1e-4
SCORER_TOLERANCE: Final = 1e-5
NOT_JUDGED: Final = "gradient_itself"


@dataclass(frozen=True, eq=False)
class Case:
    """One network on one graph.

    Attributes:
        name: its name in the file.
        graph: the program.
        configs: c configs.
        runtimes: what the losses compare with, seconds (layouts) or ratios to the default (tiles); float64[c].
        architecture: of the network.
        expected: the case as in the file: what the original code gave, and the settings of its losses.
    """

    name: str
    graph: ProgramGraph
    configs: ConfigBatch
    runtimes: NDArray[np.float64]
    architecture: Architecture
    expected: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """How far our numbers are from theirs.

    Attributes:
        name: of the case.
        parameters: how many weights our network has.
        errors: errors by name, as the module says; those of numbers that the file lacks are left out. `parameters` is
            how many weights are too many or too few, plus how many names differ.
    """

    name: str
    parameters: int
    errors: Mapping[str, float]

    def beyond(self, tolerance: float = TOLERANCE, scorer_tolerance: float = SCORER_TOLERANCE) -> list[str]:
        """The names of the errors that are too large; an error that is nan is."""
        limits = dict.fromkeys(self.errors, tolerance) | {"scorer": scorer_tolerance, NOT_JUDGED: math.inf}
        return [name for name, error in self.errors.items() if not error <= limits[name]]


def load_cases(golden: Path, data: Path) -> list[Case]:
    """Reads the golden file, and the graphs that it refers to.

    Args:
        golden: network_parity.json.
        data: the folder that the paths in it start at.

    Returns:
        Its cases, in order.

    Raises:
        OSError, ValueError, LookupError, TypeError, AutotuneError, DecodeError: a file is missing or damaged.
    """
    entries = json.loads(golden.read_text())["cases"]
    read = {path: _read_runs(data / path) for path in {entry["graph"] for entry in entries.values()}}
    cases = []
    for name, entry in entries.items():
        graph, configs, runtimes = read[entry["graph"]]
        chosen = np.array(entry["configs"], np.int64)
        if isinstance(configs, LayoutConfigs):
            picked: ConfigBatch = LayoutConfigs(configs.node_config_feat[chosen])
        else:
            picked = TileConfigs(configs.config_feat[chosen])
        shape = entry["network"]
        architecture = Architecture(
            features.TILE_FEATURES if isinstance(picked, TileConfigs) else features.LAYOUT_FEATURES,
            shape["in_channels"],
            tuple(shape["channels"]),
            shape["residual"],
            shape["feature_transform"],
            shape["output_scale"],
        )
        cases.append(Case(name, graph, picked, runtimes[chosen], architecture, entry))
    return cases


def build_network(case: Case) -> SageNetwork:
    """The network with the weights that the golden file describes.

    Parameter p, in the order of names, is RandomState(p).standard_normal(shape) * sqrt(2 / last dimension).
    """
    network = SageNetwork(case.architecture)
    with torch.no_grad():
        for seed, (_, parameter) in enumerate(sorted(network.named_parameters())):
            values = np.random.RandomState(seed).standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.tensor(values * np.sqrt(2 / parameter.shape[-1])))
    return network


def compare(case: Case, network: SageNetwork) -> Comparison:
    """Computes what the original code computed, and how far apart the two are.

    Args:
        case: the case.
        network: ours, from `build_network`.

    Returns:
        The errors.
    """
    expected = case.expected
    scores = plain_scores(network, case.graph, case.configs)
    plain = scores.detach().numpy()
    fast = Scorer(network).score(case.graph, case.configs)
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    total = sum(sizes.values())
    errors = {"parameters": float(abs(total - expected["params"]) + len(sizes.keys() ^ expected["grad_norms"].keys()))}
    if "target" in expected:
        errors["target"] = _relative(case.runtimes, expected["target"])
    errors["prediction"] = _relative(plain, expected["prediction"])
    errors |= _loss_errors(case)
    errors |= _gradient_errors(case, network, scores)
    errors["scorer"] = _largest(fast - plain, np.max(np.abs(plain)))
    return Comparison(case.name, total, errors)


def main() -> None:
    """Print the table; exit code 1 if a case is beyond the tolerance, 2 if a file cannot be read."""
    arguments = parser(__doc__)
    arguments.add_argument("--golden", type=Path, default=SHARED / "data" / "golden" / "network_parity.json")
    arguments.add_argument("--data", type=Path, default=SHARED / "data", help="where the paths in that file start")
    arguments.add_argument("--tolerance", type=float, default=TOLERANCE, help="of everything but the scorer")
    arguments.add_argument("--scorer-tolerance", type=float, default=SCORER_TOLERANCE)
    options = arguments.parse_args()
    try:
        cases = load_cases(options.golden, options.data)
    except (OSError, ValueError, LookupError, TypeError, AutotuneError, DecodeError) as error:
        found = f"{type(error).__name__}: {error}"
        arguments.error(f"expected golden cases (--golden) and their graphs (--data), found {found}")
    comparisons = [compare(case, build_network(case)) for case in cases]
    publish("ours against the original code, errors in ppm", _table(comparisons), options.json)
    failures = [
        f"{each.name}: the error of {name} is {each.errors[name]:.1e}"
        for each in comparisons
        for name in each.beyond(options.tolerance, options.scorer_tolerance)
    ]
    if failures:
        sys.exit("\n".join(["beyond the tolerance:", *failures]))


def _table(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row for each number that is compared, one column for each case."""
    counts: dict[str, Any] = {each.name: each.parameters for each in comparisons}
    names = dict.fromkeys(name for each in comparisons for name in each.errors if name != "parameters")
    errors = [
        {"of": name} | {each.name: 1e6 * each.errors[name] if name in each.errors else None for each in comparisons}
        for name in names
    ]
    return [{"of": "parameters"} | counts, *errors]


def _read_runs(path: Path) -> tuple[ProgramGraph, ConfigBatch, NDArray[np.float64]]:
    """The graph, all configs and their runtimes, from tuning data (layouts) or from a file of TpuGraphs (tiles)."""
    if path.suffix != ".npz":
        tuning = tuning_pb2.ModuleTuningData.FromString(path.read_bytes())
        runs = layout_configs_from_tuning(tuning)
        return program_graph(tuning.module), runs.configs, runs.runtimes * np.float64(1e-9)
    arrays = read_npz(path)
    if arrays.configs is None or arrays.runtimes is None or arrays.normalizers is None:
        raise ValueError(f"{path}: expected tile configs with their runtimes, found a file without")
    return arrays.graph, arrays.configs, arrays.runtimes / arrays.normalizers


def _loss_errors(case: Case) -> dict[str, float]:
    """Losses of the predictions in the file, against the losses in the file."""
    scores, runtimes = _slates(case, torch.tensor(case.expected["prediction"]))
    losses = {
        "diffmat": case.expected["scale"] * diffmat_hinge(scores, runtimes, margin=case.expected["margin"]),
        "mape": mape(scores, runtimes),
        "listmle": list_mle(scores, runtimes),
    }
    return {name: _relative(loss.item(), case.expected[name]) for name, loss in losses.items() if name in case.expected}


def _gradient_errors(case: Case, network: SageNetwork, scores: Tensor) -> dict[str, float]:
    """The largest error of a gradient's norm: over what it would be without cancelling, and over itself.

    The loss is that of the recipes: DiffMat, and MAPE added for layouts.
    """
    parameters = dict(network.named_parameters())
    slates, runtimes = _slates(case, scores)
    loss = case.expected["scale"] * diffmat_hinge(slates, runtimes, margin=case.expected["margin"])
    if isinstance(case.configs, LayoutConfigs):
        loss = loss + mape(slates, runtimes)
    of_scores, *gradients = torch.autograd.grad(loss, [scores, *parameters.values()])
    theirs = np.array([case.expected["grad_norms"].get(name, np.nan) for name in parameters])
    difference = np.array([gradient.norm().item() for gradient in gradients]) - theirs
    apart = of_scores.abs().double().numpy() @ _norms_of_scores(case, network)
    return {"gradient": _largest(difference, apart), NOT_JUDGED: _largest(difference, theirs)}


def _norms_of_scores(case: Case, network: SageNetwork) -> NDArray[np.float64]:
    """The norm of the gradient of each score alone by each parameter; float64[c, parameters]."""
    parameters = list(network.parameters())
    norms = []
    for config in range(len(case.configs)):
        (score,) = plain_scores(network, case.graph, case.configs[config : config + 1])
        norms.append([gradient.norm().item() for gradient in torch.autograd.grad(score, parameters)])
    return np.array(norms)


def _slates(case: Case, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and runtimes as float32[slates, slate_size]."""
    runtimes = torch.tensor(case.runtimes, dtype=torch.float32)
    size = case.expected["microbatch"]
    return scores.reshape(-1, size), runtimes.reshape(-1, size)


def _relative(found: ArrayLike, expected: ArrayLike) -> float:
    theirs = np.asarray(expected, np.float64)
    return _largest(np.asarray(found, np.float64) - theirs, theirs)


def _largest(difference: NDArray[np.floating[Any]], unit: ArrayLike) -> float:
    """The largest difference in its unit. No difference is 0 in any unit; nan if there is one among the values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(difference == 0, 0.0, np.abs(difference) / np.abs(unit))))


if __name__ == "__main__":
    main()
