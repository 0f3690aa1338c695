"""Time to draw and build a scene of about 500 particles of each preset.

    python benchmarks/build.py [--particles 500] [--repeats 5]

in an environment with bpy. The field of view is widened until a scene holds that many
particles; seconds by the clock, the shortest and the middle of the repeats.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.jobs.child import private_stdout  # noqa: E402
from nanosynth.synth.recipe import PRESETS, read_recipe  # noqa: E402
from nanosynth.synth.sampling import sample_scene  # noqa: E402
from nanosynth.synth.scene import build_scene  # noqa: E402


def with_particles(recipe, wanted: int):
    """The recipe with a field of view in which scene 0 holds the wanted number of particles, give or take a tenth."""
    side = np.sqrt(np.prod(recipe.camera.field_of_view))
    recipe.arrangement.coverage = (0.3, 0.3)
    for _ in range(20):
        recipe.camera.field_of_view = (float(side), float(side))
        count = len(sample_scene(recipe, 0).particles["x_nm"])
        if abs(count / wanted - 1) < 0.1:
            break
        side *= np.clip(np.sqrt(wanted / max(count, 1)), 0.5, 2)
    return recipe, count


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--particles", type=int, default=500)
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()
    out = private_stdout()  # Blender prints
    for preset in sorted(PRESETS.glob("*.toml")):
        recipe, count = with_particles(read_recipe(preset.stem), arguments.particles)
        drawing, building = [], []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            sample = sample_scene(recipe, 0)
            drawn = time.perf_counter()
            scene = build_scene(recipe, sample)
            building.append(time.perf_counter() - drawn)
            drawing.append(drawn - start)
            scene.remove()
        both = np.add(drawing, building)
        print(f"{preset.stem:8} {count:5} particles: {both.min():.2f} s ({np.median(both):.2f}); drawing {min(drawing):.2f}, building {min(building):.2f}", file=out)


if __name__ == "__main__":
    main()
