"""Results and data sets in the formats of other programs."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import NanosynthError
from ..files import read_json, write_bytes, write_text, written_whole
from ..reporting import Clock, Reporter
from ..synth.dataset import Dataset
from .images import list_images, read_labels, read_micrograph, read_probability, read_scale, write_grey, write_labels
from .metadata import ScaleFile, given_scale
from .outlines import outlines, without_holes
from .particles import measure, write_table
from .segmentation import output_names

FORMATS = ("csv", "parquet", "labels", "ome-tiff", "imagej", "coco", "cellpose", "stardist", "geojson")
NEED_IMAGE = ("cellpose", "stardist")
CATEGORY = "particle"


@dataclass(frozen=True)
class Item:
    """A picture with its particles, read when it is asked for.

    Attributes
    ----------
    name : str
        For the files written.
    image : pathlib.Path or None
        The picture as it lies on the disk.
    nm_per_px : float or None
    scale_source : str
    labels : callable
        Gives int32 (H, W).
    pixels : callable or None
        Gives the picture without so many of its lowest rows, float32 (H - rows, W) in [0, 1].
    probability : callable or None
        Gives float32 (H, W) in [0, 1].
    banner_px : int
        Rows at the bottom that are a banner. What it cuts is cut by the border.
    """

    name: str
    image: Path | None
    nm_per_px: float | None
    scale_source: str
    labels: Callable
    pixels: Callable | None = None
    probability: Callable | None = None
    banner_px: int = 0


def export(source, formats, out, reporter: Reporter | None = None, *, nm_per_px=None) -> list[Path]:
    """Write what a folder holds in other programs' formats.

    Parameters
    ----------
    source : path-like
        A folder that `segment` wrote, a data set that `generate` wrote, a label
        image, or a folder of label images.
    formats : list of str
        Of `FORMATS`. Each gets a folder of its name in `out`.
    out : path-like
    reporter : Reporter, optional
    nm_per_px : float or metadata.ScaleFile, optional
        Of label images. Otherwise what their files say.

    Returns
    -------
    list of pathlib.Path
        The files written.

    Raises
    ------
    NanosynthError
        If the source is none of these, a file of it is missing or damaged, a
        picture and its labels differ in size, a format needs what is not there,
        or a scale is stated for what has its own.
    """
    reporter, out = reporter or Reporter(), Path(out)
    formats = list(dict.fromkeys(formats))
    for name in formats:
        if name not in FORMATS:
            raise NanosynthError(f"{name!r} is no format that can be written.", f"Choose of {', '.join(FORMATS)}.")
    for name, package in (("parquet", "pyarrow"), ("imagej", "roifile")):
        if name in formats and importlib.util.find_spec(package) is None:
            raise NanosynthError(
                f"The format {name} needs the package {package}, which this Python lacks.",
                f"Export in the training environment ('./nanosynth export …' in a checkout), or install it: python -m pip install {package}",
            )
    items = items_of(source, nm_per_px)
    for name in formats:
        if name in NEED_IMAGE and any(item.pixels is None for item in items):
            raise NanosynthError(
                f"{source}: the format {name} needs the pictures, and this holds labels only.", "Export a result or a data set."
            )
    files, gathered = [], {"coco": Coco(out / "coco"), "parquet": Table(out / "parquet")}
    reporter.started("export", text=f"Exporting {len(items)} image{'s' * (len(items) != 1)} as {', '.join(formats)}", images=len(items))
    clock, unscaled, empty, gone = Clock(len(items)), [], [], []
    for done, item in enumerate(items):
        labels = item.labels()
        try:
            pixels = item.pixels(0) if item.pixels else None
        except NanosynthError:
            if any(name in NEED_IMAGE for name in formats):
                raise
            gone.append(item.name)
            item, pixels = replace(item, pixels=None), None
        if pixels is not None and pixels.shape != labels.shape:
            raise NanosynthError(
                f"{item.image}: the picture is {pixels.shape[1]} x {pixels.shape[0]} px, its labels {labels.shape[1]} x {labels.shape[0]} px.",
                "Was the picture replaced? Segment it again.",
            )
        if item.nm_per_px is None:
            unscaled.append(item.name)
        if not labels.any():
            empty.append(item.name)
        for name in formats:
            if name in gathered:
                gathered[name].add(item, labels, pixels)
                continue
            for path in WRITERS[name](out / name, item, labels, pixels):
                files.append(path)
                reporter.artifact(path, name)
        reporter.progress(done + 1, len(items), item.name, clock.seconds_left(done + 1))
    for name in formats:
        if name in gathered:
            path = gathered[name].write()
            files.append(path)
            reporter.artifact(path, name)
    for names, message, remedy in (
        (unscaled, "scale not known, so no lengths in nm are written.", "Give it with --nm-per-px or --scale-file: when segmenting, or with label images here."),
        (empty, "no particles.", ""),
        (gone, "the micrograph cannot be read, so its mean intensities are left out.", "Segment it again where it is now."),
    ):
        if names:
            who = "all images" if len(names) == len(items) > 1 else ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            reporter.warning(f"{who}: {message}", remedy, images=names)
    reporter.done(out=str(out), files=len(files), text=f"{len(files)} file{'s' * (len(files) != 1)} in {out}.")
    return files


# Sources


def items_of(source, nm_per_px=None) -> list[Item]:
    """The pictures with particles that a result, a data set or label images hold; the scale of the latter may be stated."""
    source = Path(source)
    for record, read, remedy in (
        ("segmentation.json", _of_result, "Segment again with this scale; that takes a moment where the results are there."),
        ("dataset.json", _of_dataset, "Leave --nm-per-px and --scale-file out."),
    ):
        if (source / record).is_file():
            if nm_per_px is not None:
                raise NanosynthError(f"{source}: has its own scale.", remedy)
            return read(source)
    if source.is_dir() and (source / "run.json").is_file():
        raise NanosynthError(
            f"{source}: is a training run, which holds no particles to export.", "Name the folder of a result or of a data set."
        )
    paths = list_images([source])
    if isinstance(nm_per_px, ScaleFile):
        nm_per_px.refuse_strangers(paths)
    return [_of_labels(path, name, nm_per_px) for path, name in zip(paths, output_names(paths))]


def _of_result(folder):
    items = []
    for entry in read_json(folder / "segmentation.json").get("images", []):
        if "files" not in entry:
            continue
        files = {role: folder / path for role, path in entry["files"].items()}
        image = Path(entry["image"])
        items.append(
            Item(
                entry["name"],
                image,
                entry["nm_per_px"],
                entry["nm_per_px_source"],
                lambda path=files["instances"]: read_labels(path),
                lambda rows, path=image: read_micrograph(path, crop_bottom=rows).pixels,
                (lambda path=files["probability"]: read_probability(path)) if "probability" in files else None,
                entry.get("banner_px", 0),
            )
        )
    if not items:
        raise NanosynthError(f"{folder}: no image in it was segmented.", "Run segment again and look at its messages.")
    return items


def _of_dataset(folder):
    dataset = Dataset.open(folder)
    items = [
        Item(
            f"{index:06d}",
            dataset.paths(index).image,
            dataset.records[index]["nm_per_pixel"],
            "rendered at this scale",
            lambda index=index: dataset.read(index)[2].astype(np.int32),
            lambda rows, index=index: dataset.read(index)[0].astype(np.float32) / np.float32(255),
        )
        for index in sorted(dataset.finished())
    ]
    if not items:
        raise NanosynthError(f"{folder}: the data set has no finished pair.", "Run generate first.")
    return items


def _of_labels(path, name, nm_per_px):
    stated = given_scale(nm_per_px, path)
    return Item(name, None, *(stated if stated[0] else read_scale(path)), lambda: read_labels(path))


# A file or two for each image


def write_csv(folder, item, labels, pixels):
    path = folder / f"{item.name}.csv"
    write_table(path, _measured(item, labels, pixels), nm_per_px=item.nm_per_px, scale_source=item.scale_source)
    return [path]


def write_label_tiff(folder, item, labels, pixels):
    path = folder / f"{item.name}.tif"
    write_grey(path, labels.astype(np.uint16 if labels.max(initial=0) <= 65535 else np.int32), nm_per_px=item.nm_per_px)
    return [path]


def write_ome_tiff(folder, item, labels, pixels):
    import tifffile

    path = folder / f"{item.name}.ome.tif"
    metadata = {"axes": "YX", "Name": item.name}
    if item.nm_per_px:
        metadata |= {f"PhysicalSize{axis}": item.nm_per_px for axis in "XY"} | {f"PhysicalSize{axis}Unit": "nm" for axis in "XY"}
    values = labels.astype(np.uint16 if labels.max(initial=0) <= 65535 else np.uint32)
    with written_whole(path) as temporary:
        tifffile.imwrite(temporary, values, ome=True, metadata=metadata, compression="zlib")
    return [path]


def write_imagej(folder, item, labels, pixels):
    """A zipped set of ROIs for the ROI Manager: traced outlines, whose corners are those of the pixels.

    A particle in several parts gets a ROI for each, the second named NUMBER-2.
    Fiji refuses a set without ROIs, so none is written for an image without particles.
    """
    import roifile

    path = folder / f"{item.name}.zip"
    digits = len(str(labels.max(initial=0)))
    names, packed = [], io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, parts in outlines(labels):
            for part, loops in enumerate(parts, 1):
                name = f"{label:0{digits}d}" + (f"-{part}" if part > 1 else "")
                roi = roifile.ImagejRoi.frompoints(without_holes(loops), name=name)
                roi.roitype = roifile.ROI_TYPE.TRACED
                roi.right, roi.bottom = (int(end) for end in loops[0].max(axis=0))
                # Without a time of its own, so that equal sets are equal files.
                archive.writestr(zipfile.ZipInfo(f"{name}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED)
                names.append(name)
    if not names:
        return []
    write_bytes(path, packed.getvalue())
    return [path]


def write_cellpose(folder, item, labels, pixels):
    """NAME.png and NAME_masks.png (.tif beyond 65,535 particles) side by side."""
    path = folder / f"{item.name}.png"
    write_grey(path, _as_bytes(pixels), nm_per_px=item.nm_per_px)
    return [path, write_labels(folder / f"{item.name}_masks.png", labels, nm_per_px=item.nm_per_px)]


def write_stardist(folder, item, labels, pixels):
    """images/NAME.tif and masks/NAME.tif."""
    image, masks = (folder / name / f"{item.name}.tif" for name in ("images", "masks"))
    write_grey(image, _as_bytes(pixels), nm_per_px=item.nm_per_px)
    write_label_tiff(masks.parent, item, labels, pixels)
    return [image, masks]


def _as_bytes(pixels):
    return np.round(pixels * 255).astype(np.uint8)


def write_geojson(folder, item, labels, pixels):
    """Detections for QuPath, in px from the upper left corner of the picture."""
    table = _measured(item, labels, pixels)
    features = []
    for row, (label, parts) in enumerate(outlines(labels)):
        rings = [[[*loop.tolist(), loop[0].tolist()] for loop in loops] for loops in parts]
        measurements = {
            name: _plain(values[row]) for name, values in table.items() if name != "label" and np.asarray(values).dtype.kind in "biuf"
        }
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": rings[0]}
                if len(rings) == 1
                else {"type": "MultiPolygon", "coordinates": rings},
                "properties": {
                    "objectType": "detection",
                    "name": f"{CATEGORY} {label}",
                    "classification": {"name": CATEGORY, "color": [255, 92, 66]},
                    "measurements": {name: value for name, value in measurements.items() if value is not None},
                },
            }
        )
    path = folder / f"{item.name}.geojson"
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False))
    return [path]


def _measured(item, labels, pixels):
    above = slice(0, len(labels) - item.banner_px)
    probability = item.probability()[above] if item.probability else None
    if item.banner_px and pixels is not None:
        pixels = item.pixels(item.banner_px)
    return measure(labels[above], pixels, probability=probability, nm_per_px=item.nm_per_px)


def _plain(value):
    """A number for JSON; None where there is none. QuPath's measurements are numbers, so yes and no are 1 and 0."""
    value = float(value)
    return None if value != value else int(value) if value.is_integer() else round(value, 6)


