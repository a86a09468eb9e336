"""Checks of backbones and sensors: shapes, ranges, determinism, gradients, weights files."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Images, Sensor
from fusionkit.registry.weights import load_weights, save_weights
from fusionkit.testing.subject import NotApplicable, Subject, expect, scene

_ODD = ((67, 83), (64, 97))
_LEAST = 64
"""Smallest side of the images: a network may refuse smaller ones."""


def _call(network: Any, images: Images) -> Tensor:
    """Run a backbone on its sources, or a sensor on the first of them as if it were fused."""
    if isinstance(network, Backbone):
        return network(images)
    assert isinstance(network, Sensor)
    return network(next(iter(images.values())))


def _sides(network: Any, blocks: int = 0) -> tuple[int, int]:
    """Return two unequal sides: the first multiples of the stride from 64 on, plus blocks."""
    stride = network.stride
    least = -(-_LEAST // stride) * stride
    return least + blocks * stride, least + (blocks + 1) * stride


def _trainable(network: Any) -> None:
    if not any(p.requires_grad for p in network.parameters()):
        raise NotApplicable("it has nothing to train")


def _forward(subject: Subject) -> tuple[Any, Images, Tensor]:
    network = subject.build().eval()
    images = subject.images(*_sides(network))
    with torch.no_grad():
        return network, images, _call(network, images)


def shapes(subject: Subject) -> None:
    """Sources with multiples of its stride as sides give the same shape, finite, in [0, 1]."""
    network, images, out = _forward(subject)
    expected = next(iter(images.values())).shape
    expect(
        out.shape == expected,
        f"sources of shape {tuple(expected)} gave {tuple(out.shape)}; expected the same shape",
    )
    expect(out.dtype == torch.float32, f"float32 sources gave {out.dtype}")
    expect(bool(out.isfinite().all()), "it gave values that are not finite")
    if isinstance(network, Sensor) or any(p.requires_grad for p in network.parameters()):
        low, high = float(out.min()), float(out.max())
        expect(
            low >= -0.5 and high <= 1.5,
            f"sources in [0, 1] gave values in [{low:.3g}, {high:.3g}]; end with a sigmoid, say",
        )


def any_size(subject: Subject) -> None:
    """It fuses images of odd sizes to the same size, with values in [0, 1]."""
    if subject.cls.kind != "backbone":
        raise NotApplicable("only backbones receive images of any size")
    network = subject.build().eval()
    for height, width in _ODD:
        out = network.fuse(scene(subject.images(height, width, batch=1)))
        expect(
            out.shape == (1, height, width),
            f"fusing an image of {height}x{width} gave {tuple(out.shape)}; "
            f"expected {(1, height, width)}",
        )
        expect(
            bool(out.isfinite().all()), f"fusing {height}x{width} gave values that are no numbers"
        )
        expect(
            float(out.min()) >= 0 and float(out.max()) <= 1,
            f"fusing {height}x{width} gave values outside of [0, 1]",
        )


def stride(subject: Subject) -> None:
    """Its ``stride`` is true: every multiple of it works as height and as width."""
    network, _, _ = _forward(subject)
    expect(
        isinstance(network.stride, int) and network.stride >= 1,
        f"stride must be a whole number from 1 on, found {network.stride!r}",
    )
    for blocks in (1, 2):
        height, width = _sides(network, blocks)
        images = subject.images(height, width)
        with torch.no_grad():
            try:
                out = _call(network, images)
            except Exception as error:
                raise AssertionError(
                    f"stride is {network.stride}, but {height}x{width} raised "
                    f"{type(error).__name__}: {error}"
                ) from None
        expect(
            out.shape[-2:] == (height, width),
            f"stride is {network.stride}, but {height}x{width} gave {tuple(out.shape[-2:])}",
        )


def batch_independence(subject: Subject) -> None:
    """In eval mode, its output for an image does not depend on the other images of the batch."""
    network, images, out = _forward(subject)
    with torch.no_grad():
        alone = _call(network, {name: image[1:] for name, image in images.items()})
    gap = float((out[1:] - alone).abs().max())
    expect(
        gap < 1e-4,
        f"an image alone and in a batch of two gives results that differ by {gap:.2g}; "
        f"statistics over the batch belong to training only",
    )


def determinism(subject: Subject) -> None:
    """In eval mode it returns the same output twice, and draws no random numbers."""
    network, images, out = _forward(subject)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        again = _call(network, images)
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "in eval mode it draws random numbers",
    )
    expect(torch.equal(out, again), "in eval mode it returns another result the second time")


def inputs(subject: Subject) -> None:
    """It leaves its inputs as they are."""
    network = subject.build().eval()
    images = subject.images(*_sides(network))
    kept = {name: image.clone() for name, image in images.items()}
    with torch.no_grad():
        _call(network, images)
    for name, image in images.items():
        expect(torch.equal(image, kept[name]), f"it changes the source {name!r} in place")


def gradients(subject: Subject) -> None:
    """In training, finite gradients reach every weight and every source."""
    network = subject.build().train()
    _trainable(network)
    images = {n: x.requires_grad_() for n, x in subject.images(*_sides(network)).items()}
    out = _call(network, images)
    (out - 0.5).square().mean().backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        expect(
            parameter.grad is not None,
            f"no gradient reaches {name}: it is not used, or the graph is cut before it",
        )
        assert parameter.grad is not None
        expect(bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite")
    reached = list(images) if isinstance(network, Backbone) else list(images)[:1]
    for name in reached:
        gradient = images[name].grad
        expect(
            gradient is not None and bool(gradient.isfinite().all()),
            f"no finite gradient reaches the source {name!r}, which equivariance trains through",
        )


def flat_images(subject: Subject) -> None:
    """Black, white and grey images give finite values and finite gradients."""
    network = subject.build().train()
    height, width = _sides(network)
    for level in (0.0, 1.0, 0.5):
        images = {name: torch.full((2, 1, height, width), level) for name in subject.modalities}
        out = _call(network, images)
        expect(bool(out.isfinite().all()), f"images of {level} everywhere gave NaN or infinity")
        if out.requires_grad:
            network.zero_grad()
            out.mean().backward()
            for name, parameter in network.named_parameters():
                if parameter.grad is not None:
                    expect(
                        bool(parameter.grad.isfinite().all()),
                        f"images of {level} everywhere give {name} a gradient that is not finite",
                    )


def modes(subject: Subject) -> None:
    """Switching to training mode and back to eval mode changes nothing."""
    network, images, out = _forward(subject)
    state = copy.deepcopy(network.state_dict())
    network.train()
    expect(network.training, "train() does not put it in training mode")
    network.eval()
    for key, value in network.state_dict().items():
        expect(torch.equal(value, state[key]), f"switching the mode changes {key}")
    with torch.no_grad():
        expect(torch.equal(_call(network, images), out), "after train() and eval() it differs")


def precision(subject: Subject) -> None:
    """It works in float64, with the same results as in float32."""
    network, images, out = _forward(subject)
    with torch.no_grad():
        exact = _call(network.double(), {name: x.double() for name, x in images.items()})
    expect(
        exact.dtype == torch.float64,
        f"float64 sources gave {exact.dtype}; make tensors by new_zeros or like the input",
    )
    # Compare on average, since a choice between equal values may differ.
    gap = float((exact - out).abs().mean())
    expect(gap < 1e-3, f"in float32 and float64 its results differ by {gap:.2g} on average")


def inference_form(subject: Subject) -> None:
    """Its faster form for inference gives the same results, if it has one."""
    network, images, _ = _forward(subject)
    network.double()
    fast = network.inference_form()
    if fast is network:
        raise NotApplicable("it has no faster form")
    exact_images = {name: x.double() for name, x in images.items()}
    with torch.no_grad():
        expected = _call(network, exact_images)
        gap = float((_call(fast.eval(), exact_images) - expected).abs().max())
    expect(gap <= 1e-6, f"its faster form gives results that differ by {gap:.2g} in float64")


def device(subject: Subject) -> None:
    """It works on a GPU, if there is one, with the same results as on the CPU."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no GPU here")
    network, images, out = _forward(subject)
    with torch.no_grad():
        there = _call(network.cuda(), {name: x.cuda() for name, x in images.items()})
    expect(there.is_cuda, "on a GPU it gives tensors of the CPU")
    gap = float((there.cpu() - out).abs().mean())
    expect(gap < 1e-3, f"on GPU and CPU its results differ by {gap:.2g} on average")


