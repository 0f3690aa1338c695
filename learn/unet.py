"""The U-Net of Ronneberger et al. 2015, without cropping and with batch normalisation."""

from __future__ import annotations

import numpy as np

from .backend import load_keras
from .settings import TrainingSettings


def build_unet(settings: TrainingSettings):
    """Build an untrained U-Net.

    Each level has two 3x3 convolutions, each followed by batch normalisation
    (which makes a bias superfluous, so there is none) and ReLU; 2x2 max pooling
    leads down, a 2x2 transposed convolution of stride 2 up, and the skip
    connections are concatenated whole, since 'same' padding keeps the sizes. A
    1x1 convolution to one map and a sigmoid end it. Weights are drawn after He
    et al. 2015 from `settings.seed`.

    Parameters
    ----------
    settings : TrainingSettings
        Uses `base_width`, `depth`, `batch_norm`, `batch_norm_momentum`, `seed`.

    Returns
    -------
    keras.Model
        float32 (B, H, W, 1) in [0, 1] -> probability (B, H, W, 1); H and W any
        multiples of `settings.multiple`.
    """
    keras = load_keras()
    layers = keras.layers
    seeds = iter(np.random.SeedSequence(settings.seed, spawn_key=(0,)).generate_state(64) >> 1)

    def he():
        return keras.initializers.HeNormal(seed=int(next(seeds)))

    def two_convolutions(x, maps, name):
        for i in (1, 2):
            x = layers.Conv2D(
                maps, 3, padding="same", use_bias=not settings.batch_norm, kernel_initializer=he(), name=f"{name}_conv{i}"
            )(x)
            if settings.batch_norm:
                x = layers.BatchNormalization(momentum=settings.batch_norm_momentum, name=f"{name}_norm{i}")(x)
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
        return x

    x = image = keras.Input((None, None, 1), name="image")
    skips = []
    for level in range(settings.depth):
        x = two_convolutions(x, settings.base_width * 2**level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = two_convolutions(x, settings.base_width * 2**settings.depth, "bottom")
    for level in reversed(range(settings.depth)):
        maps = settings.base_width * 2**level
        x = layers.Conv2DTranspose(maps, 2, strides=2, kernel_initializer=he(), name=f"up{level}_rise")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x])
        x = two_convolutions(x, maps, f"up{level}")
    x = layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer=he(), name="probability")(x)
    return keras.Model(image, x, name="unet")


def parameter_count(settings: TrainingSettings) -> int:
    """Number of parameters, running statistics included, by arithmetic alone."""
    per_map = 4 if settings.batch_norm else 1  # scale, shift, mean and variance, or a bias

    def two(before, maps):
        return 9 * before * maps + 9 * maps * maps + 2 * per_map * maps

    widths = [settings.base_width * 2**level for level in range(settings.depth + 1)]
    total = two(1, widths[0]) + sum(two(a, b) for a, b in zip(widths, widths[1:], strict=False))
    for maps in widths[:-1]:
        total += 4 * 2 * maps * maps + maps + two(2 * maps, maps)
    return total + widths[0] + 1
