"""Distances between sets of pictures, in the features of a judge."""

import numpy as np


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance (squared, as in FID) of two Gaussians fitted to feature sets.

    Small sets overestimate it: compare distances of sets of the same size only.

    Args:
        a, b: (N, d) and (M, d) features; two rows at the least.

    Returns:
        |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) with the covariances A, B; 0 or more.
    """
    means = [x.mean(0, dtype=np.float64) for x in (a, b)]
    first, second = (np.atleast_2d(np.cov(x.astype(np.float64), rowvar=False)) for x in (a, b))
    # A B has the eigenvalues of the symmetric A^(1/2) B A^(1/2).
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    common = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    moved = np.square(means[0] - means[1]).sum()
    return max(0.0, float(moved + np.trace(first) + np.trace(second) - 2 * common))


def spread(features: np.ndarray) -> float:
    """The mean Euclidean distance over all pairs of (N, d) features; two rows at the least."""
    rows, columns = np.triu_indices(len(features), 1)
    return float(np.linalg.norm(features[rows] - features[columns], axis=1).mean())
