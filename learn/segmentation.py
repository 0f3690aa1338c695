"""Segments micrographs with a trained network: scale, probability, instances, tables and pictures."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from skimage.segmentation import expand_labels

from .. import __version__
from ..errors import NanosynthError
from ..fields import flag, number, text, to_dict
from ..files import read_json, sha256, write_json
from ..reporting import Clock, Reporter
from .images import Micrograph, list_images, read_micrograph, write_grey, write_labels
from .metadata import ScaleFile
from .particles import measure, write_table
from .pictures import overlay, size_histogram
from .postprocess import PAPER, raster_order, separate, separate_as_paper
from .prediction import Model, predict_probability
from .scale import POOR_FIT, Scale, assess, resize, scale_of_diameter, scale_of_nm, search_scale, zoomed
from .settings import TrainingSettings


@dataclass(frozen=True)
class SegmentationOptions:
    """How images are brought to scale and predictions become instances. Sizes are relative to the training particles unless a unit is given."""

    scale: str = text(
        "auto",
        "How the particles are brought to the trained size: by nm per pixel, by a search, or 'auto': the first where it is known and fits.",
        choices=("auto", "nm", "search"),
    )
    diameter: float = number(
        0.0, "Typical particle diameter in the image; goes before 'scale'. 0: not known.", unit="px", low=0.0, high=1e5
    )
    nm_per_px: float = number(0.0, "Width of an image pixel; goes before what the file says. 0: not known.", unit="nm", low=0.0, high=1e6)
    scale_bar_nm: float = number(
        0.0,
        "What the scale bar in the image stands for; the bar is measured, and goes before what the file says. 0: not known.",
        unit="nm",
        low=0.0,
        high=1e9,
    )
    scale_file: str = text("", "CSV file with the columns image and nm_per_px: as nm_per_px, image by image.")
    crop_bottom: str = text("auto", "Rows at the bottom that are not part of the micrograph: a number, or 'auto' to have a banner found.")
    threshold: float = number(
        0.0, "Probability above which a pixel belongs to a particle. 0: the threshold of the training.", low=0.0, high=1.0
    )
    outline: float = number(
        0.6, "Probability down to which the particles found grow at their outlines, as a share of the threshold. 1: no growth.", low=0.01, high=1.0
    )
    fill_contacts: bool = flag(
        True, "Give the gaps between touching particles to these where the image shows no dark line there. Off: the gap of the training stays at every contact."
    )
    min_confidence: float = number(0.6, "Particles whose mean probability is below this are left out.", low=0.0, high=1.0)
    min_area: float = number(0.04, "Smaller particles are left out: share of the area of the trained median particle.", low=0.0, high=10.0)
    min_area_nm2: float = number(0.0, "The same as an area. 0: use the share.", unit="nm2", low=0.0, high=1e12)
    dynamic_share: float = number(
        0.1,
        "Two peaks of the distance map are one particle if the lower rises above the saddle by no more than this share of its height.",
        low=0.0,
        high=1.0,
    )
    dynamic: float = number(0.03, "Or by no more than this share of the trained median diameter.", low=0.0, high=10.0)
    join: float = number(
        0.85, "Neighbours are one particle all the same if the mean probability along their common border is above this. 1: never.", low=0.0, high=1.0
    )
    dynamic_nm: float = number(0.0, "The latter as a length. 0: use the share.", unit="nm", low=0.0, high=1e6)
    postprocess: str = text(
        "relative",
        "How the probability becomes particles: 'relative' to the trained size, or with the numbers of Mill et al. 2021 at the image's own scale.",
        choices=("relative", *(f"paper-{name}" for name in PAPER)),
    )
    exact: bool = flag(False, "With a paper's choice: MorphoLibJ's result pixel for pixel, which deletes small particles and leaves dams.")
    flips: bool = flag(False, "Average the predictions of the image and its mirror images: four times the time.")

    def check(self):
        if self.crop_bottom != "auto" and not self.crop_bottom.isdecimal():
            yield (
                "crop_bottom",
                f"= {self.crop_bottom!r} is neither a number of rows nor 'auto'.",
                "Write auto, 0 or the number of rows in px.",
            )
        if self.exact and self.postprocess == "relative":
            yield "exact", "= true needs a paper's choice of post-processing.", "Add --postprocess paper-sio2 or paper-tio2."
        if self.scale_file and self.nm_per_px:
            yield "nm_per_px", "and scale_file both state the scale.", "Give one of them."

    @property
    def crop(self):
        """`crop_bottom` as `read_micrograph` takes it."""
        return "auto" if self.crop_bottom == "auto" else int(self.crop_bottom)


@dataclass(frozen=True)
class Segmentation:
    """What `segment` found. Arrays have the size of the whole image, the banner's rows being 0.

    Attributes
    ----------
    probability : ndarray (H, W), float32
    mask : ndarray (H, W), bool
    labels : ndarray (H, W), int32
        0 background, 1..N particles.
    table : dict of equally long columns
        See `particles.measure`.
    scale : Scale
    warnings : list of str
    """

    probability: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    table: dict
    scale: Scale
    warnings: list[str] = field(default_factory=list)


def segment(model: Model, micrograph: Micrograph, options: SegmentationOptions | None = None, *, progress=None) -> Segmentation:
    """Find the particles of one micrograph.

    The image is brought to network scale, predicted, thresholded, opened by area
    and separated there, where the parameters hold whatever the image's own
    scale; the result is then brought back to image pixels.

    Parameters
    ----------
    model : Model
    micrograph : Micrograph
    options : SegmentationOptions, optional
    progress : callable, optional
        Called with the share of the prediction that is done.

    Raises
    ------
    NanosynthError
        If an option needs a nm per pixel that nobody states.
    """
    options = options or SegmentationOptions()
    pixels = micrograph.pixels
    threshold = options.threshold or model.settings.threshold
    if (options.min_area_nm2 or options.dynamic_nm) and not micrograph.nm_per_px:
        raise NanosynthError(f"{micrograph.path}: min_area_nm2 and dynamic_nm need its nm per pixel.", "Give it with --nm-per-px.")
    warnings = list(micrograph.notes)

    def at(scale):
        probability = predict_probability(model, zoomed(pixels, scale.zoom), flips=options.flips, progress=progress)
        labels = _separated(model, probability, scale.zoom, micrograph.nm_per_px, threshold, options)
        return probability, labels, assess(model, labels, probability)

    scale = _scale(model, micrograph, options, threshold)
    probability, labels, found = at(scale)
    if scale.source != "search" and found.fit < POOR_FIT:
        searched = _searched(model, pixels, options, threshold) if scale.source == "nm per pixel" and options.scale == "auto" else None
        if searched and max(t.fit for t in searched.trials) > max(1.5 * found.fit, POOR_FIT):
            warnings.append(
                f"sizes in nm use the stated {micrograph.nm_per_px:g} nm per pixel; only the zoom for the network was searched, "
                "since the particles are not of the trained size"
            )
            scale = searched
            probability, labels, found = at(scale)
        elif found.count:
            warnings.append(
                f"at the scale given by {scale.source}, what was found does not look like the particles of the training "
                f"({found.found_px / model.diameter_px[0]:.2g} times their size); --scale search looks for another scale"
            )
    if not found.count:
        warnings.append("no particles were found")
    warnings += scale.doubts

    labels = at_image_scale(labels, probability, options.outline * threshold, pixels, pixels.shape, options.fill_contacts)
    probability = resize(probability, pixels.shape)
    if options.postprocess != "relative":
        mode = "morpholibj" if options.exact else "fast"
        choice = options.postprocess.removeprefix("paper-")
        labels = raster_order(separate_as_paper(probability, choice, threshold=threshold, nm_per_px=micrograph.nm_per_px, mode=mode))
        if found.count and not labels.any():
            warnings.append(f"{options.postprocess} left none of the particles found")
        if not micrograph.nm_per_px:
            warnings.append(f"{options.postprocess} supposes 1 nm per pixel, as the scale is not known; --nm-per-px states it")
    # Before the banner's rows are added, so that what the banner cuts counts as cut.
    table = measure(labels, pixels, probability=probability, nm_per_px=micrograph.nm_per_px)
    below = ((0, micrograph.banner_px), (0, 0))
    labels, probability = np.pad(labels, below), np.pad(probability, below)
    return Segmentation(probability, labels > 0, labels, table, scale, warnings)


def _scale(model, micrograph, options, threshold):
    if options.diameter > 0:
        return scale_of_diameter(model, options.diameter)
    if options.scale != "search" and micrograph.nm_per_px and model.nm_per_px:
        return scale_of_nm(model, micrograph.nm_per_px)
    if options.scale == "nm":
        lacking = "the model's training" if micrograph.nm_per_px else str(micrograph.path)
        raise NanosynthError(f"{lacking}: nm per pixel is not known.", "Give it with --nm-per-px, or use --scale search.")
    return _searched(model, micrograph.pixels, options, threshold)


def _searched(model, pixels, options, threshold):
    # Areas in nm have no meaning before the zoom is known; the search uses the relative ones.
    min_area_px, dynamic_px = _relative(model, options)
    return search_scale(model, pixels, threshold=threshold, min_area_px=min_area_px, dynamic_px=dynamic_px)


def _relative(model, options):
    median = model.diameter_px[0]
    return options.min_area * np.pi / 4 * median**2, options.dynamic * median


def _separated(model, probability, zoom, nm_per_px, threshold, options):
    min_area_px, dynamic_px = _relative(model, options)
    if options.min_area_nm2:
        min_area_px = options.min_area_nm2 * (zoom / nm_per_px) ** 2
    if options.dynamic_nm:
        dynamic_px = options.dynamic_nm * zoom / nm_per_px
    trained = model.settings
    labels = separate(
        probability,
        threshold=threshold,
        min_area_px=min_area_px,
        dynamic_px=dynamic_px,
        dynamic_share=options.dynamic_share,
        join=joining(trained, options.join),
        grow_px=trained.border_radius_px,
        outline=options.outline * threshold,
        confidence=options.min_confidence,
    )
    # The training label took the same width from the free edges.
    return expand_labels(labels, trained.border_radius_px) if trained.border_outline else labels


def joining(trained: TrainingSettings, join: float) -> float:
    """The option `join` for a network: one that was not taught to leave gaps at contacts tells nothing by having none."""
    return join if trained.border_radius_px > 0 else 1.0


def at_image_scale(labels, probability, level: float, pixels, shape, fill_contacts: bool = True) -> np.ndarray:
    """Bring what was found at network scale to an image of another size.

    The outlines run where the probability crosses the level. At contacts the image
    decides whether there is a gap, see `_contacts_filled`.

    Parameters
    ----------
    labels : ndarray (h, w), int32
        The particles at network scale; where opening and growing changed the verdict of the probability, they hold.
    probability : ndarray (h, w), float32
    level : float
    pixels : ndarray, float32
        The micrograph, in any size.
    shape : (H, W)
        Of the answer.
    fill_contacts : bool

    Returns
    -------
    ndarray (H, W), int32
        See `enlarge_labels`.
    """
    above = np.where(labels > 0, np.maximum(probability, level + CERTAIN * (1 - level)), probability) - np.float32(level)
    above[(labels == 0) & (above > 0)] = -level
    if fill_contacts:
        labels, above = _contacts_filled(labels, above, resize(pixels, labels.shape))
    return enlarge_labels(labels, resize(above, shape) > 0)


CERTAIN = 0.25
"""What a pixel inside a particle is above the level at least, as a share of what is left to certainty."""
REACH = 2
"""A pixel lies between two particles if it is at most so many network px from both, along either axis."""
VALLEY = 0.05
"""Curvature across a line of the grey level, smoothed over `SMOOTH` network px, above which there is a dark line: in units of the contrast per square of `SMOOTH`."""
SMOOTH = 1.0
BRIGHT = 0.7
"""Grey level above which there is no substrate: share of the way from the substrate's to the particles'. A gap that is blurred has more than half."""
LEAST_CONTRAST = 0.02


def _contacts_filled(labels, above, image):
    """Fill the gaps between touching particles where the image shows none.

    The training leaves a gap at every contact, so that particles come apart. In a
    micrograph there is one where a dark line parts two particles, and none where one lies
    on the other: a pixel between them goes to the nearer one unless it lies in a valley of
    the grey level or is about as dark as the substrate.
    """
    window = 2 * REACH + 1
    none = labels.max(initial=0) + 1
    highest = ndimage.maximum_filter(labels, window)
    lowest = ndimage.minimum_filter(np.where(labels > 0, labels, none), window)
    between = ndimage.binary_dilation(highest > lowest, np.ones((3, 3))) & (labels == 0)  # with both sides of a gap of three pixels
    bare = highest == 0
    if not between.any() or not bare.any():
        return labels, above
    dark = np.median(image[bare])
    contrast = np.median(image[labels > 0]) - dark
    if contrast < LEAST_CONTRAST:
        return labels, above
    curvature = hessian_matrix_eigvals(hessian_matrix(image, SMOOTH, use_gaussian_derivatives=False))[0] * (SMOOTH**2 / contrast)
    brightness = (ndimage.gaussian_filter(image, 0.7 * SMOOTH) - dark) / contrast
    # Signed, so that the outline runs between the pixels where the verdict changes.
    solid = np.clip(np.minimum(VALLEY - curvature, brightness - BRIGHT) / CERTAIN, -CERTAIN, CERTAIN)
    above = np.where(between, np.maximum(above, solid), above)
    return np.where(between, expand_labels(labels, 2 * REACH), labels), above.astype(np.float32)


def enlarge_labels(labels: np.ndarray, mask: np.ndarray, rows_at_once: int = 256) -> np.ndarray:
    """Bring labels to the size of a mask, with smooth borders between them.

    Each pixel of the mask takes the label with the largest bilinear weight among
    the four label pixels around its centre, the background not counting.

    Parameters
    ----------
    labels : ndarray (h, w), int32
    mask : ndarray (H, W), bool
        The same field of view, in another number of pixels.
    rows_at_once : int
        Rows worked on at a time; bounds the memory.

    Returns
    -------
    ndarray (H, W), int32
        Numbered 1..N without gaps, in the order of `labels`.
    """
    if labels.shape == mask.shape:
        result = np.where(mask, labels, 0)
    else:
        (top, bottom, down), (left, right, across) = (_between(n, m) for n, m in zip(mask.shape, labels.shape, strict=True))
        result = np.zeros(mask.shape, np.int32)
        for first in range(0, len(mask), rows_at_once):
            block = slice(first, first + rows_at_once)
            corners = [labels[r[block]][:, c] for r in (top, bottom) for c in (left, right)]
            result[block] = np.where(mask[block], corners[0], 0)
            contested = np.nonzero(mask[block] & np.logical_or.reduce([corner != corners[0] for corner in corners[1:]]))
            corners = [corner[contested] for corner in corners]
            y, x = down[block][contested[0]], across[contested[1]]
            weights = [(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x]
            best, taken = np.zeros(len(y), np.float32), np.zeros(len(y), np.int32)
            for corner in corners:
                vote = sum(np.where(other == corner, weight, 0) for other, weight in zip(corners, weights, strict=True))
                wins = (corner > 0) & (vote > best)
                taken[wins], best[wins] = corner[wins], vote[wins]
            result[block][contested] = taken
    present = np.bincount(result.ravel(), minlength=1) > 0
    present[0] = False
    return (np.cumsum(present) * present).astype(np.int32)[result]


def _between(count, source):
    """For each of `count` pixel centres: the source pixels before and after it, and the share of the latter."""
    place = np.clip((np.arange(count) + 0.5) * source / count - 0.5, 0, source - 1)
    before = np.floor(place).astype(np.intp)
    return before, np.minimum(before + 1, source - 1), (place - before).astype(np.float32)


def segment_files(model: Model, paths, out, options: SegmentationOptions | None = None, reporter: Reporter | None = None) -> dict:
    """Segment images and write the results of each.

    `out` receives probability/NAME.png (8-bit, 255 = certain), mask/NAME.png (0
    or 255), instances/NAME.png (16-bit; .tif beyond 65,535 particles),
    overlay/NAME.png, particles/NAME.csv, histogram/NAME.png, and
    segmentation.json. NAME is the image's name without its suffix; of several
    with the same, the second gets NAME-2 and so on, also when it comes in a
    later call; a file that was only moved keeps its name.

    Parameters
    ----------
    model : Model
    paths : list of path-like
        Images and folders of images.
    out : path-like
        Folder of the results; existing files are replaced one by one.
    options : SegmentationOptions, optional
    reporter : Reporter, optional

    Returns
    -------
    dict
        What segmentation.json holds.

    Raises
    ------
    NanosynthError
        At the end, if some images could not be segmented; the others are done then.
    """
    options, reporter, out = options or SegmentationOptions(), reporter or Reporter(), Path(out)
    images, missing = _there(paths)
    scales = ScaleFile(options.scale_file) if options.scale_file else None
    if scales:
        scales.refuse_strangers(images)
    record = {
        "versions": {"nanosynth": __version__, "python": platform.python_version(), **model.software},
        "model": model.provenance,
        "training": {"settings": to_dict(model.settings), "diameter_px": list(model.diameter_px), "nm_per_px": model.nm_per_px},
        "images": [],
    }
    entries = {entry["name"]: entry for entry in _former(out, record, reporter)}
    names = _names(images, entries)

    def keep_record():
        write_json(out / "segmentation.json", {**record, "images": list(entries.values())})

    keep_record()  # a folder that cannot be written to is told before the work
    failed = [Path(path).name for path, _ in missing]
    for path, error in missing:
        reporter.error(error.message, error.remedy, image=str(path))
        if Path(path).stem not in {*names, *entries}:
            entries[Path(path).stem] = {"name": Path(path).stem, "image": str(Path(path).resolve()), "error": str(error)}
    reporter.started("segment", text=f"Segmenting {len(images)} image{'s' * (len(images) != 1)}", images=len(images))
    clock = Clock(len(images))
    for number_done, (path, name) in enumerate(zip(images, names, strict=True)):

        def progress(share, before=number_done, path=path):
            done = before + 0.9 * share
            reporter.progress(done, len(images), path.name, clock.seconds_left(done))

        begun = time.monotonic()
        try:
            made_of = {"sha256": sha256(path), "options": to_dict(options)}
            if scales:
                made_of["scale_file_says"] = scales.of(path)
            if _finished(entries.get(name), made_of, out):
                if entries[name]["image"] != str(path.resolve()):  # it was moved
                    entries[name]["image"] = str(path.resolve())
                    keep_record()
                reporter.progress(number_done + 1, len(images), f"{path.name}, finished before", clock.seconds_left(number_done + 1))
                continue
            stated = (scales.of(path) if scales else None) or options.nm_per_px or None
            micrograph = read_micrograph(path, nm_per_px=stated, bar_nm=options.scale_bar_nm or None, crop_bottom=options.crop)
            if scales and stated:
                micrograph = replace(micrograph, scale_source=scales.source)
            elif scales:
                micrograph = replace(micrograph, notes=(*micrograph.notes, f"{scales.path.name} has no scale for it"))
            found = segment(model, micrograph, options, progress=progress)
        except NanosynthError as error:
            failed.append(path.name)
            message = error.message if path.name in error.message else f"{path.name}: {error.message}"
            reporter.error(message, error.remedy, image=str(path))
            entries[name] = {"name": name, "image": str(path.resolve()), "error": f"{message} {error.remedy}".rstrip()}
            keep_record()
            continue
        for message in found.warnings:
            reporter.warning(f"{path.name}: {message}.", image=str(path))
        files = _write(out, name, micrograph, found, reporter)
        seconds = round(time.monotonic() - begun, 2)
        entries[name] = {**_entry(name, micrograph, found, files, seconds), **made_of}
        keep_record()
        reporter.progress(number_done + 1, len(images), path.name, clock.seconds_left(number_done + 1))
    record["images"] = list(entries.values())
    reporter.artifact(out / "segmentation.json", "segmentation")
    if failed:
        tried = len(images) + len(missing)
        kept = f"; the results of the others are in {out}" if len(failed) < tried else ""
        raise NanosynthError(
            f"{len(failed)} of {tried} image{'s' * (tried != 1)} could not be segmented: {', '.join(failed)}.",
            f"See the message{'s' * (len(failed) != 1)} above{kept}.",
        )
    now = [entries[name] for name in names]
    particles = sum(entry["particles"] for entry in now)
    text = f"{particles} particle{'s' * (particles != 1)} in {len(images)} image{'s' * (len(images) != 1)}; the results are in {out}."
    if not all(entry["nm_per_px"] for entry in now):
        text += " Where the scale is not known sizes are in px; --nm-per-px or --scale-file states it, 'nanosynth scale' measures scale bars."
    reporter.done(out=str(out), images=len(images), particles=particles, text=text)
    return record


def _there(paths):
    """The images among `paths`, and those paths that hold none, with what is said of each; raises if that is all of them."""
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    images, missing = [], []
    for path in paths:
        try:
            images += list_images([path])
        except NanosynthError as error:
            missing.append((path, error))
    if missing and not images:
        raise missing[0][1]
    return list(dict.fromkeys(images)) or list_images(paths), missing


def _former(out, record, reporter) -> list[dict]:
    """The entries of an earlier call for the same folder, which are kept if they come from the same model and version."""
    path = out / "segmentation.json"
    if not path.is_file():
        return []
    former, now = read_json(path), json.loads(json.dumps(record))
    if any(former.get(key) != now[key] for key in ("versions", "model")):
        reporter.warning(f"{out}: its earlier results are of another model or version and are no longer listed.", "Use a folder for each.")
        return []
    return former["images"]


def _finished(entry, made_of, out) -> bool:
    """Whether an earlier call has made these very results, and all their files are there."""
    same = entry is not None and "files" in entry and all(entry.get(key) == value for key, value in made_of.items())
    return same and all((out / file).is_file() for file in entry["files"].values())


def _names(images, entries) -> list[str]:
    """Names for the results: those that earlier calls gave to these images, and for new ones such as are free."""
    by_path = {entry["image"]: name for name, entry in entries.items()}
    gone = [entry for entry in entries.values() if "sha256" in entry and not Path(entry["image"]).exists()]
    known = []
    for path in images:
        name = by_path.get(str(path.resolve()))
        for entry in gone:
            if name is None and Path(entry["image"]).name == path.name and entry["name"] not in known and _has(path, entry["sha256"]):
                name = entry["name"]
        known.append(name)
    new = iter(output_names([path for path, name in zip(images, known, strict=True) if name is None], used=entries))
    return [name or next(new) for name in known]


def _has(path, content):
    try:
        return sha256(path) == content
    except NanosynthError:  # it cannot be read, which is told when its turn comes
        return False


def output_names(images, used=()) -> list[str]:
    """A name for the results of each image: its stem, numbered from the second of the same stem on (capitals do not matter).

    Parameters
    ----------
    images : list of path-like
    used : iterable of str
        Names that others have.
    """
    stems = [Path(image).stem for image in images]
    used, names = {name.casefold() for name in used}, []
    taken = {stem.casefold() for stem in stems} | used
    for stem in stems:
        name, count = stem, 1
        while name.casefold() in used or (count > 1 and name.casefold() in taken):
            count += 1
            name = f"{stem}-{count}"
        used.add(name.casefold())
        names.append(name)
    return names


def _write(out, name, micrograph, found, reporter):
    nm = micrograph.nm_per_px
    places = {role: out / role / f"{name}.png" for role in ("probability", "mask", "instances", "overlay", "histogram")}
    places["particles"] = out / "particles" / f"{name}.csv"
    write_grey(places["probability"], np.round(found.probability * 255).astype(np.uint8), nm_per_px=nm)
    write_grey(places["mask"], found.mask.astype(np.uint8) * 255, nm_per_px=nm)
    places["instances"] = write_labels(places["instances"], found.labels, nm_per_px=nm)
    whole = read_micrograph(micrograph.path, crop_bottom=0).pixels if micrograph.banner_px else micrograph.pixels
    write_grey(places["overlay"], overlay(whole, found.labels), nm_per_px=nm)
    write_table(places["particles"], found.table, nm_per_px=nm, scale_source=micrograph.scale_source)
    size_histogram(places["histogram"], found.table, title=micrograph.path.name)
    for role, path in places.items():
        reporter.artifact(path, role, image=str(micrograph.path))
    return {role: path.relative_to(out).as_posix() for role, path in places.items()}


def _entry(name, micrograph, found, files, seconds):
    return {
        "name": name,
        "image": str(Path(micrograph.path).resolve()),
        "particles": int(found.labels.max(initial=0)),
        "nm_per_px": micrograph.nm_per_px,
        "nm_per_px_source": micrograph.scale_source,
        "banner_px": micrograph.banner_px,
        "scale": asdict(found.scale),
        "warnings": found.warnings,
        "seconds": seconds,
        "files": files,
    }
