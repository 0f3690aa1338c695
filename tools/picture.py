"""Makes the picture at the top of the README from what `make demo` leaves behind.

    .env/learn/bin/python tools/picture.py

Left a synthetic micrograph and its label, right a part of a shipped micrograph
and the particles that the demo's network found in it.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
SIDE, GAP, HEAD = 480, 8, 40
SCENE = 0
REAL = "A01-1"
CROP = (100, 60, 740, 700)
INK, PAPER = (29, 41, 53), (255, 255, 255)


def panel(path, crop=None, resample=Image.Resampling.LANCZOS):
    with Image.open(path) as picture:
        return picture.convert("RGB").crop(crop or (0, 0, *picture.size)).resize((SIDE, SIDE), resample)


def main():
    panels = [
        ("rendered micrograph", panel(DEMO / "dataset" / "images" / f"{SCENE:06d}.png")),
        ("its label, known exactly", panel(DEMO / "dataset" / "labels" / f"{SCENE:06d}.png")),
        ("real micrograph", panel(ROOT / "examples" / "silica" / "spheres" / f"{REAL}.png", CROP)),
        ("particles found", panel(DEMO / "segmentation" / "x20000" / "overlay" / f"{REAL}.png", CROP)),
    ]
    picture = Image.new("RGB", (len(panels) * (SIDE + GAP) + 2 * GAP, SIDE + HEAD), PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(24)
    for place, (title, pixels) in enumerate(panels):
        left = place * (SIDE + GAP) + (3 * GAP if place > 1 else 0)
        draw.text((left, 4), title, INK, font)
        picture.paste(pixels, (left, HEAD))
    out = ROOT / "docs" / "images" / "silica.jpg"
    out.parent.mkdir(exist_ok=True)
    picture.save(out, quality=88)
    print(out)


if __name__ == "__main__":
    main()
