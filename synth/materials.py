"""Shaders that make surfaces look as secondary electrons show them.

Brightness follows the yield at the local tilt (a power of the inverse cosine,
cut off where the finite escape depth ends its growth), times the collection
efficiency (ambient occlusion), plus a diffuse term that the scene's lamp lights:
the lamp stands for the direction of the detector. docs/contrast.md has the physics.
"""

from __future__ import annotations

import bpy

from ..fields import Spec, default_of, specs
from .recipe import NM_PER_UNIT, Shader
from .sampling import LEAST_BRIGHT


def new_material(name: str):
    """An empty material and its nodes."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    # Surfaces glow but light nothing: without this Cycles makes a lamp of every triangle.
    material.cycles.emission_sampling = "NONE"
    material.node_tree.nodes.clear()
    return material, Nodes(material.node_tree)


class Nodes:
    """A node tree built in few words."""

    def __init__(self, tree):
        self.tree = tree

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

    def inputs(self):
        """The inputs of the node group that this tree is."""
        return self.tree.nodes.new("NodeGroupInput").outputs

    def surface(self, emission, diffuse, normal=None):
        """Emission plus a diffuse term, both grey."""
        glow = self.add("Emission", {"Color": self.grey(emission), "Strength": 1.0})
        lit = self.add("BsdfDiffuse", {"Color": self.grey(diffuse), **({} if normal is None else {"Normal": normal})})
        return self.add("AddShader", {0: glow.outputs[0], 1: lit.outputs[0]}).outputs[0]

    def output(self, shader):
        self.add("OutputMaterial", {"Surface": shader})

    def grey(self, value):
        return self.add("CombineColor", {"Red": value, "Green": value, "Blue": value}).outputs[0]

    def collection(self, reach, exponent):
        """Share of the secondary electrons that neighbours leave to the detector."""
        occlusion = self.add("AmbientOcclusion", {"Distance": reach}, samples=1, only_local=False)
        return self.math("POWER", occlusion.outputs["AO"], exponent)


SE_YIELD = "Nanosynth SE yield"
"""Name of the node group."""

PEAK = 0.541
"""Largest value of Dawson's function: the yield at a sphere's rim peaks at PEAK * sqrt(2 R / lambda)."""

DEVIATIONS = 8.0
"""Added to what an object's colour holds in red: Blender keeps no negative colours."""

INPUTS = {
    "Base yield": ("base", "Brightness seen head on"),
    "Edge brightness": ("edge", ""),
    "Edge exponent": ("edge_exponent", ""),
    "Edge width": ("edge_width", ""),
    "Shadowing": ("shadowing", ""),
    "Shadow reach": (None, "Reach of the shadowing in nanometres"),
    "Detector light": ("diffuse", ""),
    "Per-particle variation": ("variation", ""),
    "Surface texture": ("roughness", ""),
    "Surface roughness": ("bump", ""),
    "Texture grain": ("grain", ""),
    "Transparency": ("transparency", ""),
}
"""The group's inputs: the field of `recipe.Shader` that bounds and describes each."""


def mark(item: bpy.types.Object, deviation: float, radius_nm: float, brightness: float):
    """Give an object what the SE yield group reads of it.

    Parameters
    ----------
    deviation : float
        The particle's own part of the per-particle variation, in standard deviations.
    radius_nm : float
        Radius of curvature: with the escape depth it decides how bright the rim gets.
    brightness : float
        Factor on the yield that is no part of the variation (its material's, its neighbourhood's).
    """
    item.color = (deviation + DEVIATIONS, radius_nm, brightness, 1.0)


