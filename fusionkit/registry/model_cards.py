"""Trained models that plugins ship: a model card (YAML) beside the weights it describes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusionkit.errors import FusionkitError, nearest
from fusionkit.io.hashes import file_hash
from fusionkit.io.yaml_document import read_yaml
from fusionkit.registry.validation_errors import explain

__all__ = [
    "Model",
    "ModelCard",
    "card_text",
    "guess_modalities",
    "model_for",
    "model_named",
    "names_of",
    "read_model",
]


class ModelCard(BaseModel):
    """What users must know about a trained model. The attributes are the keys of its YAML file.

    Attributes:
        name: Name of the model for ``--model``.
        summary: One sentence.
        modalities: The sources that it fuses, in the order of its training.
        accepts: Modality -> other names for its source, such as ``visible: [rgb, vi]``.
        weights: Name of the ``.safetensors`` file beside the card.
        sha256: SHA-256 of that file.
        data: The training data and the held-out data.
        terms: Terms of use of the training images, and so of the weights.
        training: The command that trained it, and where its records are.
        metrics: Test set -> metric -> measured mean.
        profile: Metric profile of ``metrics``.
        limits: Known weaknesses, a sentence each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    summary: str
    modalities: Annotated[tuple[str, ...], Field(min_length=2)]
    accepts: dict[str, tuple[str, ...]] = {}
    weights: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data: str
    terms: str
    training: str
    metrics: dict[str, dict[str, float]]
    profile: str = "cddfuse"
    limits: tuple[str, ...] = ()


class Model:
    """A trained model that a plugin ships.

    Attributes:
        card: Its model card.
        card_path: The file of the card.
        path: Its weights file, beside the card.
    """

    def __init__(self, card: ModelCard, card_path: Path):
        self.card = card
        self.card_path = card_path
        self.path = card_path.parent / card.weights

    def verify(self) -> Path:
        """Return the weights file.

        Raises:
            FusionkitError: if it does not exist or its SHA-256 is not that of the card.
        """
        if not self.path.is_file():
            raise FusionkitError(f"the model {self.card.name!r} lacks its weights {self.path}")
        if file_hash(self.path) != self.card.sha256:
            raise FusionkitError(
                f"{self.path} is not the file that the card of {self.card.name!r} describes "
                f"(its SHA-256 differs); install its package again"
            )
        return self.path


def read_model(path: Path) -> Model:
    """Read a model card.

    Raises:
        FusionkitError: if the file is not a model card; says what is wrong and where.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> weights = load_installed_plugins().models["emma-ir-vis"].path
        >>> read_model(weights.with_suffix(".yaml")).card.modalities
        ('infrared', 'visible')
    """
    document = read_yaml(path)
    try:
        card = ModelCard.model_validate(document.values)
    except ValidationError as error:
        problems = [f"{where}: {what}" if where else what for where, what in explain(error)]
        raise FusionkitError(f"{path} is no model card: " + "; ".join(problems)) from None
    return Model(card, path)


def model_named(name: str, models: Mapping[str, Model], hint: str = "") -> Model:
    """Return a model by name.

    Args:
        name: Name of the model.
        models: Name -> model.
        hint: What to append to the error, such as the plugins that were not loaded.

    Raises:
        FusionkitError: if no plugin ships it; lists the models that exist.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> model_named("emma-medical", load_installed_plugins().models).card.name
        'emma-medical'
    """
    if name not in models:
        there = ", ".join(sorted(models)) or "none: no plugin with models is installed"
        raise FusionkitError(
            f"there is no run folder or weights file {name}, nor a model of that name "
            f"(models: {there})" + nearest(name, models) + hint
        )
    return models[name]


