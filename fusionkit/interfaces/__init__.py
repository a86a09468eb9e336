"""The kinds of component: abstract classes whose docstrings are the contract.

A component is a concrete class of one of these kinds with a class attribute ``name`` and typed
keyword arguments in ``__init__``. Those arguments are its configuration: the core derives from
them what a YAML file may contain. An argument annotated with a kind (``distance: Distance``) takes
a nested ``{name: ...}`` and receives the built component. An argument annotated
:data:`Modalities` receives the modality names of the run. An argument annotated with a subclass of
:class:`Settings` takes a nested group of plain arguments.

Images are float32 tensors in [0, 1]. Shapes are written b c h w.
"""

from __future__ import annotations

from collections.abc import Mapping

from fusionkit.interfaces.component import Component, ComponentSpec, FromRun, Modalities
from fusionkit.interfaces.dataset import Dataset, Patches
from fusionkit.interfaces.metric import Metric
from fusionkit.interfaces.networks import (
    Backbone,
    Sensor,
    check_modalities,
    ordered_sources,
)
from fusionkit.interfaces.objective import BatchShare, Distance, FusionStep, Loss
from fusionkit.interfaces.official_weights import OfficialWeights
from fusionkit.interfaces.sample import IGNORED, Images, Sample
from fusionkit.interfaces.settings import Settings
from fusionkit.interfaces.stage import RunContext, Stage
from fusionkit.interfaces.task import ImageTask, Task, TaskContext, TaskResult
from fusionkit.interfaces.transform import TransformElement, TransformGroup

__all__ = [
    "IGNORED",
    "KINDS",
    "Backbone",
    "BatchShare",
    "Component",
    "ComponentSpec",
    "Dataset",
    "Distance",
    "FromRun",
    "FusionStep",
    "ImageTask",
    "Images",
    "Loss",
    "Metric",
    "Modalities",
    "OfficialWeights",
    "Patches",
    "RunContext",
    "Sample",
    "Sensor",
    "Settings",
    "Stage",
    "Task",
    "TaskContext",
    "TaskResult",
    "TransformElement",
    "TransformGroup",
    "check_modalities",
    "ordered_sources",
]

KINDS: Mapping[str, type[Component]] = {
    cls.kind: cls
    for cls in (Backbone, Sensor, TransformGroup, Loss, Distance, Metric, Dataset, Stage, Task)
}
"""Every kind of component by its name in configurations."""
