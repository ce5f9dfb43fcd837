"""A small network over descriptors: what each decision costs, added up, and what a config is as a whole.

Source of the form: M. Zaheer et al., "Deep Sets", NeurIPS 2017 (arXiv 1703.06114).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cost_model.descriptors.architecture import DescriptorArchitecture

_SHARE_SCALE = 10.0


class DescriptorNetwork(nn.Module):
    r"""Scores configs by their descriptors: lower is faster. Several members side by side, which share nothing.

    With items :math:`x_j` of shares :math:`w_j` and the summary s of a config, a member computes

    .. math:: y = g\Big(\log(1 + \textstyle\sum_j h(x_j)),\; \log(1 + 10 \sum_j w_j h(x_j)),\; s\Big)

    with h of two layers and g of three, ReLU between them. Columns are made of mean 0 and spread 1 first. The score is
    the mean of the members times `output_scale`, plus `prior` times the summary: columns that rank well by themselves,
    whose mean with what was learned ranks better than either. Neither is trained; at first they are 1 and 0. Scores are
    rounded to multiples of `resolution`, unless it is 0, as it is at first: many configs cost exactly the same.

    Args:
        architecture: its shape.
    """

    def __init__(self, architecture: DescriptorArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        for name in ("items", "summary") if architecture.item_columns else ("summary",):
            columns = len(getattr(architecture, "item_columns" if name == "items" else "summary_columns"))
            self.register_buffer(f"{name}_mean", torch.zeros(columns))
            self.register_buffer(f"{name}_scale", torch.ones(columns))
        self.register_buffer("prior", torch.zeros(len(architecture.summary_columns)))
        self.register_buffer("output_scale", torch.ones(1))
        self.register_buffer("resolution", torch.zeros(1))
        for name, (before, after) in architecture.layers.items():
            self.add_module(name, MemberLinear(architecture.members, before, after))

    def forward(self, items: Tensor, shares: Tensor, decisions: Tensor, offsets: Tensor, summary: Tensor) -> Tensor:
        """The scores of every member; arguments as in `Descriptors`.

        Args:
            items: float32[u, i]; u may be 0.
            shares: float32[u].
            decisions: int64[k].
            offsets: int64[c + 1].
            summary: float32[c, s].

        Returns:
            float32[members, c].
        """
        members = self.architecture.members
        columns = self._normalise("summary", summary).expand(members, -1, -1)
        if self.architecture.item_columns:
            costs = self._normalise("items", items).expand(members, -1, -1)
            costs = functional.relu(self.get_submodule("item_input")(costs))
            costs = functional.relu(self.get_submodule("item_hidden")(costs))
            # What an item costs is worked out once, however many configs decide it.
            both = torch.cat([costs, _SHARE_SCALE * shares[:, None] * costs], dim=-1)
            table = both.transpose(0, 1).reshape(len(items), members * both.shape[-1])
            # A batch of the default alone decides nothing, and a sum needs a row to refer to.
            table = torch.cat([table, table.new_zeros(1, table.shape[1])])
            sums = functional.embedding_bag(decisions, table, offsets, mode="sum", include_last_offset=True)
            pooled = sums.view(len(summary), members, -1).transpose(0, 1)
            columns = torch.cat([torch.log1p(pooled), columns], dim=-1)
        hidden = functional.relu(self.get_submodule("config_input")(columns))
        hidden = functional.relu(self.get_submodule("config_hidden")(hidden))
        scores: Tensor = self.get_submodule("output")(hidden).squeeze(-1)
        return scores

    def score(self, items: Tensor, shares: Tensor, decisions: Tensor, offsets: Tensor, summary: Tensor) -> Tensor:
        """The scores of all members together, with the prior; arguments as for `forward`, float32[c]."""
        learned = self.get_buffer("output_scale") * self.forward(items, shares, decisions, offsets, summary).mean(0)
        scores = learned + self._normalise("summary", summary) @ self.get_buffer("prior")
        if (step := float(self.get_buffer("resolution"))) > 0:
            scores = torch.round(scores / step) * step
        return scores

    def _normalise(self, name: str, columns: Tensor) -> Tensor:
        return (columns - self.get_buffer(f"{name}_mean")) * self.get_buffer(f"{name}_scale")


class MemberLinear(nn.Module):
    """One linear layer per member, as a batched matrix product.

    Args:
        members: how many.
        before: columns in.
        after: columns out.
    """

    def __init__(self, members: int, before: int, after: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(before)
        self.weight = nn.Parameter(torch.empty(members, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, after).uniform_(-bound, bound))

    def forward(self, columns: Tensor) -> Tensor:
        """From float32[members, n, before] to float32[members, n, after]."""
        return torch.baddbmm(self.bias, columns, self.weight)
