"""Draws notes into a page's image: a sign at each note, and its text if the quote is from it."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from core.pdf.annotations import Annotation
from core.pdf.highlighting import Box, fold

_PAPER, _EDGE, _INK = (255, 242, 170), (170, 140, 30), (40, 40, 40)
_SIGN = 12.0  # points; the note's own box may be tiny or cover a paragraph
_FONT_POINTS = 9
_LINE_CHARS = 48
_MAX_LINES = 12
_PADDING = 4  # pixels


def draw_notes(
    image: Image.Image,
    notes: Sequence[tuple[Annotation, Box]],
    *,
    highlight: str | None,
    scale: float,
) -> list[Box]:
    """Draw the notes, given with their boxes in pixels; return the boxes to highlight."""
    draw = ImageDraw.Draw(image)
    marked = []
    for note, (left, top, _, _) in notes:
        side = _SIGN * scale
        sign = (left, top, left + side, top + side)
        draw.rectangle(sign, fill=_PAPER, outline=_EDGE)
        for share in (0.3, 0.5, 0.7):
            y = top + share * side
            draw.line((left + 0.2 * side, y, left + 0.8 * side, y), fill=_EDGE)
        if highlight and _is_quoted(note.text, highlight):
            marked.append(_write(draw, note.text, image.size, sign, scale))
    return marked


def _is_quoted(note: str, quote: str) -> bool:
    """Whether the quote is part of the note or contains all of it."""
    text, wanted = fold(f"Note: {note}"), fold(quote)
    return bool(wanted) and (wanted in text or fold(note) in wanted)


def _write(
    draw: ImageDraw.ImageDraw, text: str, size: tuple[int, int], sign: Box, scale: float
) -> Box:
    """Write the note's text below its sign, inside the image; return its box."""
    font = ImageFont.load_default(_FONT_POINTS * scale)
    lines = textwrap.wrap(text, _LINE_CHARS)[:_MAX_LINES]
    written = "\n".join(lines)
    _, _, width, height = draw.multiline_textbbox((0, 0), written, font=font)
    left = max(0.0, min(sign[0], size[0] - width - 3 * _PADDING))
    top = max(0.0, min(sign[3] + _PADDING, size[1] - height - 3 * _PADDING))
    box = (left, top, left + width + 2 * _PADDING, top + height + 2 * _PADDING)
    draw.rectangle(box, fill=_PAPER, outline=_EDGE)
    draw.multiline_text((left + _PADDING, top + _PADDING), written, font=font, fill=_INK)
    return box
