"""All of schemathesis' checks of the running service against its OpenAPI document."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.conftest import MakeStack
from tests.harness.stack import Stack

HERE = Path(__file__).parent
SECONDS = 1500  # beyond the time of a slow and busy machine

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * SECONDS)]


@pytest.fixture(scope="module")
def web(make_stack: MakeStack) -> Stack:
    """Web without a worker: uploads stay queued."""
    stack = make_stack(env={"RATE_LIMIT_PER_MINUTE": "1000000", "WEB_THREADS": "16"})
    stack.start("web")
    stack.wait_ready()
    return stack


def test_the_service_conforms_to_its_document(web: Stack, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(HERE / "schemathesis.toml"), "run"]
    command += [f"{web.base_url}/openapi.json", "--header", f"X-API-Key: {web.api_key}"]

    command += ["--checks", "all", "--workers", "1", "--max-examples", "4", "--no-color"]
    # `/users/{user_id}` has the path of `/users/{user_id}/export` too, since ids of users may
    # contain slashes: the latter allows DELETE, and its part of the document does not say so.
    command += ["--exclude-checks", "allow_header_conformance"]
    command += ["--exclude-path", "/api/v1/documents/events"]  # these events never end
    command += ["--seed", "1", "--request-timeout", "20"]
    # The stateful phase uses ids that the service generates, so no seed can repeat it.
    command += ["--phases", "examples,coverage,fuzzing"]
    env = {"SCHEMATHESIS_HOOKS": "tests.functional.schemathesis_hooks", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command,
        cwd=HERE.parent.parent,
        env=env | {"PYTHONPATH": str(HERE.parent.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    assert '"level":"error"' not in web.log("web").replace(": ", ":")
