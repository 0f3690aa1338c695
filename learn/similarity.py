"""How like real micrographs synthetic ones are: patches, their separability, the distance of their features.

Both numbers treat the image, not the patch, as what was sampled, since patches
of one image are alike: folds and resamplings go by image, and every image
counts the same however many patches it gave. `docs/compare.md` gives the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import NanosynthError

VARIANCE = 0.90
FLOOR_SPLITS = 10
"""Random halves of the real images for the classifier's floor, each with a cross-validation of its own."""
DISTANCE_SPLITS = 200
ROUNDS = 5
"""Cross-validations with images dealt anew, whose outcomes are averaged."""
LEVEL = 0.95


@dataclass(frozen=True)
class Sample:
    """The patches of a set of images.

    Attributes
    ----------
    patches : numpy.ndarray
        uint8 (n, p, p).
    image : numpy.ndarray
        int (n,), which image each patch is from.
    corner : numpy.ndarray
        int (n, 2), row and column of its upper left pixel.
    names : tuple of str
        Names of the images.
    vectors : numpy.ndarray or None
        float (n, d), features of the patches.
    """

    patches: np.ndarray
    image: np.ndarray
    corner: np.ndarray
    names: tuple[str, ...]
    vectors: np.ndarray | None = None

    def __len__(self):
        return len(self.image)


def patch_corners(shape, patch_px: int, count: int, rng: np.random.Generator, valid=None) -> np.ndarray:
    """Corners of patches that do not overlap, in random order: int (at most count, 2).

    They lie on a grid whose origin is drawn, so that no place of an image is preferred.

    Parameters
    ----------
    shape : pair of int
    valid : numpy.ndarray, optional
        bool (H, W); only patches that are valid all over are taken.
    """
    rows, columns = (
        np.arange(rng.integers(0, side % patch_px + 1), side - patch_px + 1, patch_px) if side >= patch_px else np.empty(0, int)
        for side in shape
    )
    corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    if valid is not None:
        corners = np.array([c for c in corners if valid[c[0] : c[0] + patch_px, c[1] : c[1] + patch_px].all()], dtype=int).reshape(-1, 2)
    return rng.permutation(corners)[:count]


def cut(images, patch_px: int, per_image: int, rng: np.random.Generator, *, names=None) -> Sample:
    """Cut patches out of images.

    Parameters
    ----------
    images : iterable of pairs
        float (H, W) in [0, 1], at the scale at which they are to be compared,
        and None or a mask of its valid pixels, bool (H, W). Read one at a time.
        An image too small for a patch gives none.
    per_image : int
        The most patches of an image.
    names : sequence of str, optional

    Returns
    -------
    Sample
        Quantised to 8 bits, so that no set is recognised by its number of grey levels.
    """
    patches, owner, corners, count = [], [], [], 0
    for pixels, mask in images:
        for row, column in patch_corners(pixels.shape, patch_px, per_image, rng, mask):
            patches.append(np.uint8(np.round(np.clip(pixels[row : row + patch_px, column : column + patch_px], 0, 1) * 255)))
            owner.append(count)
            corners.append((row, column))
        count += 1
    names = tuple(names) if names is not None else tuple(str(i) for i in range(count))
    return Sample(
        np.array(patches, np.uint8).reshape(-1, patch_px, patch_px), np.array(owner, int), np.array(corners, int).reshape(-1, 2), names
    )


def thinned(sample: Sample, count: int, rng: np.random.Generator) -> Sample:
    """At most `count` patches, taken from the images in turn, so that as many images as possible stay."""
    turn = np.empty(len(sample), int)
    for k in np.unique(sample.image):
        own = np.flatnonzero(sample.image == k)
        turn[rng.permutation(own)] = np.arange(own.size)
    keep = np.sort(np.lexsort((rng.permutation(len(sample)), turn))[:count])
    vectors = None if sample.vectors is None else sample.vectors[keep]
    return Sample(sample.patches[keep], sample.image[keep], sample.corner[keep], sample.names, vectors)


# Classifier two-sample accuracy