def se_yield_group() -> bpy.types.NodeTree:
    """The node group that gives a surface its secondary-electron look; made once in a file.

    Its inputs have the bounds of the recipe's fields. What belongs to the single
    particle (`mark`) it reads from the object's colour.
    """
    if SE_YIELD in bpy.data.node_groups:
        return bpy.data.node_groups[SE_YIELD]
    tree = bpy.data.node_groups.new(SE_YIELD, "ShaderNodeTree")
    known = {name: (spec, default_of(Shader, name)) for name, _, spec in specs(Shader)}
    for name, (field, description) in INPUTS.items():
        socket = tree.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat", description=description)
        spec, default = known.get(field, (Spec(description, "nm", 0.1, 1e6), (200.0, 200.0)))
        socket.min_value, socket.max_value = spec.low, spec.high
        socket.default_value = sum(default) / 2
        unit = f" [{spec.unit}]" if spec.unit else ""
        socket.description = spec.doc + unit
    tree.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    nodes = Nodes(tree)
    given = nodes.inputs()
    this = nodes.add("ObjectInfo")
    own = nodes.add("SeparateColor", {"Color": this.outputs["Color"]})
    radius = nodes.math("MAXIMUM", own.outputs["Green"], 1e-3)

    # The texture is fixed to the particle; each has its own piece of it.
    place = nodes.add("TexCoord").outputs["Object"]
    piece = nodes.add("VectorMath", {0: place, 1: nodes.math("MULTIPLY", this.outputs["Object Index"], 7.13)}, operation="ADD")
    scale = nodes.math("DIVIDE", 1.0, given["Texture grain"])
    noise = nodes.add("TexNoise", {"Vector": piece.outputs[0], "Scale": scale, "Detail": 4.0, "Roughness": 0.65})
    spread = nodes.math("MULTIPLY_ADD", noise.outputs[0], 4.0, -2.0)
    texture = nodes.math("MULTIPLY_ADD", spread, given["Surface texture"], 1.0)

    # A rough surface: the texture tilts the normal, and the tilt's yield shows it.
    geometry = nodes.add("NewGeometry")
    push = nodes.add("VectorMath", {0: noise.outputs["Color"], 1: (0.5, 0.5, 0.5)}, operation="SUBTRACT")
    push = nodes.add(
        "VectorMath", {0: push.outputs[0], "Scale": nodes.math("MULTIPLY", given["Surface roughness"], 4.0)}, operation="SCALE"
    )
    tilted = nodes.add("VectorMath", {0: geometry.outputs["Normal"], 1: push.outputs[0]}, operation="ADD")
    normal = nodes.add("VectorMath", {0: tilted.outputs[0]}, operation="NORMALIZE").outputs[0]

    # Yield ~ sec^n of the tilt, until the escape depth lambda ends its growth: on a sphere of radius R
    # the yield peaks at PEAK sqrt(2 R / lambda), so the cosine is cut off at the inverse of that.
    facing = nodes.add("VectorMath", {0: normal, 1: geometry.outputs["Incoming"]}, operation="DOT_PRODUCT")
    least = nodes.math("DIVIDE", given["Edge width"], nodes.math("MULTIPLY", radius, 2.0))
    least = nodes.math("MINIMUM", nodes.math("DIVIDE", nodes.math("SQRT", least), PEAK), 1.0)
    cosine = nodes.math("MAXIMUM", nodes.math("ABSOLUTE", facing.outputs["Value"]), least)
    gain = nodes.math("SUBTRACT", nodes.math("POWER", nodes.math("DIVIDE", 1.0, cosine), given["Edge exponent"]), 1.0)
    tilt = nodes.math("MULTIPLY_ADD", gain, given["Edge brightness"], 1.0)

    deviation = nodes.math("SUBTRACT", own.outputs["Red"], DEVIATIONS)
    varied = nodes.math("MAXIMUM", nodes.math("MULTIPLY_ADD", deviation, given["Per-particle variation"], 1.0), LEAST_BRIGHT)
    look = nodes.math("MULTIPLY", nodes.math("MULTIPLY", own.outputs["Blue"], varied), given["Base yield"])
    reach = nodes.math("DIVIDE", given["Shadow reach"], NM_PER_UNIT)
    look = nodes.math("MULTIPLY", nodes.math("MULTIPLY", look, texture), nodes.collection(reach, given["Shadowing"]))
    emission = nodes.math("MULTIPLY", nodes.math("MULTIPLY", look, tilt), nodes.math("SUBTRACT", 1.0, given["Detector light"]))
    seen = nodes.surface(emission, nodes.math("MULTIPLY", look, given["Detector light"]), normal)
    # Where the particle is thin along the beam, what lies beneath shows through: exp(-thickness / transparency).
    thickness = nodes.math("MULTIPLY", nodes.math("MULTIPLY", radius, -2.0), nodes.math("ABSOLUTE", facing.outputs["Value"]))
    through = nodes.math("EXPONENT", nodes.math("DIVIDE", thickness, nodes.math("MAXIMUM", given["Transparency"], 1e-3)))
    clear = nodes.add("BsdfTransparent")
    both = nodes.add("MixShader", {0: through, 1: seen, 2: clear.outputs[0]})
    end = tree.nodes.new("NodeGroupOutput")
    tree.links.new(both.outputs[0], end.inputs[0])
    return tree


def particle_material(name: str, shader: dict, shadow_reach_nm: float) -> bpy.types.Material:
    """The particles' material: the SE yield group with the values drawn for a scene.

    Parameters
    ----------
    shader : dict
        The values drawn for `recipe.Shader`.
    shadow_reach_nm : float
    """
    material, nodes = new_material(name)
    group = nodes.tree.nodes.new("ShaderNodeGroup")
    group.node_tree = se_yield_group()
    for socket, (field, _) in INPUTS.items():
        group.inputs[socket].default_value = shadow_reach_nm if field is None else shader[field]
    nodes.output(group.outputs["Shader"])
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
    material, nodes = new_material(name)
    coordinates = nodes.add("TexCoord")
    own = nodes.add("VectorMath", {0: coordinates.outputs["Object"], 1: (11.0, 7.0, 3.0)}, operation="ADD")
    brightness = nodes.math(
        "MULTIPLY",
        nodes.texture(own.outputs[0], NM_PER_UNIT / substrate["grain"], substrate["texture"]),
        substrate["relative_yield"] * shader["base"],
    )
    if dirt is not None:
        thickness = nodes.add("TexImage", {"Vector": coordinates.outputs["UV"]}, image=dirt, interpolation="Linear", extension="EXTEND")
        brightness = nodes.math("MULTIPLY_ADD", thickness.outputs["Color"], dirt_gain, brightness)
    look = nodes.math("MAXIMUM", brightness, 0.0)
    look = nodes.math("MULTIPLY", look, nodes.collection(shadow_reach_nm / NM_PER_UNIT, shader["shadowing"]))
    emission = nodes.math("MULTIPLY", look, 1.0 - substrate["diffuse"])
    nodes.output(nodes.surface(emission, nodes.math("MULTIPLY", look, substrate["diffuse"])))
    return material


def label_material(name: str) -> bpy.types.Material:
    """Every surface shines with its object's pass index: the second render's only shader."""
    material, nodes = new_material(name)
    index = nodes.add("ObjectInfo").outputs["Object Index"]
    glow = nodes.add("Emission", {"Color": nodes.grey(index), "Strength": 1.0})
    nodes.output(glow.outputs[0])
    return material
