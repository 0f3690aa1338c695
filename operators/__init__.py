"""What a button does: check, call, report."""

from .dataset import GenerateDataset

OPERATORS = (GenerateDataset,)
