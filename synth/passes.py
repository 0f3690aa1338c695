"""What a scene's look is computed from, rendered once: tilt, shadow, texture and owner of each pixel.

With these, `shading.shade` gives the picture for any values of the shader without
another render.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .materials import new_material
from .recipe import NM_PER_UNIT
from .render import render_centres, render_label
from .scene import BuiltScene
from .shading import GRAINS, REACHES

SHADOW_SAMPLES = 24


@dataclass(frozen=True, eq=False)
class Passes:
    """A scene without its look; every array is (n, n), row 0 at the top.

    Attributes
    ----------
    instances : numpy.ndarray
        uint16, 0 the substrate, k + 1 particle k.
    normal : numpy.ndarray
        float32 (n, n, 3), towards +x, +y and the beam.
    openness : numpy.ndarray
        float32 (n, n, len(REACHES)), share of the directions that nothing blocks.
    texture : numpy.ndarray
        float32 (n, n, len(GRAINS)), the particles' surface texture of contrast 1, about -1 to 1.
    particles : dict
        The table of `sampling.SceneSample`.
    field_of_view : float
        nm.
    """

    instances: np.ndarray
    normal: np.ndarray
    openness: np.ndarray
    texture: np.ndarray
    particles: dict
    field_of_view: float


def render_passes(built: BuiltScene, sample, size: int) -> Passes:
    """Render the passes of a scene that `build_scene` made of a sample."""
    radius = float(np.median(sample.particles["radius_nm"])) if len(sample.particles["radius_nm"]) else 100.0

    def values(kind, samples=1):
        material, nodes = new_material("Nanosynth pass")
        built.made.append(material)
        glow = nodes.add("Emission", {"Color": kind(nodes), "Strength": 1.0})
        nodes.output(glow.outputs[0])
        return render_centres(built, material, size, samples)[..., :3]

    def normal(nodes):
        half = nodes.add(
            "VectorMath", {0: nodes.add("NewGeometry").outputs["Normal"], 1: (0.5,) * 3, 2: (0.5,) * 3}, operation="MULTIPLY_ADD"
        )
        return half.outputs[0]

    def openness(nodes):
        each = [nodes.add("AmbientOcclusion", {"Distance": reach * radius / NM_PER_UNIT}, samples=1) for reach in REACHES]
        return nodes.add("CombineColor", dict(zip(("Red", "Green"), (node.outputs["AO"] for node in each)))).outputs[0]

    def texture(nodes):
        # As in materials.se_yield_group.
        place = nodes.add("TexCoord").outputs["Object"]
        own = nodes.math("MULTIPLY", nodes.add("ObjectInfo").outputs["Object Index"], 7.13)
        piece = nodes.add("VectorMath", {0: place, 1: own}, operation="ADD").outputs[0]
        each = [nodes.add("TexNoise", {"Vector": piece, "Scale": 1 / grain, "Detail": 4.0, "Roughness": 0.65}) for grain in GRAINS]
        return nodes.add("CombineColor", dict(zip(("Red", "Green", "Blue"), (node.outputs[0] for node in each)))).outputs[0]

    return Passes(
        render_label(built, size),
        2 * values(normal) - 1,
        values(openness, SHADOW_SAMPLES)[..., : len(REACHES)].clip(0, 1),
        4 * values(texture) - 2,
        sample.particles,
        sample.field_of_view,
    )
