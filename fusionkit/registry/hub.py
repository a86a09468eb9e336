"""Trained models on the Hugging Face hub: ``hf:owner/name@revision``."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from fusionkit.errors import FusionkitError
from fusionkit.registry.model_cards import Model, ModelCard
from fusionkit.registry.validation_errors import explain
from fusionkit.registry.weights import read_header

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["HubReference", "fetch_model", "parse_reference", "push_model"]

logger = logging.getLogger("fusionkit")

_PREFIX = "hf:"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_LARGEST_CONFIG = 1 << 18
_LIBRARY = "fusionkit"


@dataclass(frozen=True)
class HubReference:
    """A model on the hub.

    Attributes:
        repository: ``owner/name``.
        revision: Commit, tag or branch; None for the newest commit.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{_PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_reference(text: str) -> HubReference | None:
    """Return what a text names on the hub, None if it does not begin with ``hf:``.

    Raises:
        FusionkitError: if something other than ``owner/name`` or ``owner/name@revision`` follows.

    Example:
        >>> parse_reference("hf:someone/night@v1")
        HubReference(repository='someone/night', revision='v1')
        >>> parse_reference("night.safetensors") is None
        True
    """
    if not text.startswith(_PREFIX):
        return None
    found = re.fullmatch(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?", text[len(_PREFIX) :])
    if found is None:
        raise FusionkitError(
            f"expected hf:owner/name or hf:owner/name@revision, found {text[:200]!r}"
        )
    return HubReference(found[1], found[2])


def fetch_model(reference: HubReference, *, offline: bool = False) -> Model:
    """Return a model of the hub; its files are downloaded unless they are in the cache.

    Its card is in ``config.json``, its weights are in ``model.safetensors``; nothing else is
    downloaded, and nothing runs. Where the hub can't be reached, the newest files in the cache are
    taken. The variables of huggingface_hub hold: ``HF_HOME`` places the cache, ``HF_ENDPOINT``
    names another server, ``HF_HUB_OFFLINE=1`` forbids connections.

    Args:
        reference: The model.
        offline: Take the files from the cache only.

    Raises:
        FusionkitError: if huggingface_hub is not installed, if the model does not exist, is not one
            of fusionkit, is not in the cache and can't be downloaded, or if its weights are not
            those of its card.

    Example:
        >>> fetch_model(HubReference("nobody/nothing"), offline=True)
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: hf:nobody/nothing is not in the cache...
    """
    find = _find_in_cache if offline else _download
    config = find(reference, _CONFIG, reference.revision)
    commit = config.parent.name  # so that both files are of one commit
    card = _read_card(config, reference)
    model = Model(card, config)
    find(reference, _WEIGHTS, commit)
    try:
        model.verify()
    except FusionkitError:
        raise FusionkitError(
            f"{model.path.resolve()} is not the file that the card of {reference} describes: its "
            f"SHA-256 differs. Remove it to download it again; if that does not help, the model "
            f"was changed, so ask its owner"
        ) from None
    logger.info("model: hf:%s@%s", reference.repository, commit)
    return model


def push_model(model: Model, repository: str, *, private: bool = False) -> HubReference:
    """Publish a model on the hub: its weights, its card as ``README.md``, and ``config.json``.

    Args:
        model: The model, with its card.
        repository: ``owner/name``; it is created if it does not exist.
        private: Create it so that only its owner sees it.

    Returns:
        The commit that holds the model.

    Raises:
        FusionkitError: if huggingface_hub is not installed, the weights are not those of the card,
            nobody is logged in, or the hub refuses.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> push_model(load_installed_plugins().models["emma-ir-vis"], "no owner")
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: expected hf:owner/name or ...
    """
    reference = parse_reference(f"{_PREFIX}{repository}")
    assert reference is not None
    if reference.revision is not None:
        raise FusionkitError(f"expected owner/name without a revision, found {repository!r}")
    api = _open_hub()
    weights = model.verify()
    card = model.card.model_copy(update={"weights": _WEIGHTS})
    kind, component = read_header(weights)
    config = {
        "library_name": _LIBRARY,
        "library_version": api.library_version,
        "kind": kind,
        "component": component,
        "card": card.model_dump(mode="json"),
    }
    files: dict[str, Any] = {
        "README.md": _readme(card, reference).encode(),
        _CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        _WEIGHTS: str(weights),
    }
    import huggingface_hub as hub

    with _explained(reference):
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.create_commit(
            repository,
            [hub.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=f"Publish {card.name}",
        )
    return HubReference(repository, commit.oid)


def _download(reference: HubReference, name: str, revision: str | None) -> Path:
    """Return a file of a model; it is downloaded unless the cache has it."""
    api = _open_hub()
    with _explained(reference):
        return Path(api.hf_hub_download(reference.repository, name, revision=revision))


def _find_in_cache(reference: HubReference, name: str, revision: str | None) -> Path:
    """Return a file of a model from the cache.

    Even if ``hf_hub_download`` shall use local files only, it asks the server for other things.
    """
    _open_hub()
    from huggingface_hub import try_to_load_from_cache

    with _explained(reference):
        path = try_to_load_from_cache(reference.repository, name, revision=revision)
    if not isinstance(path, str):
        raise FusionkitError(
            f"{reference} is not in the cache; download it with: fusionkit models {reference}"
        )
    return Path(path)


def _open_hub() -> HfApi:
    """Return what speaks to the hub; it sends nothing that is not about the model."""
    try:
        from huggingface_hub import HfApi, constants
    except ImportError:
        raise FusionkitError(
            'models of the hub need huggingface_hub; install it with: pip install "'
            'fusionkit-mmif[hub]"'
        ) from None
    constants.HF_HUB_DISABLE_TELEMETRY = True
    version = importlib.metadata.version("fusionkit-mmif")
    return HfApi(library_name=_LIBRARY, library_version=version)


@contextmanager
def _explained(reference: HubReference) -> Iterator[None]:
    """Raise one FusionkitError for whatever goes wrong with the hub."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.LocalTokenNotFoundError, errors.GatedRepoError) as error:
        raise FusionkitError(f"{reference} needs a login: {_LOGIN} ({_line(error)})") from None
    except errors.RepositoryNotFoundError:
        raise FusionkitError(
            f"the hub has no model {reference.repository}, or it is private; check the name, or "
            f"log in: {_LOGIN}"
        ) from None
    except errors.RevisionNotFoundError:
        raise FusionkitError(f"{reference}: the model has no such revision") from None
    except errors.LocalEntryNotFoundError as error:
        raise FusionkitError(
            f"{reference} is not in the cache; the hub can't be reached ({_line(error)})"
        ) from None
    except errors.EntryNotFoundError:
        raise FusionkitError(
            f"{reference} is no model of fusionkit: it lacks {_CONFIG} or {_WEIGHTS}"
        ) from None
    except errors.HFValidationError as error:
        raise FusionkitError(f"{reference}: {_line(error)}") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        login = f"; log in: {_LOGIN}" if status in (401, 403) else ""
        raise FusionkitError(f"{reference}: the hub refuses ({_line(error)}){login}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise FusionkitError(f"{reference}: {_line(error)}") from error


_LOGIN = "`hf auth login`, or set HF_TOKEN"


def _line(error: BaseException) -> str:
    """Return the cause of an error in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


def _read_card(config: Path, reference: HubReference) -> ModelCard:
    if config.stat().st_size > _LARGEST_CONFIG:
        raise FusionkitError(
            f"{reference}: {_CONFIG} has {config.stat().st_size:,} bytes, expected at most "
            f"{_LARGEST_CONFIG:,}"
        )
    try:
        values = json.loads(config.read_text(encoding="utf-8"))["card"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FusionkitError(
            f"{reference} is no model of fusionkit: {_CONFIG} has no card"
        ) from None
    try:
        card = ModelCard.model_validate(values)
    except ValidationError as error:
        problems = [f"{where}: {what}" if where else what for where, what in explain(error)]
        raise FusionkitError(f"{reference}: {_CONFIG}: {'; '.join(problems)[:500]}") from None
    if card.weights != _WEIGHTS:
        raise FusionkitError(
            f"{reference}: {_CONFIG}: expected the weights {_WEIGHTS}, found {card.weights[:80]!r}"
        )
    return card


def _readme(card: ModelCard, reference: HubReference) -> str:
    """Return the page of a model on the hub."""
    head = {
        "library_name": _LIBRARY,
        "pipeline_tag": "image-to-image",
        "tags": ["image-fusion", *card.modalities],
    }
    names = list(dict.fromkeys(name for values in card.metrics.values() for name in values))
    table = [
        f"| test set | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| {test} | {' | '.join(f'{v[n]:.4g}' if n in v else '' for n in names)} |"
            for test, v in card.metrics.items()
        ),
    ]
    sources = " ".join(f"--source {name}={name}/" for name in card.modalities)
    limits = [f"- {limit}" for limit in card.limits] or ["None is stated."]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {card.name}",
            "",
            card.summary,
            "",
            "```bash",
            'pip install "fusionkit-mmif[hub]"',
            f"fusionkit fuse {sources} -o fused/ --model {reference}",
            "```",
            "",
            f"**Data.** {card.data}",
            "",
            f"**Terms of use.** {card.terms}",
            "",
            f"**Training.** {card.training}",
            "",
            f"**SHA-256 of `{_WEIGHTS}`.** `{card.sha256}`",
            "",
            "## Scores",
            "",
            f"Means, profile `{card.profile}`.",
            "",
            *table,
            "",
            "## Limits",
            "",
            *limits,
            "",
        ]
    )
