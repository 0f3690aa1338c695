"""What the sidebar shows. Panels draw and do nothing else."""

from . import prepare, work

PANELS = (*prepare.PANELS, *work.PANELS)
