#!/usr/bin/env python3
"""Makes docs/gallery.md: for each material real beside synthetic beside label.

    python3 tools/gallery.py
    python3 tools/gallery.py --dataset tio2=DATASET     take the scenes of a data set instead of rendering

The scenes are the first ones of each preset, whatever they look like. Real
images in docs/ are the silica ones that the project ships. With the folder of
development images in NANOSYNTH_DATA, a page with real images of all materials is
made too, in build/gallery/, which git ignores: these images must not be shared.

Runs itself in the project's training environment.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

import env

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "gallery"
SCENES = 3
SIDE, GAP = 440, 8

MATERIALS = {
    "sio2": {
        "title": "Silica spheres (`sio2`)",
        "shipped": ("examples/silica/spheres", ["A01-1", "B03-2", "C15-2"], 79.0),
        "development": "spheres",
        "words": "",
    },
    "tio2": {"title": "Titania agglomerates (`tio2`)", "development": "agglomerates", "words": ""},
    "ag": {"title": "Silver particles, rods and wires (`ag`)", "development": "rods", "words": ""},
}
"""Where real images are: shipped ones with their names and the particle diameter of the first in px, for the
detail at one scale; and the development set. `words` say where one can still tell real from synthetic."""

INTRODUCTION = """# Gallery

Made by `python3 tools/gallery.py`. Synthetic scenes are the first three of each
preset, not chosen by their looks. In every picture the last row is a detail, in
which the synthetic image is reduced until its particles are as large as the real ones.

"""


def label_of(path):
    return path.parent.parent / "labels" / path.name


def render(preset):
    """The first scenes of a preset, as a data set in the build folder."""
    out = BUILD / "scenes" / preset
    command = [ROOT / "nanosynth", "generate", "--recipe", preset, "--count", SCENES, "--workers", "2", "--out", out]
    subprocess.run([str(part) for part in command], check=True)
    return out


def square(image):
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def panel(image, resample):
    return square(image).resize((SIDE, SIDE), resample)


def detail(image, factor, resample):
    """The middle of an image after reducing it by a factor, one pixel a pixel."""
    from PIL import Image

    if factor < 1:
        image = image.resize((round(image.width * factor), round(image.height * factor)), resample)
    if min(image.size) < SIDE // 2:
        return panel(image, Image.Resampling.LANCZOS)
    side = SIDE // 2  # twice enlarged, so that pixels can be seen
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def sheet(out, real, dataset, real_diameter):
    """Write a picture with a column each of real images (if any), synthetic ones and labels."""
    from PIL import Image, ImageDraw, ImageFont

    from nanosynth.learn.compare import find_source
    from nanosynth.learn.images import read_micrograph

    source = find_source("synthetic", dataset)
    scenes = source.paths[:SCENES]
    factor = min(1.0, real_diameter / source.diameter_px) if real_diameter and source.diameter_px else 1.0
    columns = []
    if real:
        images = [Image.fromarray((read_micrograph(path).pixels * 255).round().astype("uint8")) for path in real]
        columns.append(("real", [panel(i, Image.Resampling.LANCZOS) for i in images] + [detail(images[0], 1, Image.Resampling.BOX)]))
    for title, files in (("synthetic", scenes), ("label", [label_of(path) for path in scenes])):
        images = [Image.open(path).convert("L") for path in files]
        columns.append((title, [panel(i, Image.Resampling.LANCZOS) for i in images] + [detail(images[0], factor, Image.Resampling.BOX)]))
    rows = max(len(panels) for _, panels in columns)
    head = 32
    picture = Image.new("L", (len(columns) * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP + head), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(22)
    for i, (title, panels) in enumerate(columns):
        draw.text((i * (SIDE + GAP), 2), title, 30, font)
        for j, tile in enumerate(panels):
            picture.paste(tile, (i * (SIDE + GAP), head + j * (SIDE + GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out, quality=86)


def page(folder, pictures, real_of, datasets):
    """Write a page and its pictures.

    Parameters
    ----------
    folder : pathlib.Path
        Where gallery.md goes.
    pictures : pathlib.Path
        Where its pictures go.
    real_of : callable
        From a material's entry to the paths of its real images and their particle diameter.
    """
    text = [INTRODUCTION]
    for name, material in MATERIALS.items():
        real, diameter = real_of(material)
        target = pictures / f"gallery_{name}.jpg"
        sheet(target, real, datasets[name], diameter)
        text.append(f"## {material['title']}\n")
        if not real:
            text.append("Real images of this material were measured against, but may not be shown here.\n")
        text.append(f"![{name}: {'real, ' if real else ''}synthetic, label]({os.path.relpath(target, folder).replace(os.sep, '/')})\n")
        text.append(material["words"] + "\n")
    (folder / "gallery.md").write_text("\n".join(text), encoding="utf-8")
    print(folder / "gallery.md")


def shipped(material):
    if "shipped" not in material:
        return [], None
    folder, names, diameter = material["shipped"]
    return [ROOT / folder / f"{name}.png" for name in names], diameter


def development(data):
    def real_of(material):
        folder = data / material["development"]
        with open(folder / "index.csv", newline="") as file:
            rows = list(csv.DictReader(file))[:SCENES]
        return [folder / "images" / f"{row['name']}.png" for row in rows], float(rows[0]["median_diameter_px"])

    return real_of


def main(argv=None):
    parser = argparse.ArgumentParser(description="Make docs/gallery.md, and a full page where NANOSYNTH_DATA is set.")
    parser.add_argument(
        "--dataset", action="append", default=[], metavar="PRESET=DATASET", help="take a data set's first scenes instead of rendering"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if not arguments.inside:
        python = env.ensure("learn")
        return subprocess.run([str(python), __file__, "--inside", *sys.argv[1:]]).returncode
    sys.path.insert(0, str(ROOT))
    import launch

    launch.load_package()
    datasets = {name: Path(path) for name, path in (item.split("=", 1) for item in arguments.dataset)}
    for name in MATERIALS:
        datasets.setdefault(name, None)
        datasets[name] = datasets[name] or render(name)
    page(ROOT / "docs", ROOT / "docs" / "images", shipped, datasets)
    if os.environ.get("NANOSYNTH_DATA"):
        page(BUILD, BUILD, development(Path(os.environ["NANOSYNTH_DATA"])), datasets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
