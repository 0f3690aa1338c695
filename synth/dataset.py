"""The data set on disk: written whole, resumable, checked when opened.

The layout is described in `docs/architecture.md`. Pairs may be written by
several processes at once; the manifest is written by one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from .. import __version__
from ..errors import NanosynthError, explained
from ..fields import to_dict, to_toml
from ..files import (
    append_line,
    mend_lines,
    read_json,
    read_lines,
    sha256,
    sweep,
    write_bytes,
    write_json,
    write_lines,
    write_text,
    written_whole,
)
from .recipe import Recipe, fingerprint, read_recipe

FORMAT = 1
KINDS = ("image", "label", "instances")
COMPRESSION = 4
"""Deflate level: noise hardly shrinks further, label images still halve from 1 to 4."""

PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
PNG_MODE = {"image": (8, 0), "label": (8, 0), "instances": (16, 0)}


class PairPaths(NamedTuple):
    """Where the three files of a pair lie."""

    image: Path
    label: Path
    instances: Path


class Problem(NamedTuple):
    """A file that is not as the manifest says."""

    index: int
    path: Path
    what: str

    def __str__(self):
        return f"{self.path}: {self.what}"


class Dataset:
    """A folder of micrographs with their labels.

    Made by `Dataset.create` (to write) or `Dataset.open` (to read).

    Attributes
    ----------
    path : pathlib.Path
    recipe : Recipe
    info : dict
        The content of `dataset.json`: format, versions, hash of the recipe.
    records : dict
        Manifest lines by scene index.
    in_nm : bool
        The scale of its records is in nanometres.
    """

    in_nm = True

    def __init__(self, path, recipe: Recipe, info: dict):
        self.path, self.recipe, self.info = Path(path), recipe, info
        self.records = {record["index"]: record for record in read_lines(self.path / "manifest.jsonl")}
        self.damaged: set[int] = set()

    @classmethod
    def create(cls, path, recipe: Recipe) -> Dataset:
        """Start a data set, or take up an unfinished one of the same recipe.

        Only one process at a time may do so. Leftovers of killed processes are
        removed, and files that are missing or damaged count as not made.

        Parameters
        ----------
        path : path-like
            A new or empty folder, or a data set of `recipe`.
        recipe : Recipe
            A larger `count` than before extends the data set.

        Raises
        ------
        NanosynthError
            If the folder holds something else, or was made from another recipe
            or by another version.
        """
        path = Path(path)
        refuse_foreign(path)
        info = {"format": FORMAT, "nanosynth": __version__, "blender": None, "recipe": fingerprint(recipe)}
        if (path / "dataset.json").exists():
            dataset = cls.open(path, check=False)
            dataset.refuse_recipe(recipe)
            dataset.refuse_version("Nanosynth", info["nanosynth"])
            for folder in (path, *dataset.folders()):
                sweep(folder)
            mend_lines(path / "manifest.jsonl")
            dataset.damaged = {problem.index for problem in dataset.check(deep=True)}
            if recipe.count > dataset.recipe.count:
                dataset.recipe.count = recipe.count
                write_text(path / "recipe.toml", to_toml(with_meshes(dataset.recipe, path)))
            return dataset
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
        sweep(path)
        write_text(path / "recipe.toml", to_toml(with_meshes(recipe, path)))
        write_json(path / "dataset.json", info)  # last: it makes the folder a data set
        return cls.open(path, check=False)

    @classmethod
    def open(cls, path, *, check: bool = True) -> Dataset:
        """Open a data set to read it.

        Parameters
        ----------
        path : path-like
        check : bool
            Look at every file's existence, header and end, and refuse a data
            set that misses one.

        Raises
        ------
        NanosynthError
            If the folder is no data set, comes from a newer Nanosynth, does not
            fit its own recipe, or (with `check`) a file is missing or damaged.
        """
        path = Path(path)
        if not (path / "dataset.json").is_file():
            raise NanosynthError(f"{path}: not a data set (it has no dataset.json).", "Name the folder that `generate --out` wrote.")
        info = read_json(path / "dataset.json")
        if not isinstance(info, dict) or not isinstance(info.get("format"), int):
            raise NanosynthError(f"{path / 'dataset.json'}: the format version is missing.", "Restore the file or make the data set again.")
        if info["format"] > FORMAT:
            raise NanosynthError(
                f"{path}: a data set of format {info['format']}, made by Nanosynth {info.get('nanosynth')}; this is {__version__}, which reads up to format {FORMAT}.",
                "Update Nanosynth.",
            )
        recipe = read_recipe(path / "recipe.toml")
        if fingerprint(recipe) != info.get("recipe"):
            raise NanosynthError(
                f"{path / 'recipe.toml'}: not the recipe this data set was made from (their hashes differ).",
                "Undo the change, or generate into another folder.",
            )
        dataset = cls(path, recipe, info)
        if check:
            problems = dataset.check()
            if problems:
                more = f" ({len(problems)} files in all)" if len(problems) > 1 else ""
                raise NanosynthError(f"{problems[0]}{more}.", f"Run `generate --recipe {path / 'recipe.toml'} --out {path}` to make it again.")
        return dataset

    def refuse_recipe(self, recipe: Recipe):
        """Raise if this data set was made from another recipe; the first difference is named."""
        if self.info["recipe"] == fingerprint(recipe):
            return
        here, there = flat(to_dict(recipe)), flat(to_dict(self.recipe))
        keys = [k for k in {**here, **there} if k != "count" and not k.endswith(".mesh") and here.get(k) != there.get(k)]
        what = f"{keys[0]} is {there.get(keys[0])} there and {here.get(keys[0])} here" if keys else "a template's mesh differs"
        raise NanosynthError(
            f"{self.path}: holds a data set of another recipe ({what}).", f"Choose another folder, or use {self.path / 'recipe.toml'}."
        )

    def refuse_version(self, program: str, version: str):
        """Raise if this data set was made with another version of a program."""
        made_with = self.info[program.lower()]
        if made_with not in (None, version):
            raise NanosynthError(
                f"{self.path}: made with {program} {made_with}; this is {program} {version}, and one data set cannot mix them.",
                f"Use {program} {made_with}, or choose another folder.",
            )

    def made_with(self, blender: str):
        """Note the version of the Blender that renders; refuse to mix two."""
        self.refuse_version("Blender", blender)
        if self.info["blender"] is None:
            self.info["blender"] = blender
            write_json(self.path / "dataset.json", self.info)

    def folders(self):
        return [self.path / name for name in ("images", "labels", "instances")]

    def paths(self, index: int) -> PairPaths:
        """Paths of the pair of scene `index`, whether made or not."""
        return PairPaths(*(folder / f"{index:06d}.png" for folder in self.folders()))

    def finished(self) -> set[int]:
        """Indices of the pairs that are made and, as far as checked, whole."""
        return set(self.records) - self.damaged

    def read(self, index: int):
        """Read a pair.

        Returns
        -------
        image : array (N, N) of uint8
        label : array (N, N) of uint8, 0 or 255
        instances : array (N, N) of uint16
        """
        return tuple(read_png(path) for path in self.paths(index))

    def ignored(self, index: int) -> None:
        """Where the labels of a pair are not known: nowhere. (Annotated micrographs have such places.)"""

    def described(self) -> str:
        """The recipe as TOML, for the record of a training."""
        return to_toml(self.recipe)

    def write_pair(self, pair) -> dict:
        """Write the three files of a pair; the manifest is left to `append`.

        Parameters
        ----------
        pair : object
            With `image` uint8 (N, N), `label` uint8 (N, N) of 0 and 255,
            `instances` uint16 (N, N) and `record`, a dict.

        Returns
        -------
        dict
            The record with the files' `sha256`.
        """
        hashes = {}
        for kind, path in zip(KINDS, self.paths(pair.record["index"]), strict=True):
            data = png(getattr(pair, kind), pair.record["nm_per_pixel"])
            write_bytes(path, data)
            hashes[kind] = hashlib.sha256(data).hexdigest()
        return {**pair.record, "sha256": hashes}

    def append(self, record: dict):
        """Count a pair whose files are written as finished."""
        append_line(self.path / "manifest.jsonl", record)
        self.records[record["index"]] = record
        self.damaged.discard(record["index"])

    def tidy(self):
        """Write the manifest in the order of the scenes, one line each, so that data sets compare."""
        write_lines(self.path / "manifest.jsonl", [self.records[index] for index in sorted(self.records)])

    def check(self, deep: bool = False, indices: Iterable[int] | None = None) -> list[Problem]:
        """Compare the files with the manifest.

        Parameters
        ----------
        deep : bool
            Compare every file's SHA-256, instead of its existence, header and end.
        indices : iterable of int, optional
            Scenes to look at; all by default.

        Returns
        -------
        list of Problem
        """
        problems = []
        for index in sorted(self.records if indices is None else indices):
            for kind, path in zip(KINDS, self.paths(index), strict=True):
                what = self._fault(index, kind, path, deep)
                if what:
                    problems.append(Problem(index, path, what))
        return problems

    def _fault(self, index, kind, path, deep):
        if not path.is_file():
            return "missing"
        if deep:
            return "" if sha256(path) == self.records[index]["sha256"][kind] else "damaged (its SHA-256 is not the manifest's)"
        with explained(path), open(path, "rb") as file:
            head = file.read(26)
            file.seek(max(path.stat().st_size - len(PNG_END), 0))
            tail = file.read()
        side = self.recipe.camera.image_px.to_bytes(4, "big")
        if head[:24] != b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + side + side or tuple(head[24:]) != PNG_MODE[kind]:
            return f"damaged (not a {PNG_MODE[kind][0]}-bit grey PNG of {self.recipe.camera.image_px} pixels)"
        return "" if tail == PNG_END else "damaged (cut off)"


def refuse_foreign(path: Path):
    """Raise if the folder `path` holds anything that no interrupted `create` leaves."""
    if (path / "dataset.json").exists() or not path.exists():
        return
    with explained(path):
        names = sorted(entry.name for entry in path.iterdir())
    for name in names:
        if name not in ("recipe.toml", "meshes") and not name.startswith("."):
            raise NanosynthError(f"{path}: the folder holds something else ({name}).", "Choose a new or empty folder.")


def flat(tree, prefix="") -> dict:
    """The leaves of nested dicts and lists by dotted name."""
    if not isinstance(tree, (dict, list)):
        return {prefix: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()}


def with_meshes(recipe: Recipe, path: Path) -> Recipe:
    """Copy the recipe's own meshes into the data set, so that it can be moved.

    Returns
    -------
    Recipe
        With the meshes' paths relative to `path`.
    """
    templates = []
    for template in recipe.templates:
        if template.mesh:
            source = Path(template.mesh)
            copy = Path("meshes") / f"{sha256(source)[:12]}{source.suffix}"
            with written_whole(path / copy) as temporary:
                shutil.copyfile(source, temporary)
            template = dataclasses.replace(template, mesh=copy.as_posix())
        templates.append(template)
    return dataclasses.replace(recipe, templates=templates)


def png(pixels: np.ndarray, nm_per_pixel: float) -> bytes:
    """Encode a grey image, with its scale as text and, if it fits, as pHYs.

    Parameters
    ----------
    pixels : array (H, W) of uint8 or uint16
    nm_per_pixel : float
    """
    text = PngImagePlugin.PngInfo()
    text.add_text("nm_per_pixel", repr(float(nm_per_pixel)))
    options = {}
    per_metre = round(1e9 / nm_per_pixel)
    if per_metre < 2**31:  # PNG's largest number: pixels of 0.47 nm and more
        options["dpi"] = (per_metre * 0.0254,) * 2
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=COMPRESSION, pnginfo=text, **options)
    return buffer.getvalue()


def read_png(path) -> np.ndarray:
    """Read a grey PNG as uint8 or uint16 (H, W); a damaged one is named."""
    try:
        with explained(path), Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise NanosynthError(f"{path}: not a readable image ({error}).", "Run `generate` on its data set again to make it anew.") from error
    return pixels.astype(np.uint16) if pixels.dtype.itemsize > 1 else pixels
