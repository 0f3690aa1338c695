"""A document as a list of blocks, and how it becomes one HTML file that needs nothing beside itself.

`document_pdf` makes pages of the same blocks.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

INK, SOFT, LINE, ACCENT, SECOND = "#1d2935", "#66727f", "#dde3e8", "#1f5f8b", "#b5561c"
PAGE_PT = 485.0
"""Width of the text on an A4 page, in points; sizes of marks and plots refer to it."""
TALLEST_PT = 262.0
"""Height of the tallest picture on it, so that an image and what belongs to it fill one page."""
TALLEST_BESIDE_PT = 176.0
"""The same of pictures side by side."""


@dataclass(frozen=True)
class Heading:
    """Level 2 (numbered) or 3; `page` begins a new page in print."""

    text: str
    level: int = 2
    page: bool = False


@dataclass(frozen=True)
class Paragraph:
    """Kind "lead" stands below the title, "small" in small print."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Notices:
    """What a reader must know before he trusts the numbers."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """The few numbers at the top: (value, what it is)."""

    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Mark:
    """A number on a picture, centred on x, y (px of the picture); size in px."""

    x: float
    y: float
    size: float
    text: str


@dataclass(frozen=True)
class Picture:
    """An encoded picture ("jpeg" or "png") of `width` x `height` px with its marks."""

    data: bytes
    kind: str
    width: int
    height: int
    alt: str
    caption: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Row:
    """Pictures side by side, each as wide as one of `columns`."""

    pictures: tuple[Picture, ...]
    columns: int


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure; its width in inches times 72 is its width in points on paper."""

    figure: object
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Cells are text, or (text, smaller text below it). `plain` aligns to the left and wraps the last column; else `left` are the columns that do."""

    header: tuple
    rows: tuple
    plain: bool = False
    left: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Listing:
    """A settings file, folded on the screen."""

    title: str
    text: str


# Pictures


def encoded_jpeg(pixels, widest: int) -> tuple[bytes, str, int, int]:
    """The first four fields of a `Picture`, from uint8 (H, W) or (H, W, 3), at most `widest` px wide."""
    picture = _reduced(pixels, widest, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=88)
    return buffer.getvalue(), "jpeg", picture.width, picture.height


def encoded_png(pixels, widest: int) -> tuple[bytes, str, int, int]:
    """The same for flat colours, which JPEG would fray."""
    picture = _reduced(pixels, widest, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue(), "png", picture.width, picture.height


def _reduced(pixels, widest, resample):
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width > widest:
        picture = picture.resize((widest, max(1, round(picture.height * widest / picture.width))), resample)
    return picture


def plot_style():
    """matplotlib's settings for every plot of a document, as a context."""
    from matplotlib import rc_context

    return rc_context({
        "font.size": 7, "axes.edgecolor": SOFT, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "axes.linewidth": 0.6,
        "axes.titlesize": 7.5, "axes.titlecolor": INK, "axes.spines.top": False, "axes.spines.right": False, "xtick.major.width": 0.6,
        "ytick.major.width": 0.6, "svg.hashsalt": "nanosynth", "pdf.fonttype": 42,
    })  # fmt: skip


def saved_plot(figure, kind: str) -> bytes:
    """A figure as SVG or PDF, the same bytes for the same figure."""
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type") if kind == "svg" else ("CreationDate", "Creator", "Producer"))
    with plot_style():
        figure.savefig(buffer, format=kind, metadata=nothing)
    return buffer.getvalue()


# HTML


def html(title: str, blocks, language: str = "en") -> str:
    """The document as one file."""
    head, body, opened = [], [], False
    for block in blocks:
        text = _HTML[type(block)](block)
        if isinstance(block, Heading) and block.level == 2:
            body.append(("</section>" if opened else "") + f"<section{' class=page' if block.page else ''}>")
            opened = True
        (body if opened else head).append(text)
    if opened:
        body.append("</section>")
    return PAGE.format(language=language, title=escape(title), style=STYLE, head="\n".join(head), body="\n".join(body))


def inline(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _heading(block):
    page = ' class="page"' if block.page and block.level > 2 else ""
    return f"<h{block.level}{page}>{escape(block.text)}</h{block.level}>"


def _paragraph(block):
    kind = f' class="{block.kind}"' if block.kind else ""
    return f"<p{kind}>{escape(block.text)}</p>"


def _notices(block):
    return '<ul class="notices">' + "".join(f"<li>{escape(text)}</li>" for text in block.texts) + "</ul>"


def _facts(block):
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in block.cells)
    return f'<div class="facts">{cells}</div>'


def _picture(block):
    source, caption = inline(block.kind, block.data), f"<figcaption>{escape(block.caption)}</figcaption>"
    if not block.marks:
        return f'<figure><img src="{source}" alt="{escape(block.alt)}">{caption}</figure>'
    marks = "".join(f'<text x="{m.x:.1f}" y="{m.y:.1f}" font-size="{m.size:.1f}">{escape(m.text)}</text>' for m in block.marks)
    return (
        f'<figure><svg viewBox="0 0 {block.width} {block.height}" preserveAspectRatio="xMinYMid" role="img" aria-label="{escape(block.alt)}">'
        f'<image href="{source}" width="{block.width}" height="{block.height}"/><g class="marks">{marks}</g></svg>{caption}</figure>'
    )


