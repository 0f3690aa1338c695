"""Reading micrographs and label images: any common format, scale from the metadata, banner found."""

from __future__ import annotations

import logging
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import NanosynthError, explained
from ..files import written_whole
from .metadata import GIVEN, png_statements, settle, side_statements, tiff_statements
from .scalebar import find_bar

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
# What it finds odd in a file it writes to the log, and so to the terminal; where it matters, our own message says it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

SMALLEST_SIDE = 32
LARGEST_SIDE = 30_000
MOST_PIXELS = 170_000_000
"""Just under the number at which Pillow refuses to open an image."""


@dataclass(frozen=True)
class Micrograph:
    """A micrograph as the rest of the package takes it.

    Attributes
    ----------
    path : pathlib.Path
    pixels : numpy.ndarray
        float32 (H, W) in [0, 1], the banner cut off.
    nm_per_px : float or None
        None where nobody states it.
    scale_source : str
        Where `nm_per_px` comes from, or why there is none.
    banner_px : int
        Rows cut off at the bottom.
    notes : tuple of str
        What a user should know, such as pages left out.
    """

    path: Path
    pixels: np.ndarray
    nm_per_px: float | None
    scale_source: str
    banner_px: int
    notes: tuple[str, ...] = ()


def read_micrograph(path, *, nm_per_px=None, bar_nm=None, crop_bottom="auto") -> Micrograph:
    """Read an 8-bit, 16-bit or float TIFF, PNG, JPEG or BMP, grey or in colour.

    8-bit values are divided by 255. Other types seldom fill their range (12-bit
    detectors in 16-bit files), so theirs goes from the image's lowest value to
    its highest, the banner not counted.

    Parameters
    ----------
    path : path-like
    nm_per_px : float, optional
        Goes before anything the file says.
    bar_nm : float, optional
        What the scale bar in the picture stands for, in nm: the bar is measured,
        and goes before what the file says.
    crop_bottom : "auto" or int
        Rows to cut off at the bottom, or the wish to have a banner found.

    Raises
    ------
    NanosynthError
        If the file is missing, damaged, empty, of no known format, smaller than
        32 px or larger than 30,000 px on a side, or of one constant value; or if
        `bar_nm` is given and there is no scale bar.
    """
    path = Path(path)
    for value, name, example in ((nm_per_px, "nm per pixel", "1.25"), (bar_nm, "the length of the scale bar", "500")):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise NanosynthError(f"{name} = {value} must be above 0.", f"State it in nanometres, such as {example}.")
    raw, statements, notes = _load(path)
    grey = _grey(raw)
    if not np.isfinite(grey).all():
        raise NanosynthError(
            f"{path}: holds values that are no numbers (NaN or infinite).", "Export the image again as 8-bit or 16-bit TIFF."
        )
    height, width = grey.shape
    if min(height, width) < SMALLEST_SIDE:
        raise NanosynthError(f"{path}: {width} x {height} px is too small.", f"Use an image of at least {SMALLEST_SIDE} px on each side.")
    low, high = (0.0, 255.0) if raw.dtype == np.uint8 else (float(grey.min()), float(grey.max()))
    if high > low:
        grey = (grey - np.float32(low)) / np.float32(high - low)
    banner = find_banner(grey) if crop_bottom == "auto" else _checked_crop(path, crop_bottom, height)
    pixels = grey[: height - banner]
    low, high = float(pixels.min()), float(pixels.max())
    if low == high:
        raise NanosynthError(f"{path}: every pixel has the same value.", "Leave this image out, or export it again from the microscope.")
    if raw.dtype != np.uint8:
        pixels = (pixels - np.float32(low)) / np.float32(high - low)
    statements = statements + side_statements(path, width)
    if bar_nm is not None:
        bar = find_bar(grey, banner)
        if bar is None:
            raise NanosynthError(f"{path}: no scale bar was found.", "Give the scale as nm per pixel instead.")
        stated = f"scale bar of {bar.length_px:.4g} px, {bar_nm:g} nm by the user"
        statements.insert(0, (float(f"{bar_nm / bar.length_px:.6g}"), stated))
    found, source, doubts = settle(statements)
    if nm_per_px is not None:
        found, source, doubts = float(nm_per_px), GIVEN, []
    pixels = np.ascontiguousarray(np.clip(pixels, 0, 1), dtype=np.float32)
    return Micrograph(path, pixels, found, source, banner, (*notes, *doubts))


