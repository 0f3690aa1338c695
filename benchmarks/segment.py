"""Time to segment one 2048 x 2048 micrograph, post-processing and particle table included, start-up excluded.

    python benchmarks/segment.py [MODEL] [--size 2048] [IMAGE]

in the training environment. Without an image a real one of examples/silica is
mirrored to the size. Each way to the scale is timed, on a first and a second
image of the same shape: the first compiles the network for it.
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

import numpy as np  # noqa: E402

from nanosynth.learn.images import Micrograph, read_micrograph  # noqa: E402
from nanosynth.learn.model import load_model  # noqa: E402
from nanosynth.learn.segmentation import SegmentationOptions, segment  # noqa: E402


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", default="sio2")
    options.add_argument("image", nargs="?", type=Path, default=ROOT / "examples" / "silica" / "spheres" / "A01-1.png")
    options.add_argument("--size", type=int, default=2048)
    arguments = options.parse_args()
    model = load_model(arguments.model)
    pixels = read_micrograph(arguments.image).pixels
    size = arguments.size
    pixels = np.pad(pixels, [(0, max(0, size - side)) for side in pixels.shape], mode="symmetric")[:size, :size]
    micrograph = Micrograph(arguments.image, pixels, None, "not known", 0)
    print(f"{arguments.image.name} at {size} x {size} px, model {arguments.model}")
    for name, choice in (("diameter given", SegmentationOptions(diameter=79.0)), ("scale searched", SegmentationOptions(scale="search"))):
        for turn in ("first", "second"):
            clock, cpu = time.perf_counter(), time.process_time()
            found = segment(model, micrograph, choice)
            clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
            print(f"{name}, {turn}: {clock:.1f} s, {cpu:.1f} s of processor time, {found.labels.max()} particles, zoom {found.scale.zoom:.2f}")


if __name__ == "__main__":
    main()