def _scores(item, labels):
    """The mean probability of each particle by its label, or None."""
    if item.probability is None:
        return None
    probability = item.probability()
    flat = labels.ravel()
    return np.bincount(flat, probability.ravel()) / np.maximum(np.bincount(flat), 1)


WRITERS = {
    "csv": write_csv,
    "labels": write_label_tiff,
    "ome-tiff": write_ome_tiff,
    "imagej": write_imagej,
    "cellpose": write_cellpose,
    "stardist": write_stardist,
    "geojson": write_geojson,
}


# One file for all images


class Coco:
    """coco.json: every particle as a run-length encoded mask. `file_name` is relative to its folder."""

    def __init__(self, folder):
        self.path = folder / "coco.json"
        self.images, self.annotations = [], []

    def add(self, item, labels, pixels):
        height, width = labels.shape
        number = len(self.images) + 1
        entry = {"id": number, "file_name": self._relative(item), "width": width, "height": height}
        if item.nm_per_px:
            entry["nm_per_px"] = item.nm_per_px
        self.images.append(entry)
        scores = _scores(item, labels)
        for label, counts, area, box in run_lengths(labels):
            annotation = {
                "id": len(self.annotations) + 1,
                "image_id": number,
                "category_id": 1,
                "segmentation": {"size": [height, width], "counts": packed_counts(counts)},
                "area": area,
                "bbox": box,
                "iscrowd": 0,
                "label": label,
            }
            if scores is not None:
                annotation["score"] = round(float(scores[label]), 4)
            self.annotations.append(annotation)

    def _relative(self, item):
        if item.image is None:
            return f"{item.name}.png"
        try:
            return Path(os.path.relpath(item.image, self.path.parent)).as_posix()
        except ValueError:  # on another drive
            return item.image.name

    def write(self):
        content = {
            "info": {"description": f"written by Nanosynth {__version__}", "version": __version__},
            "licenses": [],
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": 1, "name": CATEGORY, "supercategory": ""}],
        }
        write_text(self.path, json.dumps(content, allow_nan=False))
        return self.path


