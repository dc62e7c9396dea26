"""A page as an image, with a passage marked."""

import io
from typing import Any

from PIL import Image, ImageDraw

from core.pdf.highlighting import find_boxes
from core.pdf.marking import find_reading_boxes

_MAX_PIXELS = 16_000_000
_MARK = (255, 214, 0, 96)


def render(page: Any, *, highlight: str | None, scale: float) -> bytes:
    """PNG of a pdfium page. `scale` is pixels per point, lowered for a giant page."""
    scale = _bounded(page, scale)
    image = page.render(scale=scale).to_pil().convert("RGB")
    if highlight:
        image = _mark(image, page, highlight, scale)
    output = io.BytesIO()
    image.save(output, format="PNG", compress_level=6)
    return output.getvalue()


def _bounded(page: Any, scale: float) -> float:
    width, height = page.get_size()
    pixels = max(1.0, width * scale) * max(1.0, height * scale)
    return scale if pixels <= _MAX_PIXELS else scale * (_MAX_PIXELS / pixels) ** 0.5


def _mark(image: Image.Image, page: Any, highlight: str, scale: float) -> Image.Image:
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    boxes = find_reading_boxes(page, highlight, scale=scale)
    for left, top, right, bottom in boxes or find_boxes(page, highlight, scale=scale):
        draw.rectangle((left, top, right, bottom), fill=_MARK)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
