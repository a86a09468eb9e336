"""Judging fused images: metric scores and the equivariance audit."""