def classifier(seed: int = 0):
    """PCA to 90 % of the variance, its components standardised, logistic regression. Fixed: nothing is tuned."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(PCA(VARIANCE, svd_solver="full"), StandardScaler(), LogisticRegression(C=1.0, max_iter=2000, random_state=seed))


def _dealt(image, folds, rng):
    """The fold of each patch; images are dealt out, larger numbers of images evenly."""
    images, inverse = np.unique(image, return_inverse=True)
    return rng.permutation(np.arange(images.size) % folds)[inverse]


def _hits(first, second, first_image, second_image, folds, rng):
    """The share of each image's patches that are told right when the image was not in the training."""
    x = np.concatenate([first, second])
    truth = np.repeat([0, 1], [len(first), len(second)])
    fold = np.concatenate([_dealt(first_image, folds, rng), _dealt(second_image, folds, rng)])
    weight = np.concatenate([_equal_weights(first_image), _equal_weights(second_image)])
    right = np.empty(len(x))
    for k in range(folds):
        train, test = fold != k, fold == k
        model = classifier().fit(
            x[train], truth[train], logisticregression__sample_weight=weight[train] * train.sum() / weight[train].sum()
        )
        right[test] = model.predict(x[test]) == truth[test]
    return _per_image(right[: len(first)], first_image), _per_image(right[len(first) :], second_image)


def _equal_weights(image):
    """Weights by which every image counts the same and all together 1."""
    _, inverse, counts = np.unique(image, return_inverse=True, return_counts=True)
    return 1 / counts[inverse] / counts.size


def _per_image(values, image):
    _, inverse, counts = np.unique(image, return_inverse=True, return_counts=True)
    return np.bincount(inverse, values) / counts


def two_sample_accuracy(
    real: Sample, other: Sample, rng: np.random.Generator, *, folds: int = 5, rounds: int = ROUNDS, repeats: int = 1000
) -> dict:
    """How well a classifier tells patches of images it has not seen: 0.5 is not at all, 1 always.

    The classifier two-sample test (Lopez-Paz and Oquab 2017) with images dealt
    into folds, so that no image is both trained and tested on.

    Parameters
    ----------
    real, other : Sample
        With vectors.
    folds : int
        At most the number of images of the smaller set, which are at least 2.
    rounds : int
        Cross-validations with images dealt anew, averaged.
    repeats : int
        Resamplings of the images for the confidence interval.

    Returns
    -------
    dict
        `value` (balanced accuracy, each image counting the same), `low`, `high` (95 %
        by resampling images), `real` and `other`: the share of each told right.

    Raises
    ------
    NanosynthError
        If one set has patches of fewer than two images.
    """
    smaller = min(np.unique(s.image).size for s in (real, other))
    if smaller < 2:
        raise NanosynthError("Patches of at least two images of each kind are needed, since they are split by image.", "Name more images.")
    folds = min(folds, smaller)
    outcomes = [_hits(real.vectors, other.vectors, real.image, other.image, folds, rng) for _ in range(rounds)]
    first, second = (np.mean(side, 0) for side in zip(*outcomes))
    drawn = [(rng.choice(first, first.size).mean() + rng.choice(second, second.size).mean()) / 2 for _ in range(repeats)]
    low, high = _interval(drawn)
    return {
        "value": float((first.mean() + second.mean()) / 2),
        "low": low,
        "high": high,
        "real": float(first.mean()),
        "other": float(second.mean()),
    }


