"""The blocks of `document` as pages of A4: fpdf2 sets text, tables and pictures, pypdf lays the plots on them as vectors.

Lengths are points; y runs downwards from the top of the page.
"""

from __future__ import annotations

import io
from pathlib import Path

from ..errors import NanosynthError
from .document import (
    ACCENT,
    INK,
    LINE,
    PAGE_PT,
    SECOND,
    SOFT,
    TALLEST_BESIDE_PT,
    TALLEST_PT,
    Heading,
    Listing,
    Paragraph,
    Picture,
    Plot,
    Row,
    Table,
    saved_plot,
)

WIDTH, HEIGHT = 595.0, 842.0
MARGIN = (WIDTH - PAGE_PT) / 2
TOP, BOTTOM = 50.0, 46.0
GAP = 9.0
"""Between blocks."""
PAD = 9.0
"""Between the columns of a table."""
LEAST_TABLE_PT = 5.2
"""Smallest print of a table that would be wider than the page."""


def pdf(title: str, blocks) -> bytes:
    """The document as a PDF file.

    Raises
    ------
    NanosynthError
        If fpdf2 or pypdf is missing.
    """
    try:
        import fpdf  # noqa: F401
        import pypdf  # noqa: F401
    except ModuleNotFoundError as error:
        raise NanosynthError(
            f"A PDF needs the package {error.name}, which this Python lacks.",
            "Install it: python -m pip install fpdf2 pypdf; or write .html.",
        ) from error
    pages = _Pages(title)
    blocks = list(blocks)
    for place, block in enumerate(blocks):
        pages.put(block, blocks[place + 1 : place + 4])
    return pages.finished()


