"""A worker: makes the pairs it is told to, one after the other."""

from __future__ import annotations

import os
import sys

from .dataset import Dataset


def run_worker(out, orders, reporter, make_pair, *, blender: str, device: str = "CPU"):
    """Make pairs of a data set until told to stop.

    Parameters
    ----------
    out : path-like
        The data set; its recipe says what to make.
    orders : queue
        Of dicts: {"scene": index}, at last {"stop": True}.
    reporter : Reporter
        Gets an `artifact` of role "pair" with the manifest's `record` and the
        process's `memory_mb` for each pair.
    make_pair : callable
        `synth.render.make_pair`, or one that takes and gives the same.
    blender : str
        Version of the Blender that renders.
    device : str
        Of the photo render.
    """
    dataset = Dataset.open(out, check=False)
    reporter.started("worker", blender=blender)
    while "scene" in (order := orders.get()):
        pair = make_pair(dataset.recipe, order["scene"], device=device)
        record = dataset.write_pair(pair)
        reporter.artifact(dataset.paths(order["scene"]).image, "pair", record=record, memory_mb=memory_mb())


def memory_mb() -> float | None:
    """Memory this process holds (elsewhere than on Linux: has held at most); None where nothing tells it."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