def _row(block):
    return f'<div class="row" style="--n:{block.columns}">' + "".join(map(_picture, block.pictures)) + "</div>"


def _plot(block):
    source = inline("svg+xml", saved_plot(block.figure, "svg"))
    width = min(1.0, 72 * block.figure.get_figwidth() / PAGE_PT)
    caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
    return f'<figure class="plot"><img style="width:{width:.1%}" src="{source}" alt="{escape(block.alt)}">{caption}</figure>'


def _table(block):
    def cell(kind, value, place):
        main, below = value if isinstance(value, tuple) else (value, "")
        side = ' class="left"' if place in block.left else ""
        return f"<{kind}{side}>{escape(str(main))}{f'<small>{escape(below)}</small>' if below else ''}</{kind}>"

    head = "".join(cell("th", value, i) for i, value in enumerate(block.header))
    body = "".join("<tr>" + "".join(cell("td", value, i) for i, value in enumerate(row)) + "</tr>" for row in block.rows)
    kind = "scroll plain" if block.plain else "scroll"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _listing(block):
    return f"<details><summary>{escape(block.title)}</summary><pre>{escape(block.text)}</pre></details>"


_HTML = {
    Heading: _heading,
    Paragraph: _paragraph,
    Notices: _notices,
    Facts: _facts,
    Picture: _picture,
    Row: _row,
    Plot: _plot,
    Table: _table,
    Listing: _listing,
}

STYLE = """
:root { color-scheme: light; --ink: #1d2935; --soft: #66727f; --line: #dde3e8; --accent: #1f5f8b; --warn: #b5561c; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; counter-reset: section; }
header p.mark { margin: 0; color: var(--accent); font-size: .8rem; letter-spacing: .14em; text-transform: uppercase; }
h1 { margin: .2rem 0 .8rem; font-size: 2.1rem; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; }
h2 { margin: 0 0 .6rem; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: 1.3rem; font-weight: 600; }
h2::before { counter-increment: section; content: counter(section) "  "; white-space: pre; color: var(--accent); font-weight: 400; }
h3 { margin: 1.8rem 0 .4rem; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
p { max-width: 46rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; color: var(--soft); }
p.small { font-size: .82rem; color: var(--soft); }
.notices { margin: 0 0 1.6rem; padding: .7rem 1.2rem .7rem 2.2rem; max-width: 52rem; border-left: 3px solid var(--warn); background: #fdf6f1; }
.notices li { margin: .2rem 0; overflow-wrap: anywhere; }
.notices li::marker { color: var(--warn); }
.facts { display: flex; flex-wrap: wrap; gap: .8rem 3rem; margin: 1.6rem 0 2rem; }
.facts b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.facts span { color: var(--soft); font-size: .85rem; }
section { margin-bottom: 2.6rem; }
.row { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: .9rem; }
figure { margin: 0 0 .9rem; }
img, svg { display: block; width: 100%; height: auto; }
.marks text { fill: #fff; stroke: #000; stroke-width: .22em; stroke-linejoin: round; paint-order: stroke;
  text-anchor: middle; dominant-baseline: central; font-family: Arial, "Helvetica Neue", "DejaVu Sans", sans-serif; font-weight: 600; }
figcaption { margin-top: .3rem; color: var(--soft); font-size: .82rem; line-height: 1.4; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1.1rem .3rem 0; text-align: right; vertical-align: top; white-space: nowrap; border-bottom: 1px solid var(--line); }
th.left, td.left, .plain th, .plain td { text-align: left; }
td small { display: block; color: var(--soft); font-size: .88em; }
.plain td:last-child, .plain td:nth-child(2) { white-space: normal; overflow-wrap: anywhere; }
.plain td:nth-child(2):not(:last-child) { min-width: 7rem; max-width: 16rem; }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--accent); }
pre { overflow-x: auto; padding: .8rem 1rem; background: #f5f7f9; font-size: .78rem; line-height: 1.45; }
@media (max-width: 40rem) {
  main { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .row { gap: .4rem; }
  .row figcaption { font-size: .7rem; }
  .plot { overflow-x: auto; }
  .plot img { min-width: 30rem; }
  .facts { gap: .8rem 1.6rem; }
}
@media print {
  @page { size: A4; margin: 15mm 19mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  section { margin-bottom: 1.4rem; }
  .page { break-before: page; }
  h3 { margin-top: 1rem; }
  h3.page { margin-top: 0; }
  .row, figure, tr, .facts { break-inside: avoid; }
  figure > img, figure > svg { max-height: 92mm; object-fit: contain; object-position: left; }
  .row figure > img { max-height: 62mm; }
  h2, h3, section > p { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  table { font-size: 7.4pt; max-width: 100%; }
  th, td { padding-right: .55rem; }
  .plain table { font-size: 8pt; }
  td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 5.5em; }
  .plain td:first-child { min-width: 9.5em; }
  p.small, figcaption { font-size: 7.5pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 6.5pt; columns: 2; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
  summary { list-style: none; break-after: avoid; }
  pre { padding: 0; background: none; }
}
"""

PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="mark">Nanosynth</p>
<h1>{title}</h1>
{head}
</header>
{body}
</main>
</body>
</html>
"""
