"""Finds losses, gradients and weights that are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

SKIPPED_STEPS = 32
"""Infinite gradients in a row that float16 training may have. It skips those steps and halves the
scale of the loss each time, which starts at 2 ** 16."""


class FiniteGuard:
    """Checks the numbers of each training step.

    Gradients and weights are checked together after the step of the optimizer, because reading a
    result from a GPU makes the CPU wait for it.

    Args:
        modules: The modules that are trained, by name.
        skips_steps: Whether steps with an infinite gradient are skipped, as in ``16-mixed``.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> guard = FiniteGuard({"sensor": layer})
        >>> guard.find_problem({"loss": 0.5}) is None
        True
        >>> guard.find_problem({"loss": float("inf"), "loss/sensing": float("inf")})
        'loss/sensing became inf'
        >>> _ = nn.init.constant_(layer.bias, float("nan"))
        >>> guard.find_problem({"loss": 0.5})
        'the weight sensor.bias became nan'
    """

    def __init__(self, modules: Mapping[str, nn.Module], skips_steps: bool = False):
        self._parameters = {
            f"{part}.{name}": parameter
            for part, module in modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and parameter.numel()
        }
        self._skips_steps = skips_steps
        self._skipped = 0

    def find_problem(
        self, losses: Mapping[str, float], gradient_norm: Tensor | None = None
    ) -> str | None:
        """Return what is not finite after a step, None if everything is finite.

        Args:
            losses: The terms of the loss by name; ``loss`` is their sum.
            gradient_norm: Norm of the whole gradient before it was clipped. Without it the
                gradient itself is checked.
        """
        if problem := infinite_losses(losses):
            return problem
        weights = list(self._parameters.values())
        gradients = [] if gradient_norm is not None else [p.grad for p in weights]
        # Norms are quick, and not finite if an element is not; huge finite elements may overflow,
        # so every element is looked at before something is reported.
        norms = _norms([*weights, *(g for g in gradients if g is not None)])
        if gradient_norm is not None:
            norms.append(gradient_norm.to(norms[0]))
        if bool(torch.stack(norms).isfinite().all()):
            self._skipped = 0
            return None
        problem = self._gradient_problem(gradient_norm) or self._weight_problem()
        if self._skips_steps and "gradient" in (problem or "") and not self._weight_problem():
            self._skipped += 1
            return problem if self._skipped > SKIPPED_STEPS else None
        return problem

    def _gradient_problem(self, norm: Tensor | None) -> str | None:
        if norm is not None:
            value = float(norm)
            return None if math.isfinite(value) else f"the norm of the gradient became {value}"
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        return _first_problem("gradient of", gradients)

    def _weight_problem(self) -> str | None:
        return _first_problem("weight", self._parameters)


def infinite_losses(losses: Mapping[str, float]) -> str | None:
    """Return which losses are not finite, None if all are; terms say more than their sum.

    Example:
        >>> infinite_losses({"rmse/infrared": 0.1, "rmse/visible": float("nan")})
        'rmse/visible became nan'
    """
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    terms = {name: value for name, value in bad.items() if name != "loss"} or bad
    return ", ".join(f"{name} became {value}" for name, value in terms.items()) or None


def _norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Euclidean norm of each tensor; NaN or infinite if an element is."""
    found = [tensor.detach() for tensor in tensors]
    # The largest absolute value could not overflow, but takes ten times as long on a CPU.
    return list(torch._foreach_norm(found))  # pyright: ignore[reportPrivateImportUsage]


def _first_problem(what: str, tensors: Mapping[str, Tensor]) -> str | None:
    for name, tensor in tensors.items():
        value = tensor.detach()
        if not bool(value.isfinite().all()):
            bad = value[~value.isfinite()][0].item()
            return f"the {what} {name} became {bad}"
    return None


def describe_samples(ids: Iterable[str]) -> str:
    """Return the samples of a batch for a message, at most eight of them.

    Example:
        >>> describe_samples(["a", "b"])
        'samples: a, b'
        >>> describe_samples([str(number) for number in range(10)])
        'samples: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
    """
    names = list(ids)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"sample{'s' if len(names) > 1 else ''}: {', '.join(names[:8])}{more}"
