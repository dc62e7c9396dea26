"""Where OCR's packages are on this machine, and which languages they can read. Parent's side."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from core.telemetry import get_logger

log = get_logger(__name__)

# PyPI's packages put their data into the environment, Debian's into the system.
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
        """The languages as Tesseract takes them: `eng+deu`."""
        return "+".join(self.languages)


def find_ocr(
    languages: Sequence[str], *, directories: Sequence[Path] = DIRECTORIES
) -> OcrData | None:
    """The data to read `languages` with; None, and one line in the log, if there is none.

    Tesseract reads one directory: the one with the most of the languages is taken.
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
