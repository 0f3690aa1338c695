"""What the sidebar shows. Panels draw and do nothing else."""

from . import menu, prepare, work

PANELS = (*prepare.PANELS, *work.PANELS, *menu.PANELS)