class _Pages:
    """Pages as they are filled from top to bottom."""

    def __init__(self, title):
        self.title, self.sections, self.plots = title, 0, []
        self.pdf = _sheet(title)
        self.pdf.add_page()
        self.y = TOP
        self.text("NANOSYNTH", 7.5, ACCENT, spacing=1.2)
        self.y += 2
        self.wrapped(title, 19, INK, style="B", leading=1.25)
        self.y += GAP

    # Letters

    def font(self, size, style="", family="sans"):
        self.pdf.set_font(family, style, size)

    def colour(self, colour):
        self.pdf.set_text_color(colour)

    def text(self, text, size, colour, *, style="", spacing=0.0):
        """One line."""
        self.font(size, style)
        self.colour(colour)
        self.pdf.set_char_spacing(spacing)
        self.pdf.text(MARGIN, self.y + size, text)
        self.pdf.set_char_spacing(0)
        self.y += size * 1.4

    def lines(self, text, width) -> list[str]:
        """Text broken into lines of the present font; words that are too long are cut."""
        found = []
        for part in text.split("\n"):
            line = ""
            for word in part.split(" "):
                while self.pdf.get_string_width(word) > width:
                    cut = len(word)
                    while cut > 1 and self.pdf.get_string_width(word[:cut]) > width:
                        cut -= 1
                    if line:
                        found.append(line)
                        line = ""
                    found.append(word[:cut])
                    word = word[cut:]
                longer = f"{line} {word}" if line else word
                if self.pdf.get_string_width(longer) > width:
                    found.append(line)
                    line = word
                else:
                    line = longer
            found.append(line)
        return found

    def wrapped(self, text, size, colour, *, style="", leading=1.45, left=0.0, width=PAGE_PT, family="sans"):
        """Lines one below the other, over pages if need be."""
        self.font(size, style, family)
        for line in self.lines(text, width - left):
            self.room(size * leading)
            self.font(size, style, family)
            self.colour(colour)
            self.pdf.text(MARGIN + left, self.y + size, line)
            self.y += size * leading

    def height_of(self, text, size, width=PAGE_PT, leading=1.45, style="") -> float:
        self.font(size, style)
        return len(self.lines(text, width)) * size * leading if text else 0.0

    # Pages

    def room(self, height):
        """Turn the page unless so much is left of it."""
        if self.y + height > HEIGHT - BOTTOM and self.y > TOP:
            self.turn()

    def turn(self):
        self.pdf.add_page()
        self.y = TOP

    def put(self, block, following):
        getattr(self, "put_" + type(block).__name__.lower())(block, following)

    def least(self, blocks) -> float:
        """Height of what must stand below a heading: the first of these blocks, and what that belongs to."""
        height = 0.0
        for block in blocks:
            if isinstance(block, Heading):
                height += 30
            elif isinstance(block, Paragraph):
                height += min(self.height_of(block.text, 9), 60) + GAP
            else:
                kinds = {
                    Picture: lambda b: self.picture_height(b, PAGE_PT),
                    Row: self.row_height,
                    Plot: self.plot_height,
                    Table: lambda b: 60,
                    Listing: lambda b: 60,
                }
                return height + kinds.get(type(block), lambda b: 30)(block)
        return height

    def put_heading(self, block, following):
        size = 13.0 if block.level == 2 else 10.0
        fits = self.y + 2.4 * size + self.least(following) <= HEIGHT - BOTTOM
        if self.y > TOP and (block.page or not fits):
            self.turn()
        elif self.y > TOP:
            self.y += 8
        if block.level == 2:
            self.sections += 1
            self.pdf.set_draw_color(LINE)
            self.pdf.set_line_width(0.6)
            self.pdf.line(MARGIN, self.y, MARGIN + PAGE_PT, self.y)
            self.y += 7
            number = f"{self.sections}"
            self.font(size)
            self.colour(ACCENT)
            self.pdf.text(MARGIN, self.y + size, number)
            self.wrapped(block.text, size, INK, style="B", left=self.pdf.get_string_width(number) + 9, leading=1.3)
            self.y += 4
        else:
            self.wrapped(block.text, size, INK, style="B", leading=1.3)
            self.y += 3

    def put_paragraph(self, block, following):
        size, colour = {"lead": (10.0, SOFT), "small": (7.5, SOFT)}.get(block.kind, (9.0, INK))
        self.wrapped(block.text, size, colour)
        self.y += GAP * 0.8

    def put_notices(self, block, following):
        for text in block.texts:
            height = self.height_of(text, 8.5, PAGE_PT - 22) + 5
            self.room(height)
            self.pdf.set_fill_color("#fdf6f1")
            self.pdf.rect(MARGIN, self.y, PAGE_PT, height, style="F")
            self.pdf.set_fill_color(SECOND)
            self.pdf.rect(MARGIN, self.y, 2.2, height, style="F")
            self.y += 1.5
            self.wrapped(text, 8.5, INK, left=12, width=PAGE_PT - 10)
            self.y += 3.5
        self.y += GAP

    def put_facts(self, block, following):
        self.room(48)
        x = MARGIN
        for value, what in block.cells:
            self.font(16, "B")
            wide = self.pdf.get_string_width(value)
            self.font(7.5)
            wide = max(wide, self.pdf.get_string_width(what))
            if x > MARGIN and x + wide > MARGIN + PAGE_PT:
                x, self.y = MARGIN, self.y + 38
                self.room(48)
            self.font(16, "B")
            self.colour(INK)
            self.pdf.text(x, self.y + 16, value)
            self.font(7.5)
            self.colour(SOFT)
            self.pdf.text(x, self.y + 28, what)
            x += wide + 28
        self.y += 36 + GAP

    # Pictures

    def fitted(self, picture, width):
        """Width and height of a picture on the page."""
        height, tallest = width * picture.height / picture.width, TALLEST_PT if width == PAGE_PT else TALLEST_BESIDE_PT
        return (width, height) if height <= tallest else (width * tallest / height, tallest)

    def picture_height(self, picture, width):
        return self.fitted(picture, width)[1] + 4 + self.height_of(picture.caption, 7.5, width, 1.35) + GAP

    def row_height(self, row):
        width = self.column(row)
        return max(self.picture_height(picture, width) for picture in row.pictures)

    @staticmethod
    def column(row):
        return (PAGE_PT - 10 * (row.columns - 1)) / row.columns

    def put_picture(self, block, following):
        self.put_row(Row((block,), 1), following)

    def put_row(self, block, following):
        self.room(self.row_height(block))
        top, column, lowest = self.y, self.column(block), self.y
        for place, picture in enumerate(block.pictures):
            left = MARGIN + place * (column + 10)
            width, height = self.fitted(picture, column)
            self.pdf.image(io.BytesIO(picture.data), left, top, width, height, alt_text=picture.alt)
            self.marks(picture, left, top, width / picture.width)
            self.y = top + height + 4
            self.font(7.5)
            for line in self.lines(picture.caption, column):
                self.colour(SOFT)
                self.pdf.text(left, self.y + 7.5, line)
                self.y += 7.5 * 1.35
            lowest = max(lowest, self.y)
        self.y = lowest + GAP

    def marks(self, picture, left, top, scale):
        """White numbers with a black rim: the rim of each first, so that it covers no other's white."""
        if not picture.marks:
            return
        self.pdf.set_draw_color("#000000")
        self.colour("#ffffff")
        for mode in ("STROKE", "FILL"):
            with self.pdf.local_context(text_mode=mode):
                for mark in picture.marks:
                    size = mark.size * scale
                    self.font(size, "B")
                    self.pdf.set_line_width(0.2 * size)
                    half = self.pdf.get_string_width(mark.text) / 2
                    self.pdf.text(left + mark.x * scale - half, top + mark.y * scale + 0.36 * size, mark.text)

    def plot_size(self, block):
        width, height = (72 * side for side in block.figure.get_size_inches())
        scale = min(1.0, PAGE_PT / width)
        return width * scale, height * scale

    def plot_height(self, block):
        return self.plot_size(block)[1] + 4 + self.height_of(block.caption, 7.5, leading=1.35) + GAP

    def put_plot(self, block, following):
        self.room(self.plot_height(block))
        width, height = self.plot_size(block)
        self.plots.append((self.pdf.page_no() - 1, MARGIN, self.y, width, saved_plot(block.figure, "pdf")))
        self.y += height + 4
        if block.caption:
            self.wrapped(block.caption, 7.5, SOFT, leading=1.35)
        self.y += GAP

    # Tables

    def put_table(self, block, following):
        size = 7.4
        while True:
            widths = self.column_widths(block, size)
            if block.plain or sum(widths) <= PAGE_PT + PAD or size <= LEAST_TABLE_PT:
                break
            size -= 0.2
        left = range(len(widths)) if block.plain else block.left
        spare = PAGE_PT + PAD - sum(widths)
        if block.plain:
            widths[:-1] = (min(width, 0.3 * PAGE_PT) for width in widths[:-1])
            widths[-1] = PAGE_PT + PAD - sum(widths[:-1])
        elif spare < 0:  # the first column, names, gives way
            widths[0] = max(40.0, widths[0] + spare)
        elif spare < 0.5 * PAGE_PT:  # a table nearly as wide as the page fills it
            widths = [width + spare / len(widths) for width in widths]
        self.table_row(block.header, widths, size, SOFT, left)
        for row in block.rows:
            if self.y + self.row_of_table(row, widths, size)[1] > HEIGHT - BOTTOM:
                self.turn()
                self.table_row(block.header, widths, size, SOFT, left)
            self.table_row(row, widths, size, INK, left)
        self.y += GAP

    def column_widths(self, block, size):
        widths = []
        for column in zip(block.header, *block.rows, strict=True):
            widest = 0.0
            for cell in column:
                main, below = cell if isinstance(cell, tuple) else (cell, "")
                self.font(size)
                widest = max(widest, self.pdf.get_string_width(str(main)))
                self.font(size * 0.88)
                widest = max(widest, self.pdf.get_string_width(below))
            widths.append(widest + PAD)
        return widths

    def row_of_table(self, row, widths, size):
        """The lines of each cell, as (text, size), and the height of the row."""
        cells = []
        for cell, width in zip(row, widths, strict=True):
            main, below = cell if isinstance(cell, tuple) else (cell, "")
            self.font(size)
            lines = [(line, size) for line in self.lines(str(main), width - PAD + 0.1)]
            if below:
                lines.append((below, size * 0.88))
            cells.append(lines)
        return cells, max(len(lines) for lines in cells) * size * 1.3 + 4.5

    def table_row(self, row, widths, size, colour, left_columns):
        cells, height = self.row_of_table(row, widths, size)
        self.room(height)
        x = MARGIN
        for place, (lines, width) in enumerate(zip(cells, widths, strict=True)):
            for i, (text, letter) in enumerate(lines):
                self.font(letter)
                self.colour(colour if letter == size else SOFT)
                left = x if place in left_columns else x + width - PAD - self.pdf.get_string_width(text)
                self.pdf.text(left, self.y + 2 + size + i * size * 1.3, text)
            x += width
        self.y += height
        self.pdf.set_draw_color(LINE)
        self.pdf.set_line_width(0.5)
        self.pdf.line(MARGIN, self.y, MARGIN + min(sum(widths) - PAD, PAGE_PT), self.y)

    def put_listing(self, block, following):
        """In two columns of small print."""
        size, gap = 5.6, 16
        column = (PAGE_PT - gap) / 2
        self.room(60)
        self.text(block.title, 8.5, ACCENT)
        self.y += 2
        self.font(size, family="mono")
        lines = self.lines(block.text.rstrip(), column)
        while lines:
            fitting = max(1, int((HEIGHT - BOTTOM - self.y) / (size * 1.35)))
            each = min(fitting, -(-len(lines) // 2))
            for place in range(2):
                for i, line in enumerate(lines[place * each : (place + 1) * each]):
                    self.font(size, family="mono")
                    self.colour(INK)
                    self.pdf.text(MARGIN + place * (column + gap), self.y + size + i * size * 1.35, line)
            lines = lines[2 * each :]
            self.y += each * size * 1.35
            if lines:
                self.turn()
        self.y += GAP

    def finished(self) -> bytes:
        """The file, the plots laid on their pages."""
        from pypdf import PdfReader, PdfWriter, Transformation

        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(bytes(self.pdf.output()))))
        for page, left, top, width, data in self.plots:
            plot = PdfReader(io.BytesIO(data)).pages[0]
            scale = width / float(plot.mediabox.width)
            lower = HEIGHT - top - scale * float(plot.mediabox.height)
            writer.pages[page].merge_transformed_page(plot, Transformation().scale(scale).translate(left, lower))
        writer.compress_identical_objects(remove_unreferenced=True)
        writer.metadata = {"/Title": self.title, "/Producer": "Nanosynth"}
        buffer = io.BytesIO()
        writer.write(buffer)
        return buffer.getvalue()


def _sheet(title):
    import matplotlib
    from fpdf import FPDF

    class Sheet(FPDF):
        def file_id(self):
            """None: it would hold the time, and the same report would not be the same file."""

        def footer(self):
            self.set_font("sans", "", 7)
            self.set_text_color(SOFT)
            self.text(MARGIN, HEIGHT - 24, _shortened(title))
            self.set_xy(MARGIN, HEIGHT - 31)
            self.cell(PAGE_PT, 8, f"{self.page_no()} / {{nb}}", align="R")

    sheet = Sheet(unit="pt", format=(WIDTH, HEIGHT))
    sheet.set_auto_page_break(False)
    sheet.c_margin = 0
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sheet.add_font("sans", "", fonts / "DejaVuSans.ttf")
    sheet.add_font("sans", "B", fonts / "DejaVuSans-Bold.ttf")
    sheet.add_font("mono", "", fonts / "DejaVuSansMono.ttf")
    return sheet


def _shortened(title, most=90):
    return title if len(title) <= most else title[: most - 1] + "…"
