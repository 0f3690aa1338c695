"""Pictures of a comparison: curves side by side, the similarity map, and its page with thumbnails."""

from __future__ import annotations

import base64
import io
import json
import textwrap
from html import escape

import numpy as np
from PIL import Image

from ..files import write_text, written_whole
from . import curves

COLOURS = {"real": "#1f6fb4", "synthetic": "#e07b12", "baseline": "#6c9a4b"}
THUMB_PX = 96
MAP_PX = 760


def new_figure(size, rows=1, columns=1):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure, path):
    with written_whole(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def example(kind):
    """A patch with much in it: the one at the upper quartile of contrast."""
    patches = kind.sample.patches
    contrast = patches.reshape(len(patches), -1).std(1)
    return patches[np.argsort(contrast, kind="stable")[int(0.75 * (len(patches) - 1))]]


def curves_picture(path, kinds: dict, medians: dict, record: dict):
    """Example patches with a line across each and its intensity profile, and the four curves.

    Parameters
    ----------
    kinds : dict of compare.Kind
    medians : dict of dict
        From `compare.middle`, by kind.
    record : dict
        What `compare.json` will hold.
    """
    columns = max(4, len(kinds) + 1)
    figure, axes = new_figure((3.4 * columns, 7.0), 2, columns)
    side = record["options"]["patch_px"]
    lines = axes[0, len(kinds)]
    for place, (name, kind) in zip(axes[0], kinds.items()):
        patch = example(kind)
        row, profile = curves.line_profile(patch)
        place.imshow(patch, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        place.axhline(row, color=COLOURS[name], linewidth=1.2)
        place.set_axis_off()
        place.set_title(f"{name}: a patch and the line", color=COLOURS[name], fontsize=10)
        lines.plot(np.arange(side), profile, color=COLOURS[name], linewidth=1.0, label=name)
    titled(lines, "intensity profiles", "position / px", "grey level")
    lines.set_ylim(0, 1)
    for spare in axes[0, len(kinds) + 1 :]:
        spare.set_axis_off()
    if len(kinds) + 1 < columns:
        numbers(axes[0, -1], record)

    grey, edge, power, noise = axes[1, :4]
    levels = (np.arange(curves.BINS) + 0.5) / curves.BINS
    distance = np.arange(-curves.EDGE_PX, curves.EDGE_PX) + 0.5
    frequency = np.arange(1, side // 2 + 1) / side
    rng = np.random.default_rng(0)  # where the points of the noise stand side by side
    for i, (name, kind) in enumerate(kinds.items()):
        for place, at, curve in ((grey, levels, "histogram"), (edge, distance, "edge_profile"), (power, frequency, "spectrum")):
            values = kind.curves[curve]
            low, high = curves.percentile(values, [25, 75])
            place.fill_between(at, low, high, color=COLOURS[name], alpha=0.18, linewidth=0)
            place.plot(at, medians[name][curve], color=COLOURS[name], linewidth=1.6, label=name)
        values = kind.curves["noise"]
        noise.scatter(i + rng.uniform(-0.15, 0.15, values.size), values, s=14, color=COLOURS[name], alpha=0.6, linewidths=0)
        noise.plot([i - 0.3, i + 0.3], [np.median(values)] * 2, color=COLOURS[name], linewidth=2)
    titled(grey, "grey levels", "grey level", "density")
    titled(edge, "across the outline (inside > 0)", "distance / px", "mean grey level")
    edge.axvline(0, color="#999999", linewidth=0.8, zorder=0)
    titled(power, "power spectrum", "frequency / px$^{-1}$", "power")
    power.set_xscale("log")
    power.set_yscale("log")
    titled(noise, "noise of each image", "", "standard deviation", legend=False)
    noise.set_xticks(range(len(kinds)), list(kinds))
    noise.set_xlim(-0.6, len(kinds) - 0.4)
    noise.set_ylim(bottom=0)
    for spare in axes[1, 4:]:
        spare.set_axis_off()
    figure.supxlabel(
        "Lines: median of the images; bands: their quartiles. Outlines for the edge profile are rough (Otsu).", fontsize=8, color="#555555"
    )
    save(figure, path)


def titled(place, title, x, y, legend=True):
    place.set_title(title, fontsize=10)
    place.set_xlabel(x, fontsize=9)
    place.set_ylabel(y, fontsize=9)
    place.tick_params(labelsize=8)
    place.grid(color="#e8e8e8", linewidth=0.6)
    place.set_axisbelow(True)
    place.spines[["top", "right"]].set_visible(False)
    if legend:
        place.legend(fontsize=8, frameon=False, loc="upper left" if title.startswith("across") else "upper right")


def score_lines(record) -> list[str]:
    """The two numbers of each kind and of the real halves, a line each."""

    def line(what, accuracy, distance):
        return f"{what}: accuracy {accuracy['value']:.3f} [{accuracy['low']:.2f}, {accuracy['high']:.2f}], distance {distance['value']:.3f}"

    lines = [line(name, s["accuracy"], s["distance"]) for name, s in record["scores"].items()]
    if record["accuracy_floor"]:
        lines.append(line("real halves", record["accuracy_floor"], record["distance_floor"]))
    return lines


def numbers(place, record):
    words = [line.replace(": accuracy", "\n  accuracy").replace(", distance", "\n  distance") for line in score_lines(record)]
    place.text(0, 0.95, "\n".join(words), va="top", fontsize=9, linespacing=1.5, transform=place.transAxes)
    place.text(0, 0.05, f"features: {record['features']['name']}", va="bottom", fontsize=8, color="#555555", transform=place.transAxes)


def map_picture(path, samples: dict, places, components: int, record: dict):
    """The paper's similarity plot: a point for each patch, blue real, orange synthetic."""
    figure, axes = new_figure((6.8, 7.2))
    place = axes[0, 0]
    order = np.random.default_rng(0).permutation(len(places))  # no kind is drawn over another
    colours = np.concatenate([np.repeat(COLOURS[name], len(sample)) for name, sample in samples.items()])
    place.scatter(*places[order].T, c=colours[order], s=11, alpha=0.75, linewidths=0)
    for name, sample in samples.items():
        place.scatter([], [], c=COLOURS[name], s=20, label=f"{name}, {len(sample)} patches")
    place.legend(fontsize=9, loc="upper right", framealpha=0.9)
    place.set_aspect("equal", adjustable="datalim")
    place.set_xticks([])
    place.set_yticks([])
    place.set_title(f"t-SNE of {components} principal components of {record['features']['name']} features", fontsize=10)
    words = [*score_lines(record), *textwrap.wrap(record["features"]["description"], 100)]
    figure.supxlabel("\n".join(words), fontsize=7.5, color="#444444")
    save(figure, path)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Nanosynth: similarity of real and synthetic patches</title>
<style>
body {{ font: 15px/1.5 sans-serif; color: #1d2935; max-width: 1180px; margin: 1.5em auto; padding: 0 1em; }}
main {{ display: flex; gap: 1.5em; flex-wrap: wrap; }}
svg {{ border: 1px solid #ccd3da; background: #fff; max-width: 100%; height: auto; cursor: crosshair; }}
circle {{ fill-opacity: .75; }}
circle.near {{ stroke: #000; stroke-width: 2; fill-opacity: 1; }}
aside {{ flex: 1; min-width: 260px; }}
#thumb {{ width: {shown}px; height: {shown}px; background: #eef1f4; image-rendering: auto; }}
#words {{ min-height: 4.5em; }}
.dot {{ display: inline-block; width: .8em; height: .8em; border-radius: 50%; }}
label {{ margin-right: 1em; }}
small {{ color: #66727f; }}
</style>
</head>
<body>
<h1>Similarity of real and synthetic patches</h1>
<main>
<svg id="map" width="{size}" height="{size}" viewBox="0 0 {size} {size}">
{points}
</svg>
<aside>
<p>{legend}</p>
<div id="thumb"></div>
<p id="words">Point at the map: the nearest patch is shown here.</p>
{scores}
<p><small>{how}</small></p>
</aside>
</main>
<script>
"use strict";
const patches = {data}, columns = {columns}, shown = {shown}, rows = {rows};
const map = document.getElementById("map"), thumb = document.getElementById("thumb"), words = document.getElementById("words");
const circles = Array.from(map.querySelectorAll("circle"));
thumb.style.backgroundSize = `${{columns * shown}}px ${{rows * shown}}px`;
let near = null;
map.addEventListener("pointermove", event => {{
  const box = map.getBoundingClientRect(), zoom = {size} / box.width;
  const x = (event.clientX - box.left) * zoom, y = (event.clientY - box.top) * zoom;
  let best = null, least = 30 * 30;
  for (const circle of circles) {{
    if (circle.style.display === "none") continue;
    const away = (circle.cx.baseVal.value - x) ** 2 + (circle.cy.baseVal.value - y) ** 2;
    if (away < least) {{ least = away; best = circle; }}
  }}
  if (!best || best === near) return;
  if (near) near.classList.remove("near");
  near = best;
  near.classList.add("near");
  const i = Number(near.dataset.i), [kind, name, row, column] = patches[i];
  if (!thumb.style.backgroundImage) thumb.style.backgroundImage = "url(" + document.getElementById("sheet").src + ")";
  thumb.style.backgroundPosition = `${{-(i % columns) * shown}}px ${{-Math.floor(i / columns) * shown}}px`;
  words.textContent = `${{kind}}: ${{name}}, row ${{row}}, column ${{column}}`;
}});
for (const box of document.querySelectorAll("input"))
  box.addEventListener("change", () => {{
    for (const circle of map.querySelectorAll("." + box.value)) circle.style.display = box.checked ? "" : "none";
  }});
</script>
<img id="sheet" alt="All patches" hidden src="data:image/jpeg;base64,{sheet}">
</body>
</html>
"""


def map_html(path, samples: dict, places, components: int, record: dict):
    """The map as a page that holds all it needs; the patch under the pointer is shown beside it."""
    low, high = places.min(0), places.max(0)
    span = max(float((high - low).max()), 1e-9)
    xy = (places - (low + high) / 2) / span * (MAP_PX - 30) + MAP_PX / 2
    kinds = np.concatenate([np.repeat(name, len(sample)) for name, sample in samples.items()])
    data = [[n, s.names[i], *map(int, c)] for n, s in samples.items() for i, c in zip(s.image, s.corner)]
    order = np.random.default_rng(0).permutation(len(places))
    points = "\n".join(
        f'<circle class="{kinds[i]}" data-i="{i}" cx="{xy[i, 0]:.1f}" cy="{MAP_PX - xy[i, 1]:.1f}" r="4" fill="{COLOURS[kinds[i]]}"/>'
        for i in order
    )
    sheet, columns, rows = contact_sheet(np.concatenate([s.patches for s in samples.values()]))
    legend = " ".join(
        f'<label><input type="checkbox" checked value="{n}"> <span class="dot" style="background:{COLOURS[n]}"></span> {n}, {len(s)} patches</label>'
        for n, s in samples.items()
    )
    how = (
        f"{record['features']['description']}. PCA to 90 % of the variance ({components} components), then t-SNE: "
        f"perplexity {record['options']['perplexity']:g}, learning rate {record['options']['learning_rate']:g}, {record['options']['iterations']} iterations. "
        "Accuracy: how often a classifier tells a patch of an image it has not seen, 0.5 being chance. Distance: kernel distance of the features, 0 being none."
    )
    page = PAGE.format(
        size=MAP_PX,
        shown=2 * THUMB_PX,
        points=points,
        legend=legend,
        scores="".join(f"<p>{escape(line)}</p>" for line in score_lines(record)),
        how=escape(how),
        data=json.dumps(data).replace("<", "\\u003c"),
        columns=columns,
        rows=rows,
        sheet=base64.b64encode(sheet).decode(),
    )
    write_text(path, page)


def contact_sheet(patches) -> tuple[bytes, int, int]:
    """All patches as one JPEG: its bytes, columns and rows."""
    columns = int(np.ceil(np.sqrt(len(patches))))
    rows = -(-len(patches) // columns)
    sheet = Image.new("L", (columns * THUMB_PX, rows * THUMB_PX))
    for i, patch in enumerate(patches):
        sheet.paste(
            Image.fromarray(patch).resize((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS), (i % columns * THUMB_PX, i // columns * THUMB_PX)
        )
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=80)
    return file.getvalue(), columns, rows
