"""Checks that every kind of component has to pass."""

from __future__ import annotations

import inspect
import io
import json
import pickle

import torch
from torch import nn

from fusionkit.config.json_schema import json_schema
from fusionkit.io.yaml_loading import dump_yaml, load_yaml
from fusionkit.registry.arguments import make_spec
from fusionkit.testing.subject import NotApplicable, Subject, expect


def docstring(subject: Subject) -> None:
    """Its class has a docstring, whose first line tables show."""
    own = subject.cls.__dict__.get("__doc__")
    expect(
        bool(own and inspect.cleandoc(own).strip()),
        f"{subject.cls.__name__} has no docstring of its own: say in one line what it does",
    )
    first = inspect.cleandoc(own or "").partition("\n")[0]
    expect(
        len(first) <= 120,
        f"the first line of its docstring has {len(first)} characters; tables show at most 120",
    )


def configuration(subject: Subject) -> None:
    """Its arguments survive YAML and JSON, and the JSON schema has it."""
    component = subject.build()
    spec = component.spec
    values = spec.to_dict()
    for form, again in (
        ("YAML", load_yaml(dump_yaml(values))),
        ("JSON", json.loads(json.dumps(values, allow_nan=False))),
    ):
        arguments = {key: value for key, value in again.items() if key != "name"}
        rebuilt = make_spec(subject.registry, spec.kind, spec.name, arguments).to_dict()
        expect(rebuilt == values, f"through {form} its arguments {values} become {rebuilt}")
    schema = json_schema(subject.registry)
    names = [
        choice["properties"]["name"]["const"] for choice in schema["$defs"][spec.kind]["oneOf"]
    ]
    expect(spec.name in names, f"the JSON schema knows no {spec.kind} {spec.name!r}")
    json.dumps(schema)


def pickling(subject: Subject) -> None:
    """It can be pickled, which data loaders and several processes need."""
    component = subject.build()
    try:
        again = pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise AssertionError(
            f"it can't be pickled ({type(error).__name__}: {error}); keep lambdas, open files and "
            f"local classes out of its attributes"
        ) from None
    expect(type(again) is type(component), "pickling gave an object of another class")


def randomness(subject: Subject) -> None:
    """Building it twice with one seed gives equal weights and leaves the global generator alone.

    Networks draw their initial weights from the global generator; nothing else may use it.
    """
    before = torch.random.get_rng_state()
    one, other = subject.build(seed=3), subject.build(seed=3)
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "building it seeds or advances the global random generator for everybody",
    )
    if not isinstance(one, nn.Module):
        return
    for (key, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        expect(
            torch.equal(a, b),
            f"built twice after the same seed, its weights {key} differ: draw them from torch's "
            f"global generator only",
        )


def saving(subject: Subject) -> None:
    """Names, shapes and values of its weights survive a file."""
    component = subject.build(seed=1)
    if not isinstance(component, nn.Module):
        raise NotApplicable("it has no weights")
    buffer = io.BytesIO()
    torch.save(component.state_dict(), buffer)
    buffer.seek(0)
    other = subject.build(seed=2)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for (key, a), b in zip(
        component.state_dict().items(), other.state_dict().values(), strict=True
    ):
        expect(torch.equal(a, b), f"after saving and loading, its weights {key} differ")


CHECKS = (configuration, pickling, randomness, saving)
