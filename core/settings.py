"""Every setting, read once from the environment and from `.env` if it exists.

A wrong value stops the start with one line that names the variable. No other
code in the project reads `os.environ` (ruff's rule TID251 checks this).
"""

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network

KNOWN_DEFAULT_KEYS = frozenset(
    {"change-me", "changeme", "secret", "test", "dev", "your-api-key", "your_api_key", "api-key"}
)

# core.embedding.models says what they are.
LOCAL_EMBEDDING_MODELS = ("all-MiniLM-L6-v2", "multilingual-e5-small")


class SettingsError(SystemExit):
    """A setting is wrong. The text has one line per variable; the exit status is 1."""


class Settings(BaseSettings):
    """The service's configuration. Field names are the variables' names in lower case."""

    # Values that come from files often end with a line end.
    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, str_strip_whitespace=True
    )

    app_env: Literal["development", "test", "production"] = Field(
        "development", description="`production` refuses weak API keys."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level that is logged."
    )
    api_key: SecretStr = Field(description="First API key: default tenant, all scopes. Required.")
    database_url: str = Field(description="PostgreSQL with pgvector. Required.")
    redis_url: str = Field(
        description="Redis for the queue; limits are kept in the next database number up to 15, "
        "else in the same. Required."
    )
    data_dir: Path = Field(Path("data"), description="Where uploads, models and caches live.")
    model_dir: Path = Field(
        default_factory=lambda given: given.get("data_dir", Path("data")) / "models",
        description="Where the local embedding model is stored; default: `models` in `DATA_DIR`.",
    )
    storage_url: str = Field(
        "",
        description="Where PDFs are kept: `file:///path` or `s3://bucket/prefix`; "
        "default: `uploads` in `DATA_DIR`.",
    )
    s3_endpoint_url: str = Field("", description="S3-compatible endpoint, if not AWS.")

    bind_host: str = Field(
        "127.0.0.1", description="Address that web, Flower and the chat page listen on."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the API.")
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of Flower.")
    ui_port: int = Field(8501, ge=1, le=65535, description="Port of the chat page.")
    ui_login: Literal["none", "password", "oidc"] = Field(
        "none",
        description="Who may use the chat page: `none` asks for a name, `password` for "
        "`UI_PASSWORD` too, `oidc` signs in by an OpenID Connect provider. "
        "In production the page refuses `none`.",
    )
    ui_password: SecretStr = Field(
        SecretStr(""), description="Password of the chat page, with `UI_LOGIN=password`."
    )
    flower_password: SecretStr = Field(
        SecretStr(""), description="Password of Flower's user `admin`; default: `API_KEY`."
    )
    web_workers: int = Field(2, ge=1, le=64, description="gunicorn processes.")
    web_threads: int = Field(16, ge=2, le=256, description="Threads of each gunicorn process.")
    trusted_proxies: Annotated[list[Network], NoDecode] = Field(
        default_factory=list,
        description="Addresses or networks of reverse proxies whose `X-Forwarded-Prefix` is used, "
        "comma separated.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Origins allowed to call from a browser, comma separated."
    )
    rate_limit_per_minute: int = Field(60, ge=1, description="Requests per minute and API key.")
    upload_cost: int = Field(
        1, ge=1, description="How many requests of the limit one upload counts for."
    )
    chat_cost: int = Field(
        1, ge=1, description="How many requests of the limit one chat turn counts for."
    )
    key_pepper: SecretStr = Field(
        SecretStr(""),
        description="Secret that stored keys are hashed with; default: `API_KEY`. "
        "Changing it makes every stored key invalid.",
    )

    max_upload_mb: int = Field(50, ge=1, le=5000, description="Largest PDF, in MiB.")
    max_pages: int = Field(10_000, ge=1, description="Most pages of a PDF.")
    pdf_engine: Literal["auto", "pypdf", "pdfium"] = Field(
        "auto", description="Which parser reads the text; `auto` chooses per page."
    )
    ocr: Literal["auto", "off"] = Field(
        "auto",
        description="`auto` reads scanned pages where OCR's packages are installed; "
        "`off` reads none.",
    )
    ocr_languages: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["eng"],
        description="Languages of scanned pages, comma separated, by Tesseract's names, the main "
        "one first; each makes OCR slower.",
    )
    range_pages: int = Field(
        32,
        ge=1,
        le=500,
        description="Maximum pages of one page range; a range is a few seconds of work.",
    )
    range_timeout_seconds: int = Field(
        60, ge=1, description="Longest time to parse one page range. After that, it fails."
    )
    range_memory_mb: int = Field(
        1024, ge=128, description="Memory limit of the process that parses a page range, in MiB."
    )

    embedding_provider: Literal["local", "openai"] = Field(
        "local", description="`local` runs a model here; `openai` calls an endpoint."
    )
    embedding_runtime: Literal["auto", "openvino-int8", "openvino-fp32", "onnxruntime-int8"] = (
        Field(
            "auto",
            description="How the local model runs. `auto` measures once per kind of processor "
            "which is fastest of `openvino-int8`, `openvino-fp32` and `onnxruntime-int8`.",
        )
    )
    embedding_base_url: str = Field(
        "https://api.openai.com/v1", description="Base of an OpenAI-compatible embedding API."
    )
    embedding_model: str = Field(
        "",
        description="The local model, `all-MiniLM-L6-v2` (the default, for English) or "
        "`multilingual-e5-small`, or the endpoint's model name.",
    )
    embedding_api_key: SecretStr = Field(
        SecretStr(""),
        description="Bearer token for the embedding endpoint; default: `OPENAI_API_KEY`.",
    )
    embedding_dimensions: int = Field(
        384, ge=1, le=4000, description="Length of a vector; fixed once the database is migrated."
    )
    embedding_batch_size: int = Field(
        64,
        ge=1,
        le=2048,
        description="Maximum texts in one embedding call; fewer if the endpoint demands it.",
    )
    embedding_max_tokens: int | None = Field(
        None,
        ge=16,
        description="Longest text for the embedding endpoint, in tokens of 4 bytes; longer texts "
        "are cut. Default: learned when the endpoint refuses a text.",
    )
    embedding_timeout_seconds: float = Field(
        30, gt=0, description="Longest wait for one embedding call."
    )
    embedding_give_up_seconds: float = Field(
        900, gt=0, description="How long a job waits while the embedding endpoint refuses."
    )
    chat_provider: Literal["extractive", "openai"] = Field(
        "extractive", description="`extractive` quotes the passages; `openai` calls an LLM."
    )
    chat_base_url: str = Field(
        "https://api.openai.com/v1", description="Base of an OpenAI-compatible chat API."
    )
    chat_model: str = Field("", description="Model name for the chat endpoint.")
    chat_timeout_seconds: float = Field(
        60, gt=0, description="Longest wait for the next token of the LLM."
    )
    chat_wait_seconds: float = Field(
        60, ge=0, description="How long a chat turn waits for another turn of its session."
    )
    chat_api_key: SecretStr = Field(
        SecretStr(""), description="Bearer token for the chat endpoint; default: `OPENAI_API_KEY`."
    )
    chat_context_tokens: int | None = Field(
        None,
        ge=512,
        description="The LLM's context window in tokens; prompts are made to fit into it. Default: "
        "learned when the endpoint refuses a prompt.",
    )
    chat_max_tokens: int | None = Field(
        None, ge=1, description="Longest answer of the LLM in tokens. Default: the endpoint's own."
    )
    chat_temperature: float | None = Field(
        None, ge=0, le=2, description="Sampling temperature. Default: the endpoint's own."
    )
    chat_history_tokens: int = Field(
        2000, ge=0, description="Token budget of the conversation given to the LLM."
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""),
        description="Bearer token for the endpoints of `CHAT_BASE_URL` and `EMBEDDING_BASE_URL` "
        "that have no key of their own.",
    )
    rerank_base_url: str = Field(
        "",
        description="Base of a reranking API; its `/rerank`, in Cohere's and Jina's format, "
        "decides the order of passages. Default: none.",
    )
    rerank_model: str = Field("", description="Model name for the reranking endpoint.")
    rerank_api_key: SecretStr = Field(
        SecretStr(""), description="Bearer token for the reranking endpoint."
    )

    worker_concurrency: int = Field(2, ge=1, le=64, description="Celery pool processes.")
    lease_seconds: float = Field(
        90, gt=0, description="How long the claim of a silent worker lasts."
    )
    heartbeat_seconds: float = Field(30, gt=0, description="How often a worker renews its lease.")
    sweep_seconds: float = Field(
        15, gt=0, description="How often beat looks for work whose message was lost."
    )
    max_attempts: int = Field(3, ge=1, description="Tries of one page range before the job fails.")

    @field_validator("database_url")
    @classmethod
    def _normalise_database_url(cls, value: str) -> str:
        # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, which is not installed.
        scheme, separator, rest = value.partition("://")
        if not separator or scheme.split("+")[0] not in {"postgres", "postgresql"}:
            raise ValueError("must be a postgresql:// URL")
        return f"postgresql+psycopg2://{rest}"

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"redis", "rediss", "unix", "redis+socket"}:
            raise ValueError("must be a redis://, rediss:// or unix:// URL")
        is_socket = parts.scheme in {"unix", "redis+socket"}
        query = dict(parse_qsl(parts.query))
        number = query.get("db", query.get("virtual_host", "0") if is_socket else parts.path[1:])
        if not re.fullmatch(r"[0-9]{0,5}", number):
            raise ValueError("the database must be a number, as in redis://host:6379/0")
        if is_socket and not parts.path.strip("/"):
            raise ValueError("must name a socket, as in unix:///run/redis.sock?db=0")
        try:
            parts.port  # noqa: B018  # a property that raises
        except ValueError:
            raise ValueError("the port must be a number up to 65535") from None
        return value

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in {"file", "s3"}:
            raise ValueError("must start with file:// or s3://")
        return value

    @field_validator("embedding_base_url", "chat_base_url", "rerank_base_url")
    @classmethod
    def _check_http_url(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "rerank_base_url":
            return value
        if urlsplit(value).scheme not in {"http", "https"}:
            raise ValueError("must be an http:// or https:// URL")
        # The address of the endpoint itself is what many providers' pages show.
        return re.sub(r"/(?:chat/completions|embeddings|rerank)\Z", "", value.rstrip("/"))

    @field_validator(
        "openai_api_key", "chat_api_key", "embedding_api_key", "rerank_api_key", mode="before"
    )
    @classmethod
    def _check_bearer_token(cls, value: object) -> object:
        """Strip the key, which often ends with a newline. RFC 6750 allows only visible ASCII."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            return value
        if not re.fullmatch(r"[!-~]*", text.strip()):
            raise ValueError("has characters that no HTTP header can hold")
        return SecretStr(text.strip())

    @field_validator("api_key", mode="before")
    @classmethod
    def _strip_key(cls, value: object) -> object:
        # No client can send white space at the end of a header.
        return value.strip() if isinstance(value, str) else value

    @field_validator("cors_origins", "ocr_languages", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("ocr_languages")
    @classmethod
    def _check_languages(cls, value: list[str]) -> list[str]:
        if not value or not all(re.fullmatch("[A-Za-z]+(_[A-Za-z]+)*", name) for name in value):
            raise ValueError("must be Tesseract's names of languages, as eng,deu")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        key = self.api_key.get_secret_value()
        if not key.strip():
            raise ValueError("API_KEY: must not be empty")
        if self.app_env == "production" and (key.lower() in KNOWN_DEFAULT_KEYS or len(key) < 16):
            raise ValueError(
                "API_KEY: production needs a key of at least 16 characters that is no known default"
            )
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("HEARTBEAT_SECONDS: must be at most half of LEASE_SECONDS")
        return self

    @model_validator(mode="after")
    def _check_models(self) -> "Settings":
        named = self.embedding_model
        if self.embedding_provider == "openai" and not named:
            raise ValueError("EMBEDDING_MODEL: is required with EMBEDDING_PROVIDER=openai")
        if self.embedding_provider == "local" and named not in ("", *LOCAL_EMBEDDING_MODELS):
            raise ValueError(
                f"EMBEDDING_MODEL: the local models are {', '.join(LOCAL_EMBEDDING_MODELS)}; "
                "others need EMBEDDING_PROVIDER=openai"
            )
        if self.chat_provider == "openai" and not self.chat_model:
            raise ValueError("CHAT_MODEL: is required with CHAT_PROVIDER=openai")
        if self.rerank_base_url and not self.rerank_model:
            raise ValueError("RERANK_MODEL: is required with RERANK_BASE_URL")
        return self

    @property
    def effective_key_pepper(self) -> bytes:
        chosen = self.key_pepper.get_secret_value() or self.api_key.get_secret_value()
        return chosen.encode()

    @property
    def effective_chat_api_key(self) -> str:
        return (self.chat_api_key or self.openai_api_key).get_secret_value()

    @property
    def effective_embedding_api_key(self) -> str:
        return (self.embedding_api_key or self.openai_api_key).get_secret_value()

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb * 1024 * 1024

    @property
    def effective_storage_url(self) -> str:
        return self.storage_url or (self.data_dir.absolute() / "uploads").as_uri()


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment; `overrides` take precedence.

    Raises SettingsError (a SystemExit) with one line per wrong variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        # Do not report a default that could not be computed because another value is wrong.
        wrong = [item for item in error.errors() if item["type"] != "default_factory_not_called"]
        raise SettingsError("\n".join(_explain(item) for item in wrong)) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read at the first call."""
    return read_settings()


def _explain(item: object) -> str:
    assert isinstance(item, dict)
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0]).upper()
    if item["type"] == "missing":
        return f"{name}: is required"
    return f"{name}: {message[0].lower()}{message[1:]}"
