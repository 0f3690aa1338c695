"""The training settings: network, patches, optimiser, augmentation and retention, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import NanosynthError
from ..fields import Range, flag, number, read_toml, section, span, text

PRESETS = Path(__file__).resolve().parent / "presets"


@dataclass
class Preprocess:
    """How intensities are brought to [0, 1], in training and in prediction alike."""

    low_percentile: float = number(0.5, "This percentile of the image becomes 0.", unit="%", low=0.0, high=49.0)
    high_percentile: float = number(99.5, "This percentile of the image becomes 1.", unit="%", low=51.0, high=100.0)
    clahe: bool = flag(True, "Contrast-limited adaptive histogram equalisation (Zuiderveld 1994).")
    clahe_kernel_px: int = number(128, "Side of a CLAHE tile, in network pixels.", unit="px", low=8, high=4096)
    clahe_clip: float = number(0.01, "CLAHE clip limit as a share of a tile's pixels.", low=0.0, high=1.0)


@dataclass
class Augmentation:
    """Random changes to each training patch. A chance is that of the change in one patch."""

    flip: bool = flag(True, "Random flips and turns by 90 degrees.")
    zoom: Range = span(0.8, 1.25, "Zoom of a patch, log-uniform.", low=0.1, high=4.0)
    contrast: float = number(
        0.15, "Largest widening of the normalisation's bounds, as a share of their distance: a patch is never a whole image.", low=0.0, high=2.0
    )
    gamma: Range = span(0.8, 1.25, "Exponent of the intensities, log-uniform.", low=0.2, high=5.0)
    noise: Range = span(0.0, 0.04, "Standard deviation of white Gaussian noise, as a share of full scale.", low=0.0, high=1.0)
    correlated_noise: Range = span(0.0, 0.0, "Standard deviation of noise blurred by 0.5 to 1.5 px.", low=0.0, high=1.0)
    blur_px: Range = span(0.0, 0.0, "Standard deviation of a Gaussian blur.", unit="px", low=0.0, high=10.0)
    sharpen: float = number(0.0, "Chance of an unsharp mask instead of a blur.", low=0.0, high=1.0)
    scan_lines: float = number(0.0, "Chance of scan-line noise and charging streaks.", low=0.0, high=1.0)
    jpeg: float = number(0.0, "Chance of JPEG compression.", low=0.0, high=1.0)
    grain_texture: float = number(0.0, "Largest contrast of 1/f texture on the particles.", low=0.0, high=1.0)
    substrate_texture: float = number(0.0, "Largest contrast of 1/f texture on the substrate.", low=0.0, high=1.0)
    substrate_tone: float = number(0.0, "Chance that the substrate takes another brightness and contrast.", low=0.0, high=1.0)
    particle_shading: float = number(0.0, "Chance that rims and centres of all particles are brightened, darkened or flattened.", low=0.0, high=1.0)
    particle_brightness: float = number(0.0, "Largest relative change of brightness from particle to particle.", low=0.0, high=1.0)
    gradient: float = number(0.0, "Largest change of brightness across a patch, as a share of full scale.", low=0.0, high=1.0)
    clutter: float = number(0.0, "Chance each of specks, smears, flakes and scratches that are no particles.", low=0.0, high=1.0)
    lettering: float = number(0.0, "Chance of burnt-in letters, scale bars and banners.", low=0.0, high=1.0)


@dataclass
class TrainingSettings:
    """Everything that decides a training beside its data set."""

    base_width: int = number(64, "Feature maps of the first level; each level down doubles them.", low=2, high=256)
    depth: int = number(4, "Levels of pooling.", low=1, high=6)
    batch_norm: bool = flag(True, "Batch normalisation after each 3x3 convolution.")
    batch_norm_momentum: float = number(0.98, "Momentum of the running statistics of batch normalisation.", low=0.0, high=0.9999)

    patch_px: int = number(400, "Side of a training patch in network pixels.", unit="px", low=16, high=4096)
    batch: int = number(2, "Patches a step.", low=1, high=256)
    iterations_per_epoch: int = number(150, "Steps an epoch.", low=1, high=100_000)
    epochs: int = number(500, "Epochs.", low=1, high=100_000)
    learning_rate: float = number(1e-3, "Learning rate of Adam.", low=1e-8, high=1.0)
    schedule: str = text("constant", "'linear_tail' lets the rate fall linearly to 0 over the second half.", choices=("constant", "linear_tail"))
    adam_epsilon: float = number(1e-8, "Epsilon of Adam (TensorFlow 1 used 1e-8).", low=1e-12, high=1.0)
    threshold: float = number(0.51, "Probability above which a pixel is a particle.", low=0.0, high=1.0)
    seed: int = number(1, "Seed of the weights, the patches and their augmentation.", low=0, high=2**31 - 1)

    diameter_px: float = number(
        0.0, "Median particle diameter to which images are scaled for the network; 0 keeps their own scale.", unit="px", low=0.0, high=1000.0
    )
    border_radius_px: float = number(1.0, "Particle pixels this close to another particle count as background.", unit="px", low=0.0, high=50.0)
    border_outline: bool = flag(False, "The same towards the background.")
    border_weight: float = number(1.0, "Weight of those pixels in the loss.", low=0.0, high=100.0)
    on_particle: float = number(0.0, "Share of the patches placed on a particle.", low=0.0, high=1.0)
    on_substrate: float = number(0.0, "Share of the patches placed where particles are fewest.", low=0.0, high=1.0)

    preprocess: Preprocess = section(Preprocess, "Intensities and contrast.")
    augmentation: Augmentation = section(Augmentation, "Random changes to each patch.")

    keep: str = text("best+every", "Weights kept: of all epochs, or of the best, the last and every Nth.", choices=("all", "best+every"))
    keep_every: int = number(10, "N of 'best+every'.", low=1, high=100_000)
    memory_gb: float = number(3.0, "A data set larger than this is read from disk patch by patch.", unit="GB", low=0.0, high=10_000.0)

    @property
    def multiple(self) -> int:
        """Image sides the network takes are multiples of this."""
        return 2**self.depth

    @property
    def mean_zoom(self) -> float:
        """Geometric mean of the zoom."""
        low, high = self.augmentation.zoom
        return (low * high) ** 0.5

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of the step with this number, counted from 0 over the whole training."""
        if self.schedule == "constant":
            return self.learning_rate
        share = step / (self.epochs * self.iterations_per_epoch)
        return self.learning_rate * min(1.0, 2.0 * (1.0 - share))

    def check(self):
        if self.patch_px % self.multiple:
            low = self.patch_px // self.multiple * self.multiple
            yield (
                "patch_px",
                f"= {self.patch_px} px is no multiple of {self.multiple}, which a depth of {self.depth} needs.",
                f"Use {low or self.multiple} or {low + self.multiple} px.",
            )
        if self.on_particle + self.on_substrate > 1:
            yield "on_substrate", "and on_particle add up to more than 1.", "Lower one of them."


def read_settings(name) -> TrainingSettings:
    """Read training settings from a TOML file or by the name of a preset (`paper`, `compact`).

    Raises
    ------
    NanosynthError
        If there is no such file or preset, or a value is out of bounds.
    """
    path = Path(name)
    if path.suffix == "" and (PRESETS / f"{name}.toml").is_file():
        path = PRESETS / f"{name}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise NanosynthError(f"{name}: no such settings file or preset.", f"Presets are {names}.")
    return read_toml(TrainingSettings, path)
