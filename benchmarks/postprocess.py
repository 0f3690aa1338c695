"""Time of the post-processing of one large micrograph.

    python benchmarks/postprocess.py [--size 2048] [--particles 500] [--seed 0] [--repeats 3]

in the environment `learn` or any Blender Python. Prints the best time by the
clock, and in brackets the least processor time, which other work on the machine
does not lengthen, of the area opening and of the distance-transform watershed in
both modes, at the paper's settings for SiO2 and TiO2, on a mask of touching discs
and ellipses, and of the particle table. The aims at the defaults are 4 s (fast)
and 20 s (morpholibj).
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

from nanosynth.learn.particles import measure  # noqa: E402
from nanosynth.learn.postprocess import PAPER, area_opening, distance_transform_watershed  # noqa: E402


def mask_of_particles(size, count, rng):
    """Ellipses at random places that cover about half of the image, many of them touching; bool (size, size)."""
    mask = np.zeros((size, size), bool)
    radius = np.sqrt(0.7 * size**2 / count / np.pi)
    for _ in range(count):
        y, x = rng.uniform(0, size, 2)
        a, b = radius * rng.uniform(0.7, 1.3, 2)
        angle = rng.uniform(0, np.pi)
        reach = int(max(a, b)) + 2
        rows, columns = slice(max(int(y) - reach, 0), min(int(y) + reach, size)), slice(max(int(x) - reach, 0), min(int(x) + reach, size))
        dy, dx = np.mgrid[rows, columns] - np.array([y, x])[:, None, None]
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        mask[rows, columns] |= (u / a) ** 2 + (v / b) ** 2 <= 1
    return mask


def best(repeats, function, *arguments, **options):
    """The shortest time by the clock and the least processor time of several calls, as text in s, and what the function returned."""
    walls, works = [], []
    for _ in range(repeats):
        wall, work = time.perf_counter(), time.process_time()
        result = function(*arguments, **options)
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    return f"{min(walls):6.2f} s ({min(works):5.2f} s)", result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    mask = mask_of_particles(arguments.size, arguments.particles, np.random.default_rng(arguments.seed))
    print(f"{arguments.size} x {arguments.size} px, {arguments.particles} particles, {mask.mean():.0%} covered")
    seconds, _ = best(arguments.repeats, area_opening, mask, 400)
    print(f"area opening                        {seconds}")
    settings = {"defaults": {}} | {name: {"normalize": c.normalize, "dynamic": c.dynamic} for name, c in PAPER.items()}
    for name, options in settings.items():
        for mode in ("fast", "morpholibj"):
            seconds, labels = best(arguments.repeats, distance_transform_watershed, mask, mode=mode, **options)
            print(f"watershed {name:<15} {mode:<10} {seconds}   {labels.max()} particles")
    labels = distance_transform_watershed(mask)
    seconds, _ = best(arguments.repeats, measure, labels)
    print(f"particle table                      {seconds}   {labels.max()} particles")


if __name__ == "__main__":
    main()
