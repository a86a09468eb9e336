"""Fusion metrics as pure functions, by default in the conventions of CDDFuse's evaluator.

All take grey images of 0 .. 255 as (b, 1, h, w) and return (b,) float64. For two sources the
definitions are the published ones; for more, sums stay sums over the sources and means stay means.
"""

from fusionkit.functional.metrics.features import feature_information
from fusionkit.functional.metrics.gradient import (
    average_gradient,
    edge_intensity,
    spatial_frequency,
)
from fusionkit.functional.metrics.information import (
    cross_entropy,
    entropy,
    mutual_information,
    nonlinear_correlation,
    normalized_mutual_information,
    tsallis_information,
)
from fusionkit.functional.metrics.nabf import fusion_artifacts
from fusionkit.functional.metrics.perception import contrast_preservation, perceived_difference
from fusionkit.functional.metrics.qabf import edge_transfer
from fusionkit.functional.metrics.similarity import similarity_of_regions
from fusionkit.functional.metrics.statistics import (
    correlation,
    differences_correlation,
    mean_squared_error,
    peak_signal_to_noise,
    standard_deviation,
)
from fusionkit.functional.metrics.structure import multiscale_similarity, structural_similarity
from fusionkit.functional.metrics.vif import visual_information_fidelity

__all__ = [
    "average_gradient",
    "contrast_preservation",
    "correlation",
    "cross_entropy",
    "differences_correlation",
    "edge_intensity",
    "edge_transfer",
    "entropy",
    "feature_information",
    "fusion_artifacts",
    "mean_squared_error",
    "multiscale_similarity",
    "mutual_information",
    "nonlinear_correlation",
    "normalized_mutual_information",
    "peak_signal_to_noise",
    "perceived_difference",
    "similarity_of_regions",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "tsallis_information",
    "visual_information_fidelity",
]