class Table:
    """particles.parquet: the particles of all images in one table, the scale of each image on every row."""

    def __init__(self, folder):
        self.path = folder / "particles.parquet"
        self.columns = {}

    def add(self, item, labels, pixels):
        table = _measured(item, labels, pixels)
        count = len(table["label"])
        nm_per_px = np.nan if item.nm_per_px is None else item.nm_per_px
        whole = {"image": [item.name] * count, **table, "nm_per_px": [nm_per_px] * count, "scale_source": [item.scale_source] * count}
        for name, values in whole.items():
            self.columns.setdefault(name, []).extend(np.asarray(values).tolist())

    def write(self):
        import pyarrow
        from pyarrow import parquet

        # What is not known is missing in the file, not a number that is none.
        arrays = {name: [None if value != value else value for value in values] for name, values in self.columns.items()}
        with written_whole(self.path) as temporary:
            parquet.write_table(pyarrow.table(arrays), temporary)
        return self.path


def run_lengths(labels):
    """COCO's run-length encoding of every particle, of the label image at once.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.

    Yields
    ------
    label : int
    counts : list of int
        Lengths of runs of other pixels and of this particle's in turn, down the
        columns one after the other.
    area : int
    box : list of int
        x, y, width, height in px.
    """
    labels = np.asarray(labels)
    height = labels.shape[0]
    flat = labels.ravel(order="F")
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, flat.size])
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    order = order[np.searchsorted(values[order], 1) :]
    for runs in np.split(order, np.flatnonzero(np.diff(values[order])) + 1) if order.size else ():
        begin, length = starts[runs], lengths[runs]
        end = begin + length
        gaps = np.r_[begin[0], begin[1:] - end[:-1]]
        counts = np.empty(2 * runs.size, dtype=np.int64)
        counts[::2], counts[1::2] = gaps, length
        tail = [flat.size - int(end[-1])] if end[-1] < flat.size else []
        # A run over more than one column fills all rows of the picture.
        across = end - 1
        x, last = int(begin[0] // height), int(across[-1] // height)
        whole = (begin // height != across // height).any()
        y, low = (0, height - 1) if whole else (int((begin % height).min()), int((across % height).max()))
        yield int(values[runs[0]]), counts.tolist() + tail, int(length.sum()), [x, y, last - x + 1, low - y + 1]


def packed_counts(counts) -> str:
    """Run lengths as the short text of COCO's tools.

    Each number from the fourth on is its difference to the one before the last,
    cut into groups of five bits, the lowest first; a sixth bit says that more
    follow, and 48 is added to make it a printable character.
    """
    text = []
    for i, count in enumerate(counts):
        rest = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = rest & 31
            rest >>= 5
            more = rest != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | 32 if more else bits)))
    return "".join(text)
