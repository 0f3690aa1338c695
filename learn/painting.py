"""The window's pictures of a training and of a result.

Made in a process that stays alive beside Blender, so that the window never
waits; a script gets the same from `Painter.answer` in place. An answer is a
picture with what is told beside it, a coarse one first where that is sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..errors import NanosynthError
from ..files import read_json, read_lines, write_text
from .images import read_labels, read_micrograph, write_grey, write_labels
from .particles import measure, table_text
from .pictures import EDGE_PX, PALETTE, bins, colours, stretched
from .scale import resize
from .tuning import Stored, open_stored, reduced
from .validation import GAP_PX

FAST_PX = 640
"""Longest side of the first answer to a slider."""
KINDS = ("overlay", "outlines", "instances", "mask", "probability", "histogram")
BACK, INK, FAINT = (29, 29, 29), (230, 230, 230), (96, 96, 96)
BLUE, RED, GOLD = (82, 148, 226), (226, 92, 82), (255, 200, 60)
TINT = 0.35
TILE_PX, TILES = 300, 48
"""Largest width of a picture in the gallery, and how many it shows at most."""
ROOM = (1204, 800)
"""Width and height of what is composed here where nobody says how large it is shown. Whatever does not fit an editor
pixel by pixel loses rows of its letters there."""
PLOT_PX = (256, 200)
"""Size of the small plots in the panels, which say in words what a large one has as a heading."""


@dataclass
class Answer:
    """What the painter says to a request.

    Attributes
    ----------
    picture : ndarray (H, W, 3), uint8
    facts : dict
        JSON-serialisable: `final` (nothing better follows) and, by request, `count`, `particle`, `text`.
    plot : ndarray (h, w, 3), uint8, or None
        A small plot for the panel.
    """

    picture: np.ndarray | None
    facts: dict = field(default_factory=dict)
    plot: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the picture."""
        return None if self.picture is None else self.picture.shape[1::-1]


