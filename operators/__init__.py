"""What a button does: check, call, report."""

from . import dataset, jobs, recipe, references, results, scenes, training, workspace

OPERATORS = tuple(
    cls for module in (recipe, references, scenes, dataset, training, results, workspace, jobs) for cls in module.OPERATORS
)


def stop():
    """End what runs in the background."""
    results.stop()
    jobs.end_all()
