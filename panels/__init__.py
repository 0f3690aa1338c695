"""What the sidebar shows. Panels draw and do nothing else."""

from .main import MainPanel

PANELS = (MainPanel,)
