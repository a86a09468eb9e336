"""Finds losses, gradients and weights that are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

SKIPPED_STEPS = 32
"""Infinite gradients in a row that float16 training may have. It skips those steps and halves the
scale of the loss each time, which starts at 2 ** 16."""


class FiniteGuard:
    """Checks the numbers of each training step.

    ``measure`` says after the optimizer's step what is to be checked, and leaves it on its device,
    because reading a result from a GPU makes the CPU wait for it. ``find_problem`` gets the
    numbers once they have been read, maybe many steps later.

    Args:
        modules: The modules that are trained, by name.
        skips_steps: Whether steps with an infinite gradient are skipped, as in ``16-mixed``.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> guard = FiniteGuard({"sensor": layer})
        >>> def problem(**losses: float) -> str | None:
        ...     numbers = {what: number.item() for what, number in guard.measure().items()}
        ...     return guard.find_problem(losses, numbers)
        >>> problem(loss=0.5) is None
        True
        >>> problem(loss=float("inf"), sensing=float("inf"))
        'sensing became inf'
        >>> _ = nn.init.constant_(layer.bias, float("nan"))
        >>> problem(loss=0.5)
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

    def measure(self, gradient_norm: Tensor | None = None) -> dict[str, Tensor]:
        """Return one number of each gradient and weight, which is not finite if an element is not.

        Args:
            gradient_norm: Norm of the whole gradient before it was clipped. Without it the
                gradients themselves are measured.

        Returns:
            What it is -> scalar on the device. Gradients come first.
        """
        tensors = self._tensors(with_gradients=gradient_norm is None)
        found = dict(zip(tensors, _norms(list(tensors.values())), strict=True))
        if gradient_norm is None:
            return found
        return {"the norm of the gradient": gradient_norm.detach(), **found}

    def find_problem(self, losses: Mapping[str, float], numbers: Mapping[str, float]) -> str | None:
        """Return what is not finite after a step, None if everything is finite.

        Args:
            losses: The terms of the loss by name; ``loss`` is their sum.
            numbers: What ``measure`` returned after that step.
        """
        if problem := infinite_losses(losses):
            return problem
        bad = {what: number for what, number in numbers.items() if not math.isfinite(number)}
        bad = self._without_overflows(bad)
        if not bad:
            self._skipped = 0
            return None
        if self._skips_steps and all("gradient" in what for what in bad):
            self._skipped += 1
            if self._skipped <= SKIPPED_STEPS:
                return None
        what, number = next(iter(bad.items()))
        return f"{what} became {number}"

    def _tensors(self, with_gradients: bool) -> dict[str, Tensor]:
        gradients = {
            f"the gradient of {name}": parameter.grad
            for name, parameter in self._parameters.items()
            if with_gradients and parameter.grad is not None
        }
        weights = {f"the weight {name}": weight for name, weight in self._parameters.items()}
        return {what: tensor.detach() for what, tensor in {**gradients, **weights}.items()}

    def _without_overflows(self, bad: Mapping[str, float]) -> dict[str, float]:
        """Replace each number by the first element that is not finite; leave out the others.

        Norms of huge finite elements may overflow. Only on CPUs are norms measured, and they are
        read at once, so that the elements are still there.
        """
        tensors = self._tensors(with_gradients=True) if bad else {}
        found = {}
        for what, number in bad.items():
            tensor = tensors.get(what)
            if tensor is None or tensor.device.type != "cpu":
                found[what] = number
            elif not bool(tensor.isfinite().all()):
                found[what] = tensor[~tensor.isfinite()][0].item()
        return found


def infinite_losses(losses: Mapping[str, float]) -> str | None:
    """Return which losses are not finite, None if all are; terms say more than their sum.

    Example:
        >>> infinite_losses({"rmse/infrared": 0.1, "rmse/visible": float("nan")})
        'rmse/visible became nan'
    """
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    terms = {name: value for name, value in bad.items() if name != "loss"} or bad
    return ", ".join(f"{name} became {value}" for name, value in terms.items()) or None


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    """Return a number of each tensor that is NaN or infinite if an element is.

    It is the largest absolute value, which can't overflow; on CPUs, where that takes ten times as
    long, it is the Euclidean norm.
    """
    order = 2.0 if all(tensor.device.type == "cpu" for tensor in tensors) else math.inf
    return list(torch._foreach_norm(tensors, order))  # pyright: ignore[reportPrivateImportUsage]


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
