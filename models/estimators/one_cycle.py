"""Optimisation of all networks: AdamW with a one-cycle learning rate."""

from typing import Any

import torch
from torch import Tensor, nn

MAX_GRADIENT_NORM = 5.0
MIN_STEPS = 10  # the rate cannot rise and fall in fewer steps


class OneCycle:
    """AdamW with the one-cycle schedule [1]_, clipped gradients and, on a GPU, scaled losses.

    Parameters
    ----------
    net : network to optimise.
    learning_rate : maximum of the schedule.
    weight_decay : weight decay of AdamW.
    n_steps : number of steps.
    device : device of the network.

    References
    ----------
    .. [1] Smith and Topin (2019), "Super-convergence: very fast training of neural networks using large
       learning rates".
    """

    def __init__(
        self, net: nn.Module, *, learning_rate: float, weight_decay: float, n_steps: int, device: torch.device
    ) -> None:
        self._parameters = list(net.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, weight_decay=weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, learning_rate, total_steps=max(n_steps, MIN_STEPS), pct_start=0.2
        )
        # A GPU computes in half precision; the scaler keeps small gradients from underflowing.
        self._on_gpu = device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._on_gpu)
        self._device = device

    def half_precision(self) -> torch.autocast:
        """Return a context in which a GPU computes in half precision."""
        return torch.autocast(self._device.type, torch.float16, enabled=self._on_gpu)

    def step(self, loss: Tensor) -> None:
        """Change the parameters by the gradient of a loss."""
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state, from which `load_state_dict` continues."""
        return {
            name: part.state_dict()
            for name, part in (
                ("optimizer", self._optimizer),
                ("schedule", self._schedule),
                ("scaler", self._scaler),
            )
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
