"""The picture of all built-in shapes in docs/scenes.md.

    python tools/shapes.py [--out docs/images/shapes.jpg]

in an environment with bpy: each shape alone in a small scene of the preset `ag`'s look.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.fields import from_dict  # noqa: E402
from nanosynth.jobs.child import private_stdout  # noqa: E402
from nanosynth.synth.recipe import Recipe  # noqa: E402
from nanosynth.synth.render import make_pair  # noqa: E402

SIDE = 256
SHAPES = {
    "sphere": {},
    "rough_sphere": {"relief": [0.03, 0.08]},
    "hollow_sphere": {"opening": [20.0, 50.0]},
    "core_shell": {"core": [0.6, 0.6], "core_contrast": [0.8, 0.8]},
    "grain": {"aspect": [1.0, 1.5]},
    "bipyramid": {"roundness": [0.1, 0.4]},
    "cube": {"roundness": [0.1, 0.5]},
    "platelet": {"aspect": [3.0, 6.0], "roundness": [0.1, 0.4]},
    "rod": {"aspect": [3.0, 8.0], "sides": 5, "size": {"median": 50.0}},
    "wire": {"aspect": [30.0, 90.0], "bend": [0.0, 15.0], "size": {"median": 40.0}},
}


def scene(shape: str) -> Recipe:
    template = {"shape": shape, "variants": 6, **SHAPES[shape]}
    template["size"] = {"median": 120.0, "spread": 1.15, **template.get("size", {})}
    fixed = {"base": 0.45, "edge": 0.25, "edge_width": 2.0, "diffuse": 0.15, "variation": 0.08, "shadowing": 1.2, "shadow_reach": 2.0, "roughness": 0.05}
    return from_dict(
        Recipe,
        {
            "seed": 4,
            "templates": [template],
            "arrangement": {"coverage": [0.35, 0.35], "clustering": [0.6, 0.6], "stacking": [0.2, 0.2]},
            "shader": {name: [value, value] for name, value in fixed.items()},
            "substrate": {"relative_yield": [0.25, 0.25], "texture": [0.05, 0.05]},
            "dirt": {"probability": 0.0},
            "camera": {"field_of_view": [800.0, 800.0], "render_px": SIDE, "image_px": SIDE, "samples": 24},
            "degradation": {"gain": [1, 1], "offset": [0, 0], "gamma": [1, 1], "drift": [0, 0], "blur": [0.4, 0.4], "dose": [3000, 3000], "noise": [0.01, 0.01]},
        },
    )


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / "docs/images/shapes.jpg")
    arguments = options.parse_args()
    out = private_stdout()  # Blender prints
    strip, columns = 22, 5
    sheet = Image.new("L", (columns * (SIDE + 4) - 4, -(-len(SHAPES) // columns) * (SIDE + strip + 4) - 4), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for k, shape in enumerate(SHAPES):
        x, y = k % columns * (SIDE + 4), k // columns * (SIDE + strip + 4)
        sheet.paste(Image.fromarray(np.asarray(make_pair(scene(shape), 0).image)), (x, y))
        pen.text((x + SIDE // 2, y + SIDE + strip // 2), shape, 0, font, anchor="mm")
    sheet.save(arguments.out, quality=90)
    print(f"Wrote {arguments.out}", file=out)


if __name__ == "__main__":
    main()