def accuracy_floor(real: Sample, rng: np.random.Generator, *, folds: int = 5, splits: int = FLOOR_SPLITS) -> dict | None:
    """The same between random halves of the real images; None with fewer than four. Its expected value is 0.5."""
    images = np.unique(real.image)
    if images.size < 4:
        return None
    values = []
    for _ in range(splits):
        inside = np.isin(real.image, rng.permutation(images)[: images.size // 2])
        first, second = _hits(
            real.vectors[inside], real.vectors[~inside], real.image[inside], real.image[~inside], min(folds, images.size // 2), rng
        )
        values.append((first.mean() + second.mean()) / 2)
    low, high = _interval(values)
    return {"value": float(np.mean(values)), "low": low, "high": high}


def _interval(values):
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


# Distance of the feature distributions


def image_kernels(first: Sample, second: Sample) -> np.ndarray:
    """The mean over pairs of patches of (x.y / d + 1)^3 for each pair of images: float64 (images, images)."""
    x, y = first.vectors.astype(np.float64), second.vectors.astype(np.float64)
    kernel = (x @ y.T / x.shape[1] + 1) ** 3
    return _averaging(first.image) @ kernel @ _averaging(second.image).T


def _averaging(image):
    """The matrix (images, patches) that turns values of patches into means of images."""
    one_hot = (np.unique(image)[:, None] == image).astype(np.float64)
    return one_hot / one_hot.sum(1, keepdims=True)


def _squared_mmd(own_first, own_second, between, first_weight, second_weight):
    """The maximum mean discrepancy squared, unbiased: an image is never paired with itself."""

    def within(kernel, weight):
        pairs = np.outer(weight, weight)
        np.fill_diagonal(pairs, 0)
        return (pairs * kernel).sum() / pairs.sum() if pairs.sum() else np.nan

    across = np.outer(first_weight, second_weight)
    return within(own_first, first_weight) + within(own_second, second_weight) - 2 * (across * between).sum() / across.sum()


def kernel_distance(real: Sample, other: Sample, rng: np.random.Generator, *, repeats: int = 1000) -> dict:
    """The kernel distance of two sets of features: 0 on average if both are of one distribution.

    The estimator of the kernel inception distance (Binkowski et al. 2018), the
    squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, with one
    change: pairs of patches of the same image are left out, since they would
    make every set look more uniform than the distribution it is from.

    Returns
    -------
    dict
        `value`, which may be slightly below 0, and `low`, `high`, its 95 % interval by resampling images.
    """
    kernels = image_kernels(real, real), image_kernels(other, other), image_kernels(real, other)
    sizes = kernels[2].shape
    if min(sizes) < 2:
        raise NanosynthError("Patches of at least two images of each kind are needed, since they are split by image.", "Name more images.")
    value = _squared_mmd(*kernels, *map(np.ones, sizes))
    drawn = [_squared_mmd(*kernels, *(rng.multinomial(n, np.full(n, 1 / n)).astype(float) for n in sizes)) for _ in range(repeats)]
    low, high = _interval([d for d in drawn if np.isfinite(d)])
    return {"value": float(value), "low": low, "high": high}


def distance_floor(real: Sample, rng: np.random.Generator, *, splits: int = DISTANCE_SPLITS) -> dict | None:
    """The same between random halves of the real images; None with fewer than four. Its expected value is 0."""
    kernel = image_kernels(real, real)
    n = len(kernel)
    if n < 4:
        return None
    values = []
    for _ in range(splits):
        order = rng.permutation(n)
        a, b = order[: n // 2], order[n // 2 :]
        values.append(_squared_mmd(kernel[np.ix_(a, a)], kernel[np.ix_(b, b)], kernel[np.ix_(a, b)], np.ones(a.size), np.ones(b.size)))
    low, high = _interval(values)
    return {"value": float(np.mean(values)), "low": low, "high": high}


def scores(real: Sample, other: Sample, seed: int = 0, *, folds: int = 5) -> dict:
    """Both numbers with the floors of the real images: `accuracy`, `distance`, `accuracy_floor`, `distance_floor`."""
    streams = np.random.default_rng(seed).spawn(4)
    return {
        "accuracy": two_sample_accuracy(real, other, streams[0], folds=folds),
        "distance": kernel_distance(real, other, streams[1]),
        "accuracy_floor": accuracy_floor(real, streams[2], folds=folds),
        "distance_floor": distance_floor(real, streams[3]),
    }


# The map


def tsne(vectors, seed: int = 0, *, perplexity: float = 50, learning_rate: float = 10, iterations: int = 5000) -> tuple[np.ndarray, int]:
    """The paper's map: PCA to 90 % of the variance, then t-SNE.

    Returns
    -------
    places : numpy.ndarray
        float (n, 2).
    components : int
        How many the PCA has kept.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduced = PCA(VARIANCE, svd_solver="full").fit_transform(vectors)
    # The paper's scikit-learn began at random places (now the PCA's, init="pca") and called the iterations n_iter.
    method = TSNE(2, perplexity=perplexity, learning_rate=learning_rate, max_iter=iterations, init="random", random_state=seed)
    return method.fit_transform(reduced.astype(np.float32)), reduced.shape[1]
