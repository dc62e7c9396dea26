"""Real servers and the whole service, for tests and benches."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
