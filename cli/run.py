"""The objects that every command uses: the API client, the user, the output."""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, TypeVar

import click

from cli.api_client import ApiClient
from cli.errors import ApiError
from cli.output import Output

Command = TypeVar("Command", bound=Callable[..., Any])


class Run:
    """One run of `ragchat`. It connects at the first call."""

    def __init__(self, *, url: str, api_key: str, user: str) -> None:
        self.user = user
        self.out = Output(as_json=False)
        self._url, self._api_key = url, api_key

    @cached_property
    def api(self) -> ApiClient:
        return ApiClient(url=self._url, api_key=self._api_key, on_wait=self._report_wait)

    def _report_wait(self, seconds: float) -> None:
        self.out.note(f"The service is busy; trying again in {seconds:.0f} s …")

    def close(self) -> None:
        if "api" in self.__dict__:
            self.api.close()


def with_run(command: Command) -> Command:
    """Pass a Run to a command, add the option `--json`, and print its ApiError."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, one value per line.")
    @wraps(command)
    def wrapper(*args: Any, as_json: bool, **options: Any) -> Any:
        run = click.get_current_context().find_object(Run)
        assert run is not None
        run.out = Output(as_json=as_json or run.out.as_json)
        try:
            return command(run, *args, **options)
        except ApiError as error:
            run.out.error(error)
            raise click.exceptions.Exit(error.exit_code) from None

    return wrapper  # type: ignore[return-value]