def _checked_crop(path, rows, height):
    if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 0 or height - rows < SMALLEST_SIDE:
        raise NanosynthError(
            f"{path}: cannot cut {rows} rows off the bottom of an image {height} px high.",
            f"Choose a whole number from 0 to {height - SMALLEST_SIDE}, or auto.",
        )
    return int(rows)


def read_labels(path) -> np.ndarray:
    """Read a label image: int32 (H, W), 0 background, one number per particle.

    A binary mask (values 0 and 255 only) is taken as one particle for each
    4-connected part.

    Raises
    ------
    NanosynthError
        If the file is damaged, coloured, a micrograph by its looks, or holds anything but whole numbers from 0.
    """
    path = Path(path)
    raw, _, _ = _load(path)
    if raw.ndim == 3:
        colours = raw[..., :3]
        if raw.shape[-1] >= 3 and not (colours == colours[..., :1]).all():
            raise NanosynthError(
                f"{path}: is a colour image, not a label image.", "Save the labels as 8-bit or 16-bit grey, a number per particle."
            )
        raw = raw[..., 0]
    labels = raw.astype(np.int32)
    if raw.dtype.kind not in "bui" and not np.array_equal(labels, raw) or labels.min() < 0:
        raise NanosynthError(
            f"{path}: holds values other than whole numbers from 0 up.", "Save the labels as 8-bit or 16-bit grey, a number per particle."
        )
    if labels.max() == 255 and not ((labels != 0) & (labels != 255)).any():
        labels = ndimage.label(labels)[0].astype(np.int32)
    # The pixels of a particle lie together; those of a micrograph's grey level are scattered by noise.
    pairs = (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    scattered = pairs.sum() > labels.size / 2 and (labels[:, 1:] == labels[:, :-1])[pairs].mean() < 0.3
    if scattered and labels.size > 10 * np.unique(labels).size > 300:
        raise NanosynthError(f"{path}: looks like a micrograph, not like a label image.", "Name the image that holds a number per particle.")
    return labels


def read_scale(path) -> tuple[float | None, str]:
    """The nm per pixel that a picture or its side file states, and where; None and why where none does."""
    raw, statements, _ = _load(Path(path))
    return settle(statements + side_statements(path, raw.shape[1]))[:2]


def read_mask(path) -> np.ndarray:
    """Read a mask: bool (H, W), true where the image is not 0."""
    raw, _, _ = _load(Path(path))
    return _grey(raw) != 0


def read_probability(path) -> np.ndarray:
    """Read the network's output as `segment` or another program wrote it: float32 (H, W) in [0, 1].

    8-bit and 16-bit values are divided by 255 and 65,535.
    """
    raw, _, _ = _load(Path(path))
    values = _grey(raw)
    if raw.dtype.kind == "u":
        values = values / np.float32(np.iinfo(raw.dtype).max)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise NanosynthError(f"{path}: holds values that are not between 0 and 1.", "Save probabilities as 8-bit or 16-bit grey, or float.")
    return values


def list_images(paths) -> list[Path]:
    """The images among `paths`, which are files and folders, each once.

    Files keep the order given; those in a folder (not in its subfolders) come
    in natural order, so 2 before 10.

    Raises
    ------
    NanosynthError
        If a path does not exist, a file is of no known format, or a folder holds none.
    """
    found = []
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        with explained(path):
            if path.is_dir():
                inside = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
            else:
                path.stat()
                inside = [path]
        if not inside:
            raise NanosynthError(f"{path}: no images in this folder.", f"Name a folder with files ending in {', '.join(SUFFIXES)}.")
        if inside[0].suffix.lower() not in SUFFIXES:
            raise NanosynthError(f"{path}: not a kind of image that can be read.", f"Use one of {', '.join(SUFFIXES)}.")
        found += sorted(inside, key=natural)
    if not found:
        raise NanosynthError("No image was named.", "Name at least one image or folder.")
    return list(dict.fromkeys(found))


def natural(path):
    """A sorting key by which img2 comes before img10."""
    return [(int(part), "") if part.isdigit() else (-1, part.casefold()) for part in re.split(r"([0-9]+)", Path(path).name)]


def write_grey(path, values, *, nm_per_px=None):
    """Write a PNG or TIFF (by the suffix) of a uint8, uint16 or RGB uint8 array, with its scale.

    Parameters
    ----------
    path : path-like
    values : numpy.ndarray
        (H, W) uint8 or uint16, or (H, W, 3) uint8. TIFF takes int32 and float32 too.
    nm_per_px : float, optional
        A PNG gets it as text `nm_per_pixel` and as its physical pixel size.
    """
    path = Path(path)
    with written_whole(path) as temporary:
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            scale = {} if nm_per_px is None else {"resolution": (1 / nm_per_px, 1 / nm_per_px), "metadata": {"unit": "nm"}, "imagej": True}
            if values.dtype.kind == "i" or values.dtype == np.uint32:
                values = values.astype(np.float32)  # ImageJ has no 32-bit integers; exact up to 2**24
            tifffile.imwrite(temporary, values, **scale)
        else:
            from PIL import Image, PngImagePlugin

            text, options = PngImagePlugin.PngInfo(), {}
            if nm_per_px is not None:
                text.add_text("nm_per_pixel", repr(float(nm_per_px)))
                options["dpi"] = (25.4e6 / nm_per_px,) * 2
            Image.fromarray(values).save(temporary, pnginfo=text, compress_level=4, **options)


def write_labels(path, labels, *, nm_per_px=None) -> Path:
    """Write instances as 16-bit PNG, or as TIFF beyond 65,535 of them; returns the path written."""
    path = Path(path)
    if labels.max(initial=0) > 65535:
        path = path.with_name(path.stem + ".tif")
        write_grey(path, labels.astype(np.int32), nm_per_px=nm_per_px)
    else:
        path = path.with_name(path.stem + ".png")
        write_grey(path, labels.astype(np.uint16), nm_per_px=nm_per_px)
    return path


def _load(path):
    """Return the raw array (H, W) or (H, W, channels), what is stated of its scale (see `metadata`), and notes."""
    with explained(path), open(path, "rb") as file:
        start = file.read(4)
    if not start:
        raise NanosynthError(f"{path}: the file is empty (0 bytes).", "Copy it again from its source.")
    from PIL import UnidentifiedImageError

    tiff = start[:2] in (b"II", b"MM")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values, statements, notes = _load_tiff(path) if tiff else _load_other(path)
        if not values.size:
            raise ValueError("it holds no pixels")
        return values, statements, notes
    except NanosynthError:
        raise
    except MemoryError as error:
        raise NanosynthError(f"{path}: too large for this machine's memory.", "Cut it into pieces or scale it down.") from error
    except UnidentifiedImageError as error:
        raise NanosynthError(
            f"{path}: not an image, although its name ends in {path.suffix}.", "Copy it again from its source, or export it as PNG or TIFF."
        ) from error
    # The decoders raise almost anything on damaged data, from struct.error to SyntaxError.
    except Exception as error:
        raise NanosynthError(
            f"{path}: damaged, or not an image that can be read ({error}).", "Copy it again from its source, or export it as PNG or TIFF."
        ) from error


def _check_size(path, width, height):
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise NanosynthError(
            f"{path}: {width} x {height} px is too large.",
            f"Cut it into pieces or scale it down, to {LARGEST_SIDE:,} px on a side and {MOST_PIXELS // 10**6} megapixels at most.",
        )


def _load_other(path):
    from PIL import Image

    try:
        image = Image.open(path)
    except Image.DecompressionBombError:
        _check_size(path, LARGEST_SIDE + 1, LARGEST_SIDE + 1)
    with image:
        _check_size(path, *image.size)
        scales = png_statements(image)
        notes = ["only the first of its pictures is used"] if getattr(image, "n_frames", 1) > 1 else []
        return _array(image), scales, notes


def _array(image):
    """The values of a Pillow image, palettes and rare modes resolved."""
    if image.mode in ("1", "CMYK", "YCbCr", "LAB", "HSV", "P", "PA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    values = np.asarray(image)
    if values.dtype == np.int32:  # Pillow's mode I, a 16-bit PNG in older versions
        values = values.astype(np.uint16 if 0 <= values.min() and values.max() <= 65535 else np.float32)
    return values


def _load_tiff(path):
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if not len(tiff.pages):
            raise ValueError("it holds no picture")
        page = tiff.pages[0]
        _check_size(path, page.imagewidth, page.imagelength)
        if page.imagedepth > 1 or page.axes not in ("YX", "YXS", "SYX"):
            raise NanosynthError(f"{path}: is a volume, not a picture.", "Export one plane of it.")
        notes = [f"only the first of its {len(tiff.pages)} pages is used"] if len(tiff.pages) > 1 else []
        try:
            values = None if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.asarray()
        except (ValueError, ImportError):  # a compression that tifffile leaves to a further library
            values = None
        if values is None:
            from PIL import Image, UnidentifiedImageError

            try:
                with Image.open(path) as image:
                    values = _array(image)
            except (UnidentifiedImageError, KeyError) as error:  # KeyError: a compression that Pillow has no name for
                if tiff.filehandle.size < max(map(sum, zip(page.dataoffsets, page.databytecounts))):
                    raise ValueError("it ends too early") from error
                kind = f"{page.bitspersample} bit, {page.samplesperpixel} channels, compression {page.compression.name}"
                raise NanosynthError(f"{path}: a kind of TIFF that cannot be read ({kind}).", "Export it without compression.") from error
        else:
            if values.dtype.kind == "c":
                raise NanosynthError(f"{path}: holds complex numbers.", "Export their magnitude as 16-bit or float TIFF.")
            if page.axes == "SYX":
                values = np.moveaxis(values, 0, -1)
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                values = (page.colormap[:, values] >> 8).astype(np.uint8).transpose(1, 2, 0)
            elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                values = values.max() - values if values.dtype.kind == "f" else np.iinfo(values.dtype).max - values
            elif values.dtype == bool:
                values = values * np.uint8(255)
        return values, tiff_statements(tiff, page), notes


def _grey(values):
    """float32 (H, W): the luminance (ITU-R 601) of a colour image, an alpha channel left out."""
    if values.ndim == 2:
        return values.astype(np.float32)
    if values.shape[-1] < 3:
        return values[..., 0].astype(np.float32)
    red, green, blue = (values[..., i].astype(np.float32) for i in range(3))
    # A grey picture saved in colour keeps its values exactly.
    return np.where((red == green) & (green == blue), red, 0.299 * red + 0.587 * green + 0.114 * blue).astype(np.float32)


def find_banner(pixels) -> int:
    """Rows to cut off at the bottom to be rid of a data banner; 0 where there is none.

    A banner is a flat strip with lettering. It begins abruptly, over most of
    the width in the same row, which the dark background of a micrograph does
    not. It ends at the lower edge or, floating as a box, shortly above it.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W) in [0, 1].
    """
    height = len(pixels)
    first = height - max(int(0.22 * height), 24)
    if first < 4:
        return 0
    bottom = np.round(np.asarray(pixels[first - 4 :], dtype=np.float32) * 255).astype(np.int16)
    levels = np.argsort(np.bincount(bottom.ravel().clip(0, 255), minlength=256))[::-1]
    grounds = []
    for level in levels[:12]:
        if all(abs(int(level) - other) > 12 for other in grounds):
            grounds.append(int(level))
    cuts = [cut for ground in grounds if (cut := _banner_on(bottom, ground, height))]
    return max(cuts, default=0)


def _banner_on(bottom, ground, height):
    flat = np.abs(bottom - ground) <= 6
    share = flat.mean(axis=1)
    body = ndimage.uniform_filter1d(share, 7, mode="nearest")  # a ruled line within the banner does not end it
    for top in range(4, len(bottom) - 8):
        # The two rows before the edge may be smeared by JPEG.
        if (
            share[top] < 0.7
            or share[top + 1] < 0.7
            or share[top - 2 : top].min() > share[top] - 0.3
            or share[top - 4 : top - 2].max() > share[top] - 0.3
        ):
            continue
        filled = body[top:] >= 0.35
        end = top + (len(filled) if filled.all() else int(np.argmin(filled)))
        rows = end - top
        if rows < max(8, 0.02 * height) or len(bottom) - end > 0.06 * height:
            continue
        lettering = (np.abs(bottom[top:end] - ground) > 80).mean()
        if 0.004 <= lettering <= 0.45:
            return len(bottom) - top
    return 0
