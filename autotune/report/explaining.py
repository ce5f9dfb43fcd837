"""From a finished search to its explanation, while the target is still open."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from autotune.errors import AutotuneError
from autotune.evaluation import LabelKind
from autotune.report.costs import by_compiler, by_roofline
from autotune.report.explanation import Explanation
from autotune.report.layouts import layout_changes, neighbourhood
from autotune.result import SearchResult
from autotune.spaces.base import config_id
from autotune.targets.base import OptimisedProvider, Target

_ROOFLINE: Final = (
    "estimated by the roofline of the analytical cost model (the larger of arithmetic and memory traffic at the peaks "
    "of device {device}), on the program as {compiler} optimised it; not a profile and not measured"
)
_CYCLES: Final = "the compiler's own estimate for each kernel of the optimised program ({compiler}); never a time"


def explain(target: Target, result: SearchResult) -> Explanation:
    """Compile the default and the best config (or the fastest other) once more, and compare what they consist of.

    Whatever stands in the way is said in `Explanation.missing`: a search is not lost because it cannot be explained.

    Args:
        target: that evaluated; still open.
        result: of the search.
    """
    shown = result.runner_up
    changes = layout_changes(result.prepared, shown)
    facts = Explanation(
        program=result.prepared.program.fingerprint,
        target=result.target.name,
        default_id=config_id(result.default.config),
        config_id=config_id(shown.config),
        layouts=changes,
        neighbourhood=neighbourhood(result.prepared, changes),
    )
    if not isinstance(target, OptimisedProvider):
        return _without_costs(facts, f"target {result.target.name} does not show the programs that it compiles")
    try:
        modules = target.optimised(result.prepared, [result.default.config, shown.config])
    except AutotuneError as error:
        return _without_costs(facts, str(error))
    except KeyboardInterrupt:
        return _without_costs(facts, "interrupted while the two programs were compiled once more")
    compiler = result.target.compiler_version
    if result.target.label is LabelKind.ESTIMATED or result.target.cost_model_device.startswith("tpu"):
        default, tuned = map(by_compiler, modules)
        unit, source = "compiler cycles", _CYCLES.format(compiler=compiler)
    else:
        device = result.target.cost_model_device
        default, tuned = (by_roofline(module, device) for module in modules)
        unit, source = "seconds", _ROOFLINE.format(device=device, compiler=compiler)
    return replace(facts, unit=unit, source=source, default=default, tuned=tuned)


def _without_costs(facts: Explanation, reason: str) -> Explanation:
    return replace(facts, missing=reason)
