"""A worker: makes the pairs it is told to, one after the other."""

from __future__ import annotations

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
        process's peak `memory_mb` for each pair.
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
        reporter.artifact(dataset.paths(order["scene"]).image, "pair", record=record, memory_mb=peak_memory_mb())


def peak_memory_mb() -> float | None:
    """The most memory this process has held; None where nothing tells it."""
    try:
        with open("/proc/self/status") as file:  # Linux: getrusage's peak would include the parent's
            return next(int(line.split()[1]) / 2**10 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
