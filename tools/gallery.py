#!/usr/bin/env python3
"""Makes docs/gallery.md: for each material real beside synthetic beside label.

    python3 tools/gallery.py
    python3 tools/gallery.py --dataset tio2=DATASET     take the scenes of a data set instead of rendering the preset's

The scenes are the first ones of each preset, whatever they look like, and where
there are real images also the first ones of the preset matched to these. Real
images in docs/ are the silica ones that the project ships. With the folder of
development images in NANOSYNTH_DATA, a page with real images of all materials is
made too, in build/gallery/, which git ignores: these images must not be shared.

Runs itself in the project's training environment.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import env

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "gallery"
SCENES = 3
SIDE, GAP = 440, 8
DETAIL = SIDE // 2
DIAMETER = 60
"""Typical particle diameter in px in the detail of a material without real images."""

MATERIALS = {
    "sio2": {
        "title": "Silica spheres (`sio2`)",
        "shipped": ("examples/silica/spheres", ["A01-1", "B03-2", "C15-2"], 79.0),
        "development": "spheres",
        "words": """Each matched scene has the look of one of the three micrographs, drawn at random, so rows need not correspond.
Where one can still tell after matching:

* The arrangement, at a glance. Monodisperse spheres on a real wafer pack into regular rows (third row) and heaps several layers
  deep with black gaps (second row); synthetic ones lie at random, and the substrate shines between them.
* The outline. The preset stretches its spheres by up to 12 %, and `match` leaves that alone: some synthetic ones are slightly oval.
* Necks, bridges and specks of silica between real spheres are absent.

Grey levels, rims, shading across a sphere, blur and the noise's horizontal streaks look right in the matched detail. The preset
as it is has a bright line all round, two sizes mixed and noise without direction: one look of many, meant as variety for the training.

The classifier of `compare` agrees that it can tell, less often after matching: [measurements.md](measurements.md) has its numbers.
""",
        "elsewhere": """Where one can still tell after matching:

* The marks on the substrate are of one kind and evenly strewn; real ones are crumbs and scratches, in places.
* Where real spheres touch there are necks, and they are of one size.
* Scenes are all as coarse as the typical reference, so a detail of a micrograph of another magnification does not correspond.

The rim, its brighter side, the shading across a sphere and the grain look right. The preset as it is has an even bright line all
round and mixes two sizes.
""",
    },
    "tio2": {
        "title": "Titania agglomerates (`tio2`)",
        "development": "agglomerates",
        "words": """Beside scanning electron micrographs of titania:

* The shapes. Synthetic grains are a little too smooth and whole; among real ones some are broken, rough, or long.
* Heaps. Where real grains touch some are sintered so that one cannot say where one ends; synthetic ones meet at a sharp seam.
* The substrate. Real ones are covered with faint rings and lines everywhere; here some scenes have them, some more and
  stronger ones than real images.
* Brightness. The preset draws contrasts that no operator would choose (second scene); this is meant, as variety for the
  training, and is what `match` narrows. Bright edges wider than real ones (first scene) belong to it.

How grains lie upon and behind each other, the shading of those beneath and the noise look right.
""",
        "elsewhere": """Where one can still tell after matching:

* Sizes. Now and then a grain is far larger than any real one beside it.
* The shapes. Synthetic grains are a little too smooth and whole; among real ones some are broken, long, or sintered so that one
  cannot say where one ends.
* Heaps. Real ones charge: those on top are brighter than those beneath, more than by shading.

In the detail, the rims, the marks on the substrate, grey levels and noise look right. The preset as it is draws contrasts that no
operator would choose (second row) and bright edges wider than real ones, as variety for the training.
""",
    },
    "ag": {
        "title": "Silver particles, rods and wires (`ag`)",
        "development": "rods",
        "words": """No real silver was at hand; beside electron micrographs of rods and wires of other materials:

* Rods are straight cylinders with clean ends; real ones taper, are rough, and vary along their length.
* The second scene holds rods alone, and the empty parts of the others have no residue on them.

Crossings, thickness, crisp edges and the brightness of flat and tilted faces look right.
""",
        "elsewhere": """These micrographs come from several articles and magnifications, and the wires of the preset are longer than any of
their rods. One can tell at a glance:

* The shapes. Real rods end in points or taper, are grooved and rough; synthetic ones are prisms of even width, some much longer.
* Matched scenes have the grey levels, the noise and the blur of a micrograph, but of all of them mixed: rows need not correspond.
""",
    },
}
"""Where real images are: shipped ones with their names and the particle diameter of the first in px, for the
detail at one scale; and the development set. `words` say where one can still tell real from synthetic, `elsewhere`
what differs on the page with development images."""

INTRODUCTION = """# Gallery

Made by `python3 tools/gallery.py`. Synthetic scenes are the first three, not chosen by their looks: of the preset as it is, made
to be various, and where there are real images of the preset [matched](match.md) to just these. The last row of a picture is a
detail of the first, in which the finer of real and synthetic image is reduced until particles are equally large.
[compare.md](compare.md) measures what one sees here, on images that were not matched.

