"""Lines of tables are erased from a scan's image, and letters are not."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.pdf.scan_lines import erase_lines

FONT = ImageFont.load_default(26)


def page(*, lines: bool) -> Image.Image:
    """Cells of letters and digits, and the lines around them if `lines`."""
    image = Image.new("L", (901, 403), 255)
    draw = ImageDraw.Draw(image)
    for row, text in enumerate(["Till - IIII", "EFTHL 1,117", "_ gravely _"]):
        draw.text((60, 30 + 100 * row), text, font=FONT, fill=0)
    if lines:
        for y in (10, 120, 220, 390):
            draw.line((20, y, 880, y), fill=0, width=4)
        for x in (20, 880):
            draw.line((x, 10, x, 390), fill=0, width=6)
        for x in range(20, 880, 22):
            draw.line((x, 300, x + 14, 300), fill=0, width=3)
    return image


def test_lines_are_erased_and_letters_stay() -> None:
    bare, ruled = page(lines=False), page(lines=True)
    assert np.count_nonzero(np.asarray(erase_lines(ruled)) != np.asarray(bare)) <= 60, "corners"
    assert np.array_equal(np.asarray(erase_lines(bare)), np.asarray(bare))


def test_a_dark_area_stays() -> None:
    image = Image.new("L", (600, 400), 255)
    ImageDraw.Draw(image).rectangle((40, 40, 500, 120), fill=0)
    assert np.array_equal(np.asarray(erase_lines(image)), np.asarray(image))
