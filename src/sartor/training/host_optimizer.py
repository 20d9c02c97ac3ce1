"""AdamW whose moments lie in the machine's memory, and not in the GPU's.

At each step a tensor's values and gradient are fetched, moved there, and put back, one tensor after
the other (Ren et al. 2021, arXiv:2101.06840, without its overlapping). On a CPU it is torch's own
AdamW. Weights that are divided among processes are kept there by torch instead (sharding.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adamw import adamw


class HostAdamW(torch.optim.AdamW):
    """AdamW over parameters anywhere, with its state on the CPU."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        value, state = parameter.detach().cpu(), self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(value) for _ in range(2))
        assert parameter.grad is not None
        beta1, beta2 = group["betas"]
        adamw(
            [value], [parameter.grad.cpu()], [state["exp_avg"]], [state["exp_avg_sq"]], [],
            [state["step"]], fused=True, amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=False,
        )  # fmt: skip
        if value.data_ptr() != parameter.data_ptr():
            parameter.copy_(value)
