"""Peak memory of the workers over a long batch: it must not grow with the scenes.

    python benchmarks/memory.py [--scenes 500] [--workers 2] [--image-px 507] [--renew-after N]

in an environment with bpy. Prints the highest peak of any worker over the
first 50 scenes and over all.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.jobs.generate import RENEW_AFTER, generate  # noqa: E402
from nanosynth.reporting import Reporter  # noqa: E402
from nanosynth.synth.recipe import read_recipe  # noqa: E402


class Memory(Reporter):
    """Keeps the peak memory of the worker that made each pair."""

    def __init__(self):
        self.peaks = []

    def send(self, kind, **values):
        if kind == "artifact":
            self.peaks.append(values["memory_mb"])
            if len(self.peaks) % 10 == 0:
                print(f"{len(self.peaks):4d} scenes: {max(self.peaks[-10:]):.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="sio2")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--image-px", type=int, default=507, help="small, to be quick: the scenes' meshes are the same (default: 507)")
    parser.add_argument("--renew-after", type=int, default=RENEW_AFTER)
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.recipe)
    recipe.camera.image_px, recipe.camera.render_px = arguments.image_px, arguments.image_px // 4
    with tempfile.TemporaryDirectory(prefix="nanosynth-benchmark-") as folder:
        memory = Memory()
        options = {"workers": arguments.workers, "renew_after": arguments.renew_after, "reporter": memory}
        generate(recipe, Path(folder) / "d", count=arguments.scenes, **options)
    first, all_ = max(memory.peaks[:50]), max(memory.peaks)
    print(f"peak over the first {min(50, arguments.scenes)} scenes {first:.0f} MB, over all {arguments.scenes} {all_:.0f} MB")


if __name__ == "__main__":
    main()
