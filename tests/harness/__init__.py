"""Real servers and the whole service, for tests and benches."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOW_MACHINE_SECONDS = 10  # a slow or busy machine may add this much to any wait
