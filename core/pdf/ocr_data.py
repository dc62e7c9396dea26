"""Finds OCR's data on this machine and the languages it can read. Runs in the parent."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from core.telemetry import get_logger

log = get_logger(__name__)

# PyPI's packages install their data into the environment, Debian's into the system.
DIRECTORIES = (
    Path(sys.prefix, "share/tessdata"),
    Path("/usr/share/tesseract-ocr/5/tessdata"),
    Path("/usr/share/tessdata"),
)


@dataclass(frozen=True, slots=True)
class OcrData:
    """A directory of Tesseract's data and the languages to read, the main one first."""

    directory: str
    languages: tuple[str, ...]

    @property
    def joined(self) -> str:
        """The languages in Tesseract's form: `eng+deu`."""
        return "+".join(self.languages)


def find_ocr(
    languages: Sequence[str], *, directories: Sequence[Path] = DIRECTORIES
) -> OcrData | None:
    """The data for reading `languages`; logs one line and returns None if there is none.

    Tesseract reads one directory, so this is the one with most of the languages.
    """
    if find_spec("tesserocr") is None:
        log.info("ocr_off", reason="tesserocr is not installed")
        return None
    found = {directory: _available(directory, languages) for directory in directories}
    best = max(found, key=lambda directory: len(found[directory]))
    missing = [language for language in languages if language not in found[best]]
    if not found[best]:
        log.info("ocr_off", reason="no data for the languages", missing=missing)
        return None
    log.info("ocr_on", languages=found[best], missing=missing, directory=str(best))
    return OcrData(str(best), tuple(found[best]))


def _available(directory: Path, languages: Sequence[str]) -> list[str]:
    return [name for name in languages if (directory / f"{name}.traineddata").is_file()]