class Painter:
    """Answers requests, and keeps what the last ones needed: images read, particles found, small pictures."""

    def __init__(self):
        self.opened = self.found = None
        self.tiles: dict = {}

    def answer(self, request: dict):
        """Yield the answers to a request, the last one final.

        Parameters
        ----------
        request : dict
            `what`: "result", "export", "epoch", "gallery" or "training", and what the method of that name takes.
        """
        yield from getattr(self, f"_{request['what']}")(**{k: v for k, v in request.items() if k not in ("what", "number")})

    # A result

    def _open(self, folder, name) -> tuple[Stored, dict]:
        stamp = (folder, name, (Path(folder) / "segmentation.json").stat().st_mtime_ns)
        if self.opened is None or self.opened[0] != stamp:
            entry = next((e for e in read_json(Path(folder) / "segmentation.json")["images"] if e["name"] == name and "files" in e), None)
            if entry is None:
                raise NanosynthError(f"{folder}: there is no result {name}.", "Segment the image again.")
            stored = open_stored(folder, entry)
            grey = stretched(stored.micrograph.pixels)
            if entry["banner_px"]:
                grey = np.concatenate([grey, read_micrograph(entry["image"], crop_bottom=0).pixels[len(grey) :]])
            self.opened, self.found = (stamp, stored, entry, grey), None
        return self.opened[1], self.opened[2]

    def _key(self, values, longest_px):
        return self.opened[0], None if values is None else tuple(sorted(values.items())), longest_px

    def labels(self, folder, name, values, longest_px=None) -> np.ndarray:
        """The particles of a result: as segmented, or with these values of the sliders.

        Parameters
        ----------
        values : dict or None
            Arguments of `Stored.separate`; None for what `segment` wrote.
        longest_px : int, optional
            Answer in an image of this size at most.
        """
        stored, entry = self._open(folder, name)
        key = self._key(values, longest_px)
        if self.found is None or self.found[0] != key:
            if values is None:
                labels = read_labels(Path(folder) / entry["files"]["instances"])[: stored.probability.shape[0]]
            else:
                labels = stored.separate(**values, longest_px=longest_px)
            # What only the colours and the opacity need not make anew.
            rows = round(self.opened[3].shape[0] * labels.shape[0] / stored.probability.shape[0])  # with the banner
            self.found = (key, labels, PALETTE[colours(labels)], _outlines(labels), resize(self.opened[3], (rows, labels.shape[1])))
        return self.found[1]

    def _result(self, folder, name, values=None, shown="overlay", opacity=1.0, pick=None, longest_px=None, room=ROOM):
        """What was found in an image, over it.

        Parameters
        ----------
        folder, name : str
            The folder that `segment` wrote, the image's name there.
        values : dict or None
            See `labels`.
        shown : str
            One of `KINDS`.
        opacity : float
            0 shows the micrograph alone.
        pick : pair of int, optional
            A pixel (column, row from the top): its particle is marked and measured.
        longest_px : int, optional
            Answer coarsely only.
        room : pair of int
            Width and height of the place where it is shown, as everywhere here: plots and words are drawn for it.
        """
        if shown not in KINDS:
            raise NanosynthError(f"There is no picture {shown!r}.", f"Use {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
        stored, _ = self._open(folder, name)
        nm, shape = stored.micrograph.nm_per_px, stored.probability.shape
        whole = self.found is not None and self.found[0] == self._key(values, None)  # only colours or opacity have changed
        large = not longest_px and max(shape) > FAST_PX
        if large and (whole or values is not None):
            sides = [FAST_PX, None]
        else:
            sides = [longest_px]
        for side in sides:
            coarse = side is not None and not whole
            labels = self.labels(folder, name, values, side if coarse else None)
            thinned = reduced(shape, side) if side and whole and side < max(shape) else None
            share = labels.shape[0] / shape[0]
            table = sizes_of(labels, nm, share)
            label = 0 if pick is None else label_at(labels, pick[0] * share, pick[1] * share)
            facts = {"final": side == sides[-1], "count": table["sizes"].size, "unit": table["unit"], "particle": None}
            facts["whole"] = table["whole"].size
            facts["median"] = float(np.median(table["whole"])) if table["sizes"].size else None
            if label and not coarse and thinned is None:
                facts["particle"] = measure_one(labels, label, stored.micrograph.pixels, stored.probability, nm)
            if shown == "histogram":
                picture = histogram(table, room)
            else:
                picture = self._blend(shown, stored, opacity, label, thinned)
            yield Answer(picture, facts, histogram(table, PLOT_PX))

    def _blend(self, shown, stored, opacity, label, thinned=None):
        """The picture of a result; `thinned` is its height, without the banner, and width if only some of its pixels are wanted."""
        _, labels, palette, outline, grey = self.found
        probability = resize(stored.probability, labels.shape) if shown == "probability" else labels
        below = ((0, grey.shape[0] - labels.shape[0]), (0, 0))  # the banner
        arrays = [grey, *(np.pad(array, below) for array in (labels, outline, probability))]
        if thinned:  # as large as what is found anew in a smaller image, banner included
            sides = round(grey.shape[0] * thinned[0] / self.found[1].shape[0]), thinned[1]
            taken = np.ix_(*((2 * np.arange(side) + 1) * whole // (2 * side) for side, whole in zip(sides, grey.shape)))
            arrays = [array[taken] for array in arrays]
        grey, labels, outline, probability = arrays
        cover = np.float32(1.0)
        if shown == "mask":
            colour = np.where(labels[..., None] > 0, np.float32(255), np.float32(0))
        elif shown == "probability":
            colour = np.clip(probability, 0, 1)[..., None] * np.float32(255)
        elif shown == "instances":
            colour = np.where(labels[..., None] > 0, palette[labels], np.float32(0))
        else:
            # Of a tint the darker parts are kept dark, so that the micrograph's relief shows through it.
            tint = palette[labels]
            colour = np.where(outline[..., None], tint, tint * (0.35 + 0.65 * grey[..., None])) if shown == "overlay" else tint
            cover = np.where(outline, np.float32(1), np.where(labels > 0, np.float32(TINT if shown == "overlay" else 0), np.float32(0)))[
                ..., None
            ]
        weight = cover * np.float32(opacity)
        picture = np.zeros((*grey.shape, 3), np.float32)
        picture += grey[..., None] * (255 * (1 - weight)) + colour * weight
        if label:
            own = labels == label
            rim = ndimage.binary_dilation(own, iterations=max(2, round(min(labels.shape) / 400))) & ~own
            picture[rim] = 255
        return np.round(picture).clip(0, 255).astype(np.uint8)

    def _export(self, folder, name, values, directory):
        """Write table, mask, label image and picture of a result."""
        stored, entry = self._open(folder, name)
        labels, nm, directory = self.labels(folder, name, values), stored.micrograph.nm_per_px, Path(directory)
        whole = np.pad(labels, ((0, entry["banner_px"]), (0, 0)))  # as large as the image
        write_grey(directory / f"{name}_mask.png", np.where(whole > 0, 255, 0).astype(np.uint8), nm_per_px=nm)
        write_grey(directory / f"{name}_particles.png", self._blend("overlay", stored, 1.0, 0), nm_per_px=nm)
        write_labels(directory / f"{name}_instances.png", whole, nm_per_px=nm)
        table = measure(labels, stored.micrograph.pixels, probability=stored.probability, nm_per_px=nm)
        write_text(directory / f"{name}.csv", table_text(table, nm_per_px=nm, scale_source=entry["nm_per_px_source"]))
        write_grey(directory / f"{name}_sizes.png", histogram(sizes_of(labels, nm), ROOM))
        yield Answer(None, {"final": True, "text": f"{labels.max(initial=0)} particles of {name} are in {directory}"})

    # A training

    def _epoch(self, run, epoch, image="", opacity=1.0, marks=(), room=ROOM):
        """What the network of an epoch sees in a real image: its probability, and the particles, over the micrograph.

        Parameters
        ----------
        run : str
        epoch : int
        image : str
            Name of the validation image; of another name the first one is taken.
        opacity : float
        marks : sequence of str
            Words beside the epoch's number.
        """
        parts = _parts(_picture(run, epoch, image))
        lines = read_lines(Path(run) / "history.jsonl")
        line = next((line for line in lines if line["epoch"] == epoch), {})
        words = [f"Epoch {epoch}", *(f"{word} {line[key]:{digits}}" for word, key, digits in SCORED if line.get(key) is not None), *marks]
        if parts is None:
            body = np.full((ROOM[1] // 2, ROOM[0], 3), BACK, np.uint8)
        else:
            grey, probability, outlined = (part.astype(np.float32) for part in parts)
            seen = [np.round(grey + (over - grey) * opacity).astype(np.uint8) for over in (probability, outlined)]
            gap = np.full((len(grey), GAP_PX, 3), BACK, np.uint8)
            body = np.concatenate([seen[0], gap, seen[1]], 1)
        yield Answer(headed("     ".join(words), body, room), {"final": True})

    def _gallery(self, run, epoch, image="", favourites=(), chosen=None, room=ROOM):
        """The probabilities of all epochs side by side; that of `epoch` framed."""
        lines = read_lines(Path(run) / "history.jsonl")
        keep = {epoch, chosen, *favourites}
        step = -(-len(lines) // TILES)
        shown = [line for number, line in enumerate(lines) if number % step == 0 or line["epoch"] in keep or number == len(lines) - 1]
        like = self._tile(run, epoch, image, TILE_PX)
        line_px = letter_px(room) * 3 // 2
        columns, width = _grid(len(shown), like.shape[0] / TILE_PX, line_px, room)
        tiles = []
        for line in shown:
            tile = self._tile(run, line["epoch"], image, width).copy()
            frame = BLUE if line["epoch"] == epoch else GOLD if line["epoch"] in favourites else None
            if frame:
                tile[:3], tile[-3:], tile[:, :3], tile[:, -3:] = frame, frame, frame, frame
            score = "" if line.get("f1") is None else f"  F1 {line['f1']:.3f}"
            words = f"{line['epoch']}" + ("  in use" if line["epoch"] == chosen else score)
            tiles.append(np.concatenate([tile, caption(words, width, line_px, GOLD if line["epoch"] in favourites else INK)]))
        height = max(len(tile) for tile in tiles)
        sides = -(-len(tiles) // columns) * (height + GUTTER_PX) + GUTTER_PX, columns * (width + GUTTER_PX) + GUTTER_PX
        sheet = np.full((max(sides[0], room[1]), max(sides[1], room[0]), 3), BACK, np.uint8)
        for number, tile in enumerate(tiles):
            y, x = (GUTTER_PX + at * (side + GUTTER_PX) for at, side in zip(divmod(number, columns), (height, width)))
            sheet[y : y + len(tile), x : x + tile.shape[1]] = tile
        yield Answer(sheet, {"final": True})

    def _tile(self, run, epoch, image, width):
        path = _picture(run, epoch, image)
        key = (str(path), path.stat().st_mtime_ns if path else epoch, width)
        if key not in self.tiles:
            parts = _parts(path)
            if parts is None:
                self.tiles[key] = np.full((width, width, 3), (45, 45, 45), np.uint8)
            else:
                height = max(1, round(parts[1].shape[0] * width / parts[1].shape[1]))
                self.tiles[key] = np.asarray(Image.fromarray(parts[1]).resize((width, height), Image.Resampling.BOX))
        return self.tiles[key]

    def _training(self, run, image="", room=ROOM):
        """The loss so far, and below it the newest picture of a validation image."""
        lines = read_lines(Path(run) / "history.jsonl")
        newest = next((path for line in reversed(lines) if (path := _picture(run, line["epoch"], image))), None)
        if newest:
            parts, gap = _parts(newest), 3 * GAP_PX
            width = (room[0] - 2 * gap) // 3
            below = np.full((round(parts[0].shape[0] * width / parts[0].shape[1]), room[0], 3), BACK, np.uint8)
            for number, part in enumerate(parts):
                below[:, number * (width + gap) :][:, :width] = Image.fromarray(part).resize((width, len(below)), Image.Resampling.BOX)
            words = caption(f"Epoch {int(newest.stem.partition('_')[0])}: micrograph, probability, particles", room[0], letter_px(room) * 3 // 2)
            height = max(room[1] - len(words) - len(below), room[1] // 3)
            picture = np.concatenate([loss_curve(lines, (room[0], height)), words, below])
        else:
            picture = loss_curve(lines, room)
        yield Answer(picture, {"final": True}, loss_curve(lines, PLOT_PX))


GUTTER_PX = 6
"""Between the pictures of the gallery."""


def _grid(count, steep, line_px, room) -> tuple[int, int]:
    """Columns and width of so many pictures that they are as large as they can be in a room, each over a line of words.

    Parameters
    ----------
    count : int
    steep : float
        Their height, in widths.
    line_px : int
    room : pair of int
    """
    widths = {}
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        by_height = ((room[1] - GUTTER_PX) // rows - GUTTER_PX - line_px) / steep
        widths[columns] = int(min((room[0] - GUTTER_PX) // columns - GUTTER_PX, by_height, TILE_PX))
    columns = max(widths, key=lambda columns: (widths[columns], -columns))
    return columns, max(widths[columns], 24)


SCORED = (("loss", "loss", ".4g"), ("F1", "f1", ".3f"), ("F1 of the particles", "instance_f1", ".3f"))


def label_at(labels, x: float, y: float) -> int:
    """The label at a place in px; 0 outside."""
    inside = 0 <= x < labels.shape[1] and 0 <= y < labels.shape[0]
    return int(labels[int(y), int(x)]) if inside else 0


def measure_one(labels, label, pixels=None, probability=None, nm_per_px=None) -> dict:
    """The measures of one particle: its row of `particles.measure`, without measuring the others.

    Parameters
    ----------
    labels : ndarray (H, W), int
    label : int
    pixels, probability : ndarray (H, W), optional
    nm_per_px : float, optional

    Returns
    -------
    dict of column to str, int, float, bool or None
        None for what is not known or has no meaning; JSON-serialisable.
    """
    rows, columns = np.nonzero(labels == label)
    margin = 4  # so that what touches it is seen, and only the image's own border cuts it
    top, left = max(rows.min() - margin, 0), max(columns.min() - margin, 0)
    window = (slice(top, rows.max() + margin + 1), slice(left, columns.max() + margin + 1))
    crop = [None if array is None else array[window] for array in (pixels, probability)]
    table = measure(labels[window], crop[0], probability=crop[1], nm_per_px=nm_per_px)
    at = int(np.flatnonzero(table["label"] == label)[0])
    row = {name: column[at] for name, column in table.items()}
    for name, first in (("x", left), ("y", top)):
        row[f"{name}_px"] += first
        row[f"{name}_nm"] = row[f"{name}_px"] * nm_per_px if nm_per_px else np.nan
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in plain.items()}


def sizes_of(labels, nm_per_px=None, share: float = 1.0) -> dict:
    """Equivalent circular diameters of the particles, those cut by the border left out unless there are no others.

    Parameters
    ----------
    labels : ndarray (H, W), int
    nm_per_px : float, optional
    share : float
        Pixels of `labels` per pixel that is meant, where they are fewer.

    Returns
    -------
    dict
        `sizes` (of all), `whole` (those not cut), `unit`.
    """
    area = np.bincount(labels.ravel())[1:]
    cut = np.zeros(area.size + 1, dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        cut[side] = True
    diameter = np.sqrt(4 * area / np.pi) / share * (nm_per_px or 1)
    present = area > 0
    whole = diameter[present & ~cut[1:]]
    return {"sizes": diameter[present], "whole": whole if whole.size else diameter[present], "unit": "nm" if nm_per_px else "px"}


def _outlines(labels):
    """The pixels beside a border of a particle, in a width that suits the image."""
    thickness = max(1, round(min(labels.shape) / 700))
    inner = ndimage.minimum_filter(labels, 2 * thickness + 1, mode="nearest")
    outer = ndimage.maximum_filter(labels, 2 * thickness + 1, mode="nearest")
    return (labels > 0) & ((inner != labels) | (outer != labels))


def _picture(run, epoch, image) -> Path | None:
    """An epoch's picture of the validation image of this name, or of the first one."""
    found = sorted((Path(run) / "validation").glob(f"{epoch:04d}_*.png"))
    return next((path for path in found if path.stem.partition("_")[2] == image), found[0] if found else None)


def _parts(path):
    """Micrograph, probability and outlined particles of a validation picture, uint8 (h, w, 3) each; None without a picture."""
    if path is None:
        return None
    try:
        with Image.open(path) as file:
            whole = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise NanosynthError(f"{path}: missing or damaged.", "Look at another epoch.") from error
    width = (whole.shape[1] - 2 * GAP_PX) // 3
    return [whole[:, i * (width + GAP_PX) :][:, :width] for i in range(3)]


# Plots, drawn twice as large and shrunk, so that lines are smooth


def letter_px(room) -> int:
    """Height of the letters in a picture of this width and height."""
    return min(26, max(13, room[0] // 42))


class _Plot:
    """A plot; `small` and `large` are the margins in a panel and, in letters, in an editor: left, right, top, bottom."""

    def __init__(self, size, small, large):
        self.size, self.scale = size, 2
        self.small = tuple(size) == PLOT_PX
        self.letter = 15 if self.small else letter_px(size)
        self.font = ImageFont.load_default(self.letter * self.scale)
        left, right, top, bottom = (m * self.scale for m in small) if self.small else (m * self.letter * self.scale for m in large)
        self.box = (left, top, size[0] * self.scale - right, size[1] * self.scale - bottom)
        self.image = Image.new("RGB", (size[0] * self.scale, size[1] * self.scale), BACK)
        self.draw = ImageDraw.Draw(self.image)

    def span(self, x, y):
        self.x, self.y = x, y

    def at(self, x, y):
        left, top, right, bottom = self.box
        return left + (x - self.x[0]) / (self.x[1] - self.x[0]) * (right - left), bottom - (y - self.y[0]) / (self.y[1] - self.y[0]) * (
            bottom - top
        )

    def ticks(self, values, along, shown=str):
        left, top, right, bottom = self.box
        for value in values:
            x, y = self.at(value if along == "x" else self.x[0], value if along == "y" else self.y[0])
            if along == "x":
                self.draw.text((x, bottom + 8 * self.scale), shown(value), INK, self.font, anchor="mt")
            else:
                self.draw.line([(left, y), (right, y)], (58, 58, 58), self.scale)
                self.draw.text((left - 8 * self.scale, y), shown(value), INK, self.font, anchor="rm")

    def words(self, place, text, colour=INK, anchor="lt"):
        self.draw.text([p * self.scale for p in place], text, colour, self.font, anchor=anchor)

    def heading(self, *parts):
        """Words in their colours one after another, from the left: in the right corner Blender has its own signs."""
        x = self.box[0]
        for text, colour in parts:
            self.draw.text((x, 0.5 * self.letter * self.scale), text, colour, self.font, anchor="lt")
            x += self.draw.textlength(text + "    ", self.font)

    def pixels(self):
        left, top, right, bottom = self.box
        self.draw.line([(left, bottom), (right, bottom)], FAINT, self.scale)
        return np.asarray(self.image.resize(self.size, Image.Resampling.BOX))


def _round_ticks(low, high, most):
    """At most about `most` round numbers between two."""
    step = (high - low) / most
    if step <= 0:
        return [low]
    power = 10.0 ** np.floor(np.log10(step))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= step * 0.999)
    return [float(f"{v:.6g}") for v in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def caption(text, width, height, colour=INK) -> np.ndarray:
    """A line of text in parts with two or more spaces between them, of which those that do not fit are left out; uint8 (height, width, 3)."""
    image = Image.new("RGB", (width, height), BACK)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(height * 2 / 3)
    while "  " in text and draw.textlength(text, font) > width - 4:
        text = text.rpartition("  ")[0].rstrip()
    draw.text((4, height / 2), text, colour, font, anchor="lm")
    return np.asarray(image)


def headed(words, picture, room) -> np.ndarray:
    """A picture under a line of words whose letters come out whole when all of it is fitted into an editor of this room.

    A small picture is enlarged to that. A large one keeps its pixels, of which Blender then leaves some out; the
    letters are enlarged by whole rows and columns, just those that are left out.
    """
    height, width = picture.shape[:2]
    line_px = letter_px(room) * 3 // 2
    zoom = min(room[0] / width, (room[1] - line_px) / height)
    if zoom >= 1:
        picture = np.asarray(Image.fromarray(picture).resize((round(width * zoom), round(height * zoom)), Image.Resampling.NEAREST))
        return np.concatenate([caption(words, picture.shape[1], line_px), picture])
    zoom = min((room[0] + 2 * EDGE_PX) / (width + 2 * EDGE_PX), (room[1] + 2 * EDGE_PX - line_px) / (height + 2 * EDGE_PX))
    line = Image.fromarray(caption(words, round(width * zoom), line_px))
    return np.concatenate([np.asarray(line.resize((width, round(line_px / zoom)), Image.Resampling.NEAREST)), picture])


def loss_curve(lines, size) -> np.ndarray:
    """Loss, and F1 where known, against the epoch.

    Parameters
    ----------
    lines : list of dict
        A run's history.
    size : pair of int
        Width and height in px.

    Returns
    -------
    ndarray (height, width, 3), uint8
    """
    plot = _Plot(size, (46, 14, 10, 28), (3.5, 4.7, 2.3, 1.9))  # at the right Blender has signs of its own
    epochs, loss = [line["epoch"] for line in lines], [line["loss"] for line in lines]
    if not lines:
        plot.words((size[0] / 2, size[1] / 2), "no epoch is finished yet", FAINT, "mm")
        plot.span((0, 1), (0, 1))
        return plot.pixels()
    top = max(loss) * 1.05 or 1.0
    plot.span((min(1, epochs[-1] - 1) if epochs[-1] == 1 else 1, max(epochs[-1], 2)), (0.0, top))
    plot.ticks(_round_ticks(0, top, 3 if plot.small else 5), "y", lambda v: f"{v:g}")
    plot.ticks([v for v in _round_ticks(1, max(epochs[-1], 2), 4 if plot.small else 10) if v == int(v)], "x", lambda v: f"{v:.0f}")
    _line(plot, epochs, loss, BLUE)
    heading = [(f"Epoch {epochs[-1]}", INK), (f"loss {loss[-1]:.4f}", BLUE)]
    scored = [(line["epoch"], line["f1"]) for line in lines if line.get("f1") is not None]
    if scored:
        plot.y = (0.0, 1.0)
        _line(plot, *zip(*scored, strict=True), GOLD)
        if not plot.small:
            for value in (0.0, 0.5, 1.0):
                plot.draw.text((plot.box[2] + 8 * plot.scale, plot.at(0, value)[1]), f"{value:g}", GOLD, plot.font, anchor="lm")
        heading.append((f"F1 {scored[-1][1]:.3f}", GOLD))
    if not plot.small:
        plot.heading(*heading)
    return plot.pixels()


def _line(plot, x, y, colour):
    places = [plot.at(a, b) for a, b in zip(x, y, strict=True)]
    if len(places) > 1:
        plot.draw.line(places, colour, (2 if plot.small else 3) * plot.scale, joint="curve")
    r = (2.5 if plot.small else 4) * plot.scale
    plot.draw.ellipse([places[-1][0] - r, places[-1][1] - r, places[-1][0] + r, places[-1][1] + r], colour)


def histogram(table, size) -> np.ndarray:
    """How many particles there are of each diameter.

    Parameters
    ----------
    table : dict
        From `sizes_of`.
    size : pair of int
        Width and height in px.

    Returns
    -------
    ndarray (height, width, 3), uint8
    """
    plot = _Plot(size, (40, 14, 10, 50), (3.5, 1.2, 2.3, 3.8))
    sizes, unit = table["whole"], table["unit"]
    if not sizes.size:
        plot.words((size[0] / 2, size[1] / 2), "no particles", FAINT, "mm")
        plot.span((0, 1), (0, 1))
        return plot.pixels()
    edges = bins(sizes)
    counts = np.histogram(sizes, edges)[0]
    plot.span((0.0, float(edges[-1])), (0.0, counts.max() * 1.05))
    plot.ticks([v for v in _round_ticks(0, counts.max() * 1.05, 3 if plot.small else 5) if v == int(v)], "y", lambda v: f"{v:.0f}")
    plot.ticks(_round_ticks(0, float(edges[-1]), 4 if plot.small else 8), "x", lambda v: f"{v:g}")
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        (x0, y0), (x1, y1) = plot.at(low, count), plot.at(high, 0)
        if count:
            plot.draw.rectangle([x0 + 1, y0, x1 - 1, y1], BLUE)
    median = float(np.median(sizes))
    plot.draw.line([plot.at(median, 0), plot.at(median, counts.max() * 1.05)], RED, 2 * plot.scale)
    cut = table["sizes"].size - sizes.size
    if not plot.small:
        left_out = f", {cut} cut by the border left out" if cut else ""
        plot.heading((f"{sizes.size} particle{'s' * (sizes.size != 1)}{left_out}", INK), (f"median {median:.4g} {unit}", RED))
    name = "diameter" if plot.small else "equivalent circular diameter"
    plot.words((size[0] / 2, size[1] - 6), f"{name} / {unit}", INK, "mb")
    return plot.pixels()


def write_picture(file, pixels: np.ndarray):
    """Write a picture, uint8, as Blender's window reads it quickest: a PNG of 2048 px takes it five times as long."""
    Image.fromarray(pixels).save(file, "TIFF")


def run_painter(folder, orders, reporter):
    """Answer requests, the newest of each kind, until the parent is gone.

    Parameters
    ----------
    folder : path-like
        Where pictures are left (see `write_picture`), and plots, as NumPy files; the parent deletes them.
    orders : queue
        Of dicts: a request (see `Painter.answer`) with its `number`.
    reporter : Reporter
        Gets an `artifact` of the request's `what` as role for each answer, with its `number`, `facts` and `plot`
        (a path or None); an `error` with the `number` for a request that cannot be met.
    """
    painter = Painter()
    reporter.started("painter")
    waiting: dict[str, dict] = {}
    made = 0
    while True:
        while not waiting or not orders.empty():
            order = orders.get()
            waiting[order["what"]] = order
        order = waiting.pop(next(iter(waiting)))
        try:
            for answer in painter.answer(order):
                made += 1
                picture, plot = Path(folder, f"{made}.tif"), Path(folder, f"{made}.npy")
                if answer.picture is not None:
                    write_picture(picture, answer.picture)
                if answer.plot is not None:
                    np.save(plot, answer.plot)
                reporter.artifact(
                    picture if answer.picture is not None else "",
                    order["what"],
                    number=order["number"],
                    facts=answer.facts,
                    plot=str(plot) if answer.plot is not None else None,
                    size=answer.size,
                )
                if not orders.empty() and not answer.facts["final"]:
                    waiting = {order["what"]: order, **waiting}  # to go on with, unless a newer one of its kind has come
                    break
        except NanosynthError as error:
            reporter.error(error.message, error.remedy, number=order["number"])
        except OSError as error:
            reporter.error(
                f"{error.filename or 'a file'}: {error.strerror}.",
                "Check that the project's folder is still there.",
                number=order["number"],
            )
