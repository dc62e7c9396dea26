"""Draws a page as an image, with a passage highlighted."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageDraw

from core.pdf.annotations import Annotation
from core.pdf.highlighting import Box, find_boxes, find_word_boxes, page_box
from core.pdf.layout.overleaf import TableHead
from core.pdf.marking import find_reading_boxes
from core.pdf.note_drawing import draw_notes
from core.pdf.values import OcrWord

_MAX_PIXELS = 16_000_000
_MARK = (255, 214, 0, 96)


def render(
    page: Any,
    *,
    highlight: str | None,
    scale: float,
    words: Sequence[OcrWord] = (),
    annotations: Sequence[Annotation] = (),
    find_head: Callable[[], TableHead | None] = lambda: None,
) -> bytes:
    """PNG of a pdfium page. `scale` is in pixels per point and is reduced for a giant page.

    `highlight` is looked for in the notes of `annotations`, then in the `words` of OCR, then
    in the text layer. `find_head` is that of `find_reading_boxes`.
    """
    scale = _bounded(page, scale)
    image = page.render(scale=scale).to_pil().convert("RGB")
    notes = [one for one in annotations if one.kind == "note"]
    placed = [(note, page_box(page, note.box, scale=scale)) for note in notes]
    boxes = draw_notes(image, placed, highlight=highlight, scale=scale)
    if highlight:
        boxes = boxes or find_word_boxes(words, highlight, size=image.size)
        boxes = boxes or find_reading_boxes(
            page, highlight, scale=scale, annotations=annotations, find_head=find_head
        )
        image = _mark(image, boxes or find_boxes(page, highlight, scale=scale))
    output = io.BytesIO()
    image.save(output, format="PNG", compress_level=6)
    return output.getvalue()


def _bounded(page: Any, scale: float) -> float:
    width, height = page.get_size()
    pixels = max(1.0, width * scale) * max(1.0, height * scale)
    return scale if pixels <= _MAX_PIXELS else scale * (_MAX_PIXELS / pixels) ** 0.5


def _mark(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for left, top, right, bottom in boxes:
        draw.rectangle((left, top, right, bottom), fill=_MARK)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
