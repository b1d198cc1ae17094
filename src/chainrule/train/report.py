"""What the loop yields after each optimizer step."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class Report:
    """One iteration. Losses and norms stay on the device until someone reads them."""

    step: int  # optimizer steps done so far
    steps: int
    epoch: int  # 1 for the first
    epochs: int
    rows: int
    learning_rate: float
    loss_tensor: Tensor
    norm_tensor: Tensor
    valid: dict[str, float] | None = None  # metrics of the validation split where this step evaluated it
    best: bool = False  # the validation metric is the best so far
    notes: list[str] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The batch's loss before the update; reading it waits for the device."""
        return float(self.loss_tensor)

    @property
    def grad_norm(self) -> float:
        """Euclidean norm of all gradients; reading it waits for the device."""
        return float(self.norm_tensor)

    def __str__(self) -> str:
        return f"epoch {self.epoch}/{self.epochs} · iteration {self.step}/{self.steps}"
