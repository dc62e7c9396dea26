"""Generates scanned PDFs: images of other PDFs' pages, skewed, turned, noisy or stamped."""

import io
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pypdfium2
from fpdf import FPDF
from PIL import Image, ImageFont
from pypdf import PdfWriter


def pictures(data: bytes, *, dpi: int = 200) -> list[Image.Image]:
    """The pages of a PDF as grey images."""
    with pypdfium2.PdfDocument(data) as pdf:
        return [page.render(scale=dpi / 72, grayscale=True).to_pil().convert("L") for page in pdf]


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """The image turned to the left, on white."""
    return image.rotate(degrees, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC)


def noisy(image: Image.Image, *, sigma: float = 15, specks: float = 0.001) -> Image.Image:
    """Grey paper, grain and black specks."""
    random = np.random.default_rng(7)
    grain = np.asarray(image, dtype=float) * 0.85 + random.normal(0, sigma, image.size[::-1])
    grain[random.random(grain.shape) < specks] = 0
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))


def faint(image: Image.Image, *, paper: int = 200, ink: int = 140) -> Image.Image:
    """Grey paper with little contrast."""
    return image.point(lambda level: ink + level * (paper - ink) // 255)


def bordered(image: Image.Image, *, width: int = 90) -> Image.Image:
    """The page on the black background of a copier."""
    whole = Image.new("L", (image.width + 2 * width, image.height + 2 * width), 15)
    whole.paste(image, (width, width))
    return whole


def shaded(image: Image.Image) -> Image.Image:
    """The shadow of a book's spine on the left."""
    dark = np.linspace(90, 0, image.width).clip(0)[None, :]
    return Image.fromarray((np.asarray(image, dtype=float) * (1 - dark / 255)).astype(np.uint8))


def beside(one: Image.Image, other: Image.Image) -> Image.Image:
    """Two pages on one sheet."""
    whole = Image.new("L", (one.width + other.width, one.height), 255)
    whole.paste(one, (0, 0))
    whole.paste(other, (one.width, 0))
    return whole


def scanned(
    images: Sequence[Image.Image], *, dpi: int = 200, quality: int = 85, stamp: str = ""
) -> bytes:
    """A PDF whose pages are these images, each with a printed `stamp` if given."""
    pdf = FPDF(unit="pt")
    pdf.set_auto_page_break(auto=False)
    pdf.set_font("Helvetica", size=9)
    for image in images:
        width, height = (side * 72 / dpi for side in image.size)
        pdf.add_page(format=(width, height))
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality)
        packed.seek(0)
        pdf.image(packed, x=0, y=0, w=width, h=height)
        if stamp:
            pdf.text(30, height - 20, stamp)
    return bytes(pdf.output())


def scan(data: bytes, *, dpi: int = 200, quality: int = 85, degrees: float = 0.0) -> bytes:
    """The PDF that a scanner would make of a print of `data`."""
    images = pictures(data, dpi=dpi)
    if degrees:
        images = [turned(image, degrees) for image in images]
    return scanned(images, dpi=dpi, quality=quality)


def joined(*parts: bytes) -> bytes:
    """One PDF of the pages of several."""
    writer = PdfWriter()
    for part in parts:
        writer.append(io.BytesIO(part))
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def recall(wanted: str, found: str) -> float:
    """The share of the words of `wanted` in `found`; repeated words count repeatedly."""
    needed, given = _tokens(wanted), _tokens(found)
    return (needed & given).total() / max(1, needed.total())


def _tokens(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def without_mapping(text: str) -> bytes:
    """A page whose embedded font has no mapping to characters: its text layer is noise."""
    pdf = FPDF()
    with tempfile.NamedTemporaryFile(suffix=".ttf") as file:
        file.write(ImageFont.load_default(12).font_bytes)  # type: ignore[union-attr]
        file.flush()
        pdf.add_font("sample", fname=file.name)
        pdf.set_font("sample", size=12)
        pdf.add_page()
        pdf.multi_cell(0, 8, text)
        made = bytes(pdf.output())
    assert b"/ToUnicode" in made
    return made.replace(b"/ToUnicode", b"/NoUnicode")
