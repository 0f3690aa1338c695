"""A worker whose pairs need no Blender: python fake_worker.py OUT [TROUBLE …].

TROUBLE is "crash=INDEX" (ends there each time), "stumble=INDEX" (once), "slow=SECONDS",
"deaf" (never starts), "full" (a disk that is full), "refuse" (a user's error),
"chatty" (prints on stdout as Blender does), "big" (says it holds much memory).
"""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.jobs.child import private_stdout, tether  # noqa: E402

ORDERS = tether()

import numpy as np  # noqa: E402

from nanosynth.errors import NanosynthError  # noqa: E402
from nanosynth.reporting import JsonReporter  # noqa: E402
from nanosynth.synth import worker  # noqa: E402


def main(out, *troubles):
    trouble = dict(word.partition("=")[::2] for word in troubles)
    reporter = JsonReporter(private_stdout())
    if "deaf" in trouble:
        time.sleep(600)
    if "big" in trouble:
        worker.peak_memory_mb = lambda: 5000.0

    def make_pair(recipe, index, *, device):
        if "chatty" in trouble:
            os.write(1, b'{"kind": "artifact"}\nFra:1 Mem:20M\n')
        if trouble.get("crash") == str(index):
            print("the scene exploded", file=sys.stderr)
            os._exit(9)
        if trouble.get("stumble") == str(index):
            try:
                (Path(out) / ".stumbled").touch(exist_ok=False)
                os._exit(9)
            except FileExistsError:
                pass
        if "refuse" in trouble:
            raise NanosynthError("templates: no such mesh.", "Correct it.")
        time.sleep(float(trouble.get("slow", 0)))
        rng = np.random.default_rng([recipe.seed, index])
        instances = rng.integers(0, 9, (recipe.camera.image_px,) * 2).astype(np.uint16)
        particles = {"area_px": [0] if trouble.get("bare") == str(index) else [9]}
        record = {"index": index, "seed": recipe.seed, "nm_per_pixel": 1.5, "versions": {}, "drawn": {}, "particles": particles}
        image, label = rng.integers(0, 256, instances.shape).astype(np.uint8), (instances > 0).astype(np.uint8) * 255
        return SimpleNamespace(image=image, label=label, instances=instances, record=record)

    try:
        worker.run_worker(out, ORDERS, reporter, make_pair, blender="fake 1.0")
    except NanosynthError as error:
        reporter.error(error.message, error.remedy)
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
