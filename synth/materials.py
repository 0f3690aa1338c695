"""Shaders that make surfaces look as secondary electrons show them.

Brightness follows the yield at the local tilt (inverse cosine, clamped where
the finite escape depth ends its growth), times the collection efficiency
(ambient occlusion), plus a diffuse term that the scene's lamp lights: the lamp
stands for the direction of the detector.
"""

from __future__ import annotations

import bpy

from .recipe import NM_PER_UNIT


class Nodes:
    """A node tree built in few words."""

    def __init__(self, material):
        material.use_nodes = True
        # Surfaces glow but light nothing: without this Cycles makes a lamp of every triangle.
        material.cycles.emission_sampling = "NONE"
        self.tree = material.node_tree
        self.tree.nodes.clear()

    def add(self, kind, inputs=None, **settings):
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in settings.items():
            setattr(node, name, value)
        for socket, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[socket])
            else:
                node.inputs[socket].default_value = value
        return node

    def math(self, operation, *values):
        return self.add("Math", dict(enumerate(values)), operation=operation).outputs[0]

    def texture(self, coordinates, scale, contrast):
        """1 + contrast * noise, the noise spread over about -1 to 1."""
        noise = self.add("TexNoise", {"Vector": coordinates, "Scale": scale, "Detail": 4.0, "Roughness": 0.65})
        spread = self.math("MULTIPLY_ADD", noise.outputs[0], 4.0, -2.0)
        return self.math("MULTIPLY_ADD", spread, contrast, 1.0)

    def surface(self, emission, diffuse):
        """Emission plus a diffuse term, both grey."""
        glow = self.add("Emission", {"Color": self.grey(emission), "Strength": 1.0})
        lit = self.add("BsdfDiffuse", {"Color": self.grey(diffuse)})
        both = self.add("AddShader", {0: glow.outputs[0], 1: lit.outputs[0]})
        self.add("OutputMaterial", {"Surface": both.outputs[0]})

    def grey(self, value):
        return self.add("CombineColor", {"Red": value, "Green": value, "Blue": value}).outputs[0]

    def collection(self, reach, exponent):
        """Share of the secondary electrons that neighbours leave to the detector."""
        occlusion = self.add("AmbientOcclusion", {"Distance": reach}, samples=1, only_local=False)
        return self.math("POWER", occlusion.outputs["AO"], exponent)


def particle_material(name: str, shader: dict, shadow_reach_nm: float) -> bpy.types.Material:
    """The particles' material; each object's colour holds its own brightness in red.

    Parameters
    ----------
    shader : dict
        The values drawn for `recipe.Shader`.
    shadow_reach_nm : float
    """
    material = bpy.data.materials.new(name)
    nodes = Nodes(material)
    geometry = nodes.add("NewGeometry")
    facing = nodes.add("VectorMath", {0: geometry.outputs["Normal"], 1: geometry.outputs["Incoming"]}, operation="DOT_PRODUCT")
    cosine = nodes.math("MAXIMUM", nodes.math("ABSOLUTE", facing.outputs["Value"]), shader["edge_clamp"])
    gain = nodes.math("SUBTRACT", nodes.math("DIVIDE", 1.0, cosine), 1.0)
    tilt = nodes.math("MULTIPLY_ADD", gain, shader["edge"], 1.0)

    # The texture is fixed to the particle; each has its own piece of it.
    coordinates = nodes.add("TexCoord").outputs["Object"]
    this = nodes.add("ObjectInfo")
    own = nodes.add("VectorMath", {0: coordinates, 1: nodes.math("MULTIPLY", this.outputs["Object Index"], 7.13)}, operation="ADD")
    rough = nodes.texture(own.outputs[0], 1.0 / shader["grain"], shader["roughness"])

    brightness = nodes.add("SeparateColor", {"Color": this.outputs["Color"]}).outputs["Red"]
    seen = nodes.math("MULTIPLY", brightness, nodes.collection(shadow_reach_nm / NM_PER_UNIT, shader["shadowing"]))
    look = nodes.math("MULTIPLY", nodes.math("MULTIPLY", seen, rough), shader["base"])
    emission = nodes.math("MULTIPLY", nodes.math("MULTIPLY", look, tilt), 1.0 - shader["diffuse"])
    nodes.surface(emission, nodes.math("MULTIPLY", look, shader["diffuse"]))
    return material


def substrate_material(name: str, substrate: dict, shader: dict, shadow_reach_nm: float, dirt: bpy.types.Image | None, dirt_gain: float):
    """The substrate's material: texture, shadow of the particles, dirt.

    Parameters
    ----------
    substrate, shader : dict
        The values drawn for `recipe.Substrate` and `recipe.Shader`.
    dirt : bpy.types.Image or None
        Thickness of the dirt, spread over the plane.
    dirt_gain : float
        Brightness that full thickness adds (negative: takes away).
    """
    material = bpy.data.materials.new(name)
    nodes = Nodes(material)
    coordinates = nodes.add("TexCoord")
    own = nodes.add("VectorMath", {0: coordinates.outputs["Object"], 1: substrate["offset"]}, operation="ADD")
    brightness = nodes.math("MULTIPLY", nodes.texture(own.outputs[0], NM_PER_UNIT / substrate["grain"], substrate["texture"]), substrate["relative_yield"] * shader["base"])
    if dirt is not None:
        thickness = nodes.add("TexImage", {"Vector": coordinates.outputs["UV"]}, image=dirt, interpolation="Linear", extension="EXTEND")
        brightness = nodes.math("MULTIPLY_ADD", thickness.outputs["Color"], dirt_gain, brightness)
    look = nodes.math("MAXIMUM", brightness, 0.0)
    look = nodes.math("MULTIPLY", look, nodes.collection(shadow_reach_nm / NM_PER_UNIT, shader["shadowing"]))
    emission = nodes.math("MULTIPLY", look, 1.0 - substrate["diffuse"])
    nodes.surface(emission, nodes.math("MULTIPLY", look, substrate["diffuse"]))
    return material


def label_material(name: str) -> bpy.types.Material:
    """Every surface shines with its object's pass index: the second render's only shader."""
    material = bpy.data.materials.new(name)
    nodes = Nodes(material)
    index = nodes.add("ObjectInfo").outputs["Object Index"]
    glow = nodes.add("Emission", {"Color": nodes.grey(index), "Strength": 1.0})
    nodes.add("OutputMaterial", {"Surface": glow.outputs[0]})
    return material
