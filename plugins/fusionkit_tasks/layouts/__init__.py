"""Labelled data sets of the field, read in the layout they are published in."""

from __future__ import annotations

from fusionkit.interfaces import Dataset
from fusionkit_tasks.layouts.boxes import Llvip, M3fd, MsrsDetection
from fusionkit_tasks.layouts.masks import Fmb, Mfnet, Msrs

DATASETS: tuple[type[Dataset], ...] = (Msrs, Fmb, Mfnet, MsrsDetection, M3fd, Llvip)
