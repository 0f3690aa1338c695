import numpy as np
import pytest

from nanosynth.learn.settings import TrainingSettings, read_settings
from nanosynth.learn.unet import build_unet, parameter_count

TINY = TrainingSettings(base_width=3, depth=2, patch_px=32, seed=4)


def counted_by_hand(w):
    """Parameters of a U-Net of depth 4 whose first level has w maps, layer by layer.

    A 3x3 convolution from a to b maps has 9ab weights and no bias, its batch
    normalisation 4b numbers (scale, shift, running mean and variance); a 2x2
    transposed convolution from 2b to b maps has 8bb weights and b biases. A
    level up takes its own maps and those of the skip connection: 2b.
    """

    def block(a, b):
        return (9 * a * b + 4 * b) + (9 * b * b + 4 * b)

    def up(b):
        return (8 * b * b + b) + block(2 * b, b)

    down = block(1, w) + block(w, 2 * w) + block(2 * w, 4 * w) + block(4 * w, 8 * w) + block(8 * w, 16 * w)
    return down + up(8 * w) + up(4 * w) + up(2 * w) + up(w) + (w + 1)


@pytest.mark.parametrize("preset, width, count", [("paper", 64, 31_048_257), ("compact", 16, counted_by_hand(16))])
def test_number_of_parameters(preset, width, count):
    settings = read_settings(preset)
    assert counted_by_hand(width) == count
    assert parameter_count(settings) == count
    assert build_unet(settings).count_params() == count


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_count_without_building_equals_that_of_the_network(depth, batch_norm):
    settings = TrainingSettings(base_width=2, depth=depth, batch_norm=batch_norm)
    assert parameter_count(settings) == build_unet(settings).count_params()


def test_layers_in_order():
    network = build_unet(TINY)
    names = [layer.name for layer in network.layers]
    convolutions = [layer for layer in network.layers if type(layer).__name__ == "Conv2D"]
    assert len(convolutions) == 2 * (2 * TINY.depth + 1) + 1
    for layer in convolutions[:-1]:
        assert layer.kernel_size == (3, 3) and layer.padding == "same" and not layer.use_bias
        norm, relu = (layer.name.replace("conv", other) for other in ("norm", "relu"))
        assert layer.output is network.get_layer(norm).input
        assert network.get_layer(norm).output is network.get_layer(relu).input
    assert [layer.filters for layer in convolutions[::2][:-1]] == [3, 6, 12, 6, 3]
    last = convolutions[-1]
    assert (last.name, last.kernel_size, last.filters, last.activation.__name__) == ("probability", (1, 1), 1, "sigmoid")
    assert not any("crop" in name.lower() for name in names)
    skip = network.get_layer("up1_skip")
    assert [tensor.shape[-1] for tensor in skip.input] == [6, 6]


@pytest.mark.parametrize("shape", [(2, 32, 32, 1), (1, 20, 36, 1)])
def test_any_multiple_of_the_pooling_keeps_its_size(shape):
    images = np.random.default_rng(0).random(shape, np.float32)
    result = np.asarray(build_unet(TINY).predict_on_batch(images))
    assert result.shape == shape and result.dtype == np.float32
    assert ((result > 0) & (result < 1)).all()


def test_weights_are_drawn_after_he_from_the_seed():
    network = build_unet(TrainingSettings(base_width=16, depth=2, seed=4))
    kernels = {layer.name: layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")}
    for name in ("down0_conv2", "down1_conv1", "bottom_conv2", "up0_conv1"):
        kernel = kernels[name]
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * kernel.shape[2])), rel=0.06), name
    flat = [kernel.ravel()[:16].tolist() for kernel in kernels.values()]
    assert len({tuple(values) for values in flat}) == len(flat)
    again, other = (build_unet(TrainingSettings(base_width=16, depth=2, seed=seed)) for seed in (4, 5))
    for layer, kernel in kernels.items():
        np.testing.assert_array_equal(again.get_layer(layer).kernel.numpy(), kernel)
        assert not np.array_equal(other.get_layer(layer).kernel.numpy(), kernel)
