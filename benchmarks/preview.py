"""How soon the live preview shows a change.

    python benchmarks/preview.py [--recipe sio2] [--scenes 5] [--side 256]

in an environment with bpy. For each scene a value of the shader is changed, as
a slider does, and the preview's timer is imitated. Prints the seconds from the
change to the first picture in the image, and to the last; by the clock, and of
processor time of the preview's process (Linux; other load disturbs it less).
The same after a change of the arrangement, which has to be drawn anew.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import launch  # noqa: E402

sys.path.pop(0)
nanosynth = launch.load_package()

import bpy  # noqa: E402

from nanosynth.operators import preview, state  # noqa: E402
from nanosynth.synth.recipe import read_recipe  # noqa: E402


def processor_s() -> float:
    """Processor time that the preview's process has taken."""
    try:
        fields = Path(f"/proc/{preview.Live.child.process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answer(scene, change):
    """Seconds to the first and the last picture after a change: by the clock, and of processor time."""
    while not preview.Live.finished():
        preview.step(scene)
        time.sleep(0.01)
    time.sleep(0.2)
    number, clock, worked, found = preview.Live.number, time.monotonic(), processor_s(), []
    change()
    while len(found) < 2:
        time.sleep(preview.TICK_S)
        preview.step(scene)
        if preview.Live.error:
            sys.exit(preview.Live.error)
        fresh = preview.Live.picture["number"] > number
        if fresh and (not found or preview.Live.finished()):
            found.append((time.monotonic() - clock, processor_s() - worked))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="sio2")
    parser.add_argument("--scenes", type=int, default=5)
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    with tempfile.TemporaryDirectory() as folder:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder, "project.blend")))
        scene = state.home(bpy.context)
        state.put_recipe(scene, read_recipe(arguments.recipe))
        scene.nanosynth.preview_px = arguments.side
        bpy.ops.nanosynth.start_preview()
        shader, arrangement = scene.nanosynth_recipe.shader, scene.nanosynth_recipe.arrangement
        for index in range(arguments.scenes):
            scene.nanosynth.scene_index = index
            for what, change in (
                ("shader", lambda index=index: setattr(shader, "base", (0.2, 0.5 + 0.01 * index))),
                ("arrangement", lambda index=index: setattr(arrangement, "gap", (0.0, 0.101 + 0.001 * index))),
            ):
                preview.step(scene)
                (first, first_work), (last, last_work) = answer(scene, change)
                particles = preview.Live.picture["particles"]
                print(
                    f"scene {index}, {particles:4d} particles, {what:11s}: first picture {first:.2f} s ({first_work:.2f} s of work), "
                    f"last {last:.2f} s ({last_work:.2f} s)",
                    flush=True,
                )
        nanosynth.unregister()


if __name__ == "__main__":
    main()