def round_trip(subject: Subject) -> None:
    """A weights file rebuilds it with its arguments and the same output."""
    network, images, out = _forward(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(network, path)
        again: Any = load_weights(path, subject.registry)
    expect(again.spec == network.spec, f"rebuilt from its file it is {again.spec}")
    with torch.no_grad():
        expect(
            torch.equal(_call(again.eval(), images), out),
            "rebuilt from its file it gives another result: a buffer or argument is not saved",
        )


def three_sources(subject: Subject) -> None:
    """A backbone fuses three sources, or declares that it refuses them."""
    if subject.cls.kind != "backbone":
        raise NotApplicable("sensors see one image")
    more = replace(subject, modalities=(*subject.modalities, "third"))
    network = more.build().eval()
    images = more.images(*_sides(network))
    with torch.no_grad():
        try:
            out = _call(network, images)
        except FusionkitError:
            raise
        except Exception as error:
            raise AssertionError(
                f"three sources raised {type(error).__name__}: {error}; fuse any number of "
                f"sources, or raise FusionkitError and declare refuses = "
                f'{{"three_sources": "the reason"}}'
            ) from None
    expect(
        out.shape == next(iter(images.values())).shape,
        f"three sources gave a result of shape {tuple(out.shape)}",
    )


CHECKS: tuple[Callable[[Subject], None], ...] = (
    shapes,
    any_size,
    stride,
    batch_independence,
    determinism,
    inputs,
    gradients,
    flat_images,
    modes,
    precision,
    inference_form,
    device,
    round_trip,
    three_sources,
)
