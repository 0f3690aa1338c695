"""Time of each part of a synthetic pair: drawing, building, the two renders, degradation, label.

    python benchmarks/render.py [--scenes 6] [--recipe sio2]

in an environment with bpy. Seconds by the clock, then of processor time.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.jobs.child import private_stdout  # noqa: E402
from nanosynth.synth.degrade import degrade  # noqa: E402
from nanosynth.synth.labels import training_label  # noqa: E402
from nanosynth.synth.recipe import read_recipe  # noqa: E402
from nanosynth.synth.render import render_label, render_photo  # noqa: E402
from nanosynth.synth.sampling import sample_scene  # noqa: E402
from nanosynth.synth.scene import build_scene  # noqa: E402
from nanosynth.synth.templates import load_shapes  # noqa: E402


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=6)
    options.add_argument("--recipe", default="sio2")
    arguments = options.parse_args()
    out = private_stdout()  # Blender prints
    recipe = read_recipe(arguments.recipe)
    shapes, camera, spent = load_shapes(recipe), recipe.camera, {}

    def timed(name, function, *inputs):
        clock, cpu = time.perf_counter(), time.process_time()
        result = function(*inputs)
        spent.setdefault(name, []).append((time.perf_counter() - clock, time.process_time() - cpu))
        return result

    for index in range(arguments.scenes):
        sample = timed("drawing", sample_scene, recipe, index, shapes)
        scene = timed("building", build_scene, recipe, sample)
        photo = timed("photo render", render_photo, scene, camera.render_px, camera.samples, index)
        instances = timed("label render", render_label, scene, camera.image_px)
        scene.remove()
        timed("degradation", degrade, photo, sample.drawn["degradation"], camera.image_px, sample.generator("degradation"))
        timed("training label", training_label, instances, recipe.label.erosion, recipe.label.outline)
    print(f"{arguments.scenes} scenes of {recipe.name}: mean and longest seconds, mean processor seconds", file=out)
    for name, times in spent.items():
        clock, cpu = zip(*times, strict=True)
        print(f"{name:16} {sum(clock) / len(clock):6.2f} {max(clock):6.2f} {sum(cpu) / len(cpu):6.2f}", file=out)


if __name__ == "__main__":
    main()
