"""Nanosynth: segment nanoparticles in micrographs with a network trained on rendered images.

This package runs inside Blender as an extension, beside the bpy wheel, and in
a training environment without Blender; so it imports bpy only in `register`.
"""

__version__ = "0.1.0"


def register():
    """Add Nanosynth to Blender. A second call registers everything anew."""
    from . import registration

    registration.register()


def unregister():
    """Take Nanosynth out of Blender. Harmless when it is not registered."""
    from . import registration

    registration.unregister()