"""


def label_of(path):
    return path.parent.parent / "labels" / path.name


def called(*command):
    subprocess.run([str(part) for part in (ROOT / "nanosynth", *command)], check=True)


def made_of(*files):
    """What changes where one of the files does."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def render(recipe, name):
    """The first scenes of a recipe, as a data set in the build folder."""
    out = BUILD / "scenes" / f"{name}-{made_of(*sorted((ROOT / 'synth').glob('*.py')))}"
    called("generate", "--recipe", recipe, "--count", SCENES, "--workers", "2", "--out", out)
    return out


def render_preset(preset):
    return render(preset, f"{preset}-{made_of(ROOT / 'presets' / f'{preset}.toml')}")


def render_matched(preset, real):
    """The first scenes of a preset matched to real images."""
    name = f"{preset}-matched-{made_of(ROOT / 'presets' / f'{preset}.toml', ROOT / 'learn' / 'match.py', *real)}"
    recipe = BUILD / "matched" / f"{name}.toml"
    if not recipe.exists():
        called("match", "--recipe", preset, "--out", recipe, *real)
    return render(recipe, name)


def square(image):
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def panel(image, resample):
    return square(image).resize((SIDE, SIDE), resample)


def shrunk(image, factor):
    from PIL import Image

    if factor >= 1:
        return image
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BOX)


def lively(image, valid=None):
    """The corner of the square of DETAIL px in which most is to be seen, of those without lettering where there are any."""
    import numpy as np

    pixels = np.asarray(image, float)
    if valid is not None:
        pixels = np.where(np.asarray(valid) > 0, pixels, np.nan)  # the deviation is no number then, and less than any
    tops, lefts = (range(0, side - DETAIL + 1, DETAIL // 2) for side in pixels.shape)
    half = DETAIL // 2

    def seen(corner):
        """What its dullest quarter shows: one bright edge is not enough."""
        left, top = corner
        quarters = (pixels[y : y + half, x : x + half] for y in (top, top + half) for x in (left, left + half))
        return min(np.nan_to_num(quarter.std(), nan=-1) for quarter in quarters)

    return max(((left, top) for top in tops for left in lefts), key=seen)


def detail(image, corner):
    """A square of DETAIL px, enlarged so that its pixels can be seen."""
    from PIL import Image

    left, top = corner
    return image.crop((left, top, left + DETAIL, top + DETAIL)).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def sheet(out, real, preset, matched, real_diameter):
    """Write a picture: real images, scenes matched to them, their labels, the preset's scenes; without real images the last and labels."""
    from PIL import Image, ImageDraw, ImageFont

    from nanosynth.learn.compare import find_source
    from nanosynth.learn.images import read_micrograph

    columns = []
    if real:
        images = [Image.fromarray((read_micrograph(path).pixels * 255).round().astype("uint8")) for path in real]
        mask = real[0].parents[1] / "valid" / f"{real[0].stem}.png"
        valid = Image.open(mask).crop((0, 0, *images[0].size)) if mask.is_file() else None
        columns.append(("real", [panel(i, Image.Resampling.LANCZOS) for i in images] + [detail(images[0], lively(images[0], valid))]))
    for dataset, title in ((matched, "synthetic, matched"), (preset, "synthetic, the preset" if real else "synthetic")):
        if dataset is None:
            continue
        source = find_source("synthetic", dataset)
        factor = min(1.0, (real_diameter or DIAMETER) / source.diameter_px)
        corner = None
        for heading, files in ((title, source.paths[:SCENES]), ("label", [label_of(path) for path in source.paths[:SCENES]])):
            if real and dataset is preset and heading == "label":
                continue
            images = [Image.open(path).convert("L") for path in files]
            near = shrunk(images[0], max(factor, DETAIL / min(images[0].size)))
            corner = corner or lively(near)  # the label's detail is the synthetic image's
            columns.append((heading, [panel(i, Image.Resampling.LANCZOS) for i in images] + [detail(near, corner)]))
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
        sheet(target, real, datasets[name], render_matched(name, real) if real else None, diameter)
        text.append(f"## {material['title']}\n")
        if not real:
            text.append("Real images of this material were measured against, but may not be shown here.\n")
        text.append(f"![{name}: {'real, matched, label, preset' if real else 'synthetic, label'}]({os.path.relpath(target, folder).replace(os.sep, '/')})\n")
        text.append(material["words"] if real_of is shipped else material.get("elsewhere", material["words"]))
    docs = os.path.relpath(ROOT / "docs", folder).replace(os.sep, "/")
    words = re.sub(r"\]\((\w+\.md)\)", rf"]({docs}/\1)", "\n".join(text)) if docs != "." else "\n".join(text)
    (folder / "gallery.md").write_text(words, encoding="utf-8")
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
        "--dataset", action="append", default=[], metavar="PRESET=DATASET", help="take a data set's first scenes instead of rendering the preset's"
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
        datasets[name] = datasets[name] or render_preset(name)
    page(ROOT / "docs", ROOT / "docs" / "images", shipped, datasets)
    if os.environ.get("NANOSYNTH_DATA"):
        page(BUILD, BUILD, development(Path(os.environ["NANOSYNTH_DATA"])), datasets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
