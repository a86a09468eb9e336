"""The tasks of this plugin."""

from __future__ import annotations

from fusionkit.interfaces import Task
from fusionkit_tasks.detection import Detection
from fusionkit_tasks.segmentation import Segmentation

TASKS: tuple[type[Task], ...] = (Segmentation, Detection)