def model_for(modalities: Collection[str], models: Mapping[str, Model], hint: str = "") -> Model:
    """Return the model that fuses these sources when none is named.

    Args:
        modalities: Names of the sources.
        models: Name -> model.
        hint: What to append to the error, such as the plugins that were not loaded.

    Raises:
        FusionkitError: if there is none, or more than one.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> model_for(["ir", "vi"], load_installed_plugins().models).card.name
        'emma-ir-vis'
    """
    fitting = [m for m in models.values() if names_of(m.card, modalities) is not None]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"{m.card.name}: {', '.join(m.card.modalities)}" for m in models.values())
    raise FusionkitError(
        f"{len(fitting) or 'no'} installed model{'s' if len(fitting) > 1 else ''} for the sources "
        f"{', '.join(modalities)} (models: {known or 'none'}); give --model (a run folder, a "
        f".safetensors file or a model's name) or --backbone (the name of a backbone that needs no "
        f"training; `fusionkit plugins list` names all)" + hint
    )


def names_of(card: ModelCard, sources: Collection[str]) -> dict[str, str] | None:
    """Return source -> modality of the model, or None if the model does not fuse these sources.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> names_of(load_installed_plugins().models["emma-ir-vis"].card, ["vi", "ir"])
        {'vi': 'visible', 'ir': 'infrared'}
    """
    found: dict[str, str] = {}
    for source in sources:
        for modality in card.modalities:
            if source == modality or source in card.accepts.get(modality, ()):
                found[source] = modality
    complete = len(found) == len(sources) and sorted(found.values()) == sorted(card.modalities)
    return found if complete else None


def guess_modalities(
    texts: Sequence[Sequence[str]], cards: Iterable[ModelCard]
) -> tuple[str, ...] | None:
    """Return the modality of each source by the words in its names, or None if they don't tell.

    Args:
        texts: For each source the texts that may name its modality, the likeliest first, such as
            the stem of its file and the name of its folder.
        cards: Cards of models, which know the modalities and other names for them.

    Example:
        >>> card = ModelCard.model_construct(
        ...     modalities=("infrared", "visible"), accepts={"infrared": ("ir",)}
        ... )
        >>> guess_modalities([["0001_visible"], ["0001", "IR"]], [card])
        ('visible', 'infrared')
    """
    words = [[set(re.split(r"[^a-z]+", text.lower())) for text in source] for source in texts]
    for card in cards:
        called = {name: {name, *card.accepts.get(name, ())} for name in card.modalities}
        found = []
        for source in words:
            fitting = (
                [name for name, others in called.items() if others & text] for text in source
            )
            found.append(next((names[0] for names in fitting if len(names) == 1), None))
        names = [name for name in found if name is not None]
        if len(names) == len(found) and sorted(names) == sorted(card.modalities):
            return tuple(names)
    return None


def card_text(model: Model) -> str:
    """Return a card as text for a terminal.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> text = card_text(load_installed_plugins().models["emma-ir-vis"])
        >>> text.partition(":")[0]
        'emma-ir-vis'
    """
    card = model.card
    lines = [f"{card.name}: {card.summary}", ""]
    rows = {
        "fuses": ", ".join(_with_other_names(card)),
        "data": card.data,
        "terms": card.terms,
        "training": card.training,
        "weights": f"{model.path} ({model.path.stat().st_size / 1e6:.1f} MB)",
        "sha256": card.sha256,
    }
    for key, text in rows.items():
        lines.append(
            textwrap.fill(f"{key}: {text}", 96, subsequent_indent="  ", break_long_words=False)
        )
    lines.append(f"metrics: means, profile {card.profile}")
    for test, values in card.metrics.items():
        lines.append(f"  {test}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
    lines.append("limits:")
    lines += [
        textwrap.fill(limit, 96, initial_indent="  - ", subsequent_indent="    ")
        for limit in card.limits
    ]
    return "\n".join(lines) + "\n"


def _with_other_names(card: ModelCard) -> list[str]:
    return [
        modality + (f" (or {', '.join(others)})" if (others := card.accepts.get(modality)) else "")
        for modality in card.modalities
    ]
