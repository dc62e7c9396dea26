"""Embedding: the model in this process, or an endpoint."""

import structlog

from core.embedding import artefacts, runtimes
from core.embedding.base import Embedder, endpoint_model_name
from core.embedding.models import find_model
from core.errors import Invalid
from core.settings import Settings

log = structlog.get_logger(__name__)

# Each provider is imported when it is chosen: importing OpenVINO takes a while, and a process
# that needs only the types, or an endpoint, should not wait for it.


def create_embedder(settings: Settings) -> Embedder:
    """The embedder that `EMBEDDING_PROVIDER` names, ready to use.

    `local` loads the model: call it after the process has forked. Raises
    ModelNotBuilt if the model is absent or damaged, and Invalid if
    `EMBEDDING_DIMENSIONS` is not what the model yields.
    """
    if settings.embedding_provider == "openai":
        return _create_openai(settings)
    return _load_local(settings)


def describe_model(settings: Settings) -> tuple[str, int]:
    """The name and the vectors' length of the embedder that the settings choose. Loads nothing."""
    if settings.embedding_provider == "openai":
        length = settings.embedding_dimensions
        return endpoint_model_name(settings.embedding_model, length), length
    model = find_model(settings.embedding_model)
    return model.name, model.dimensions


def _load_local(settings: Settings) -> Embedder:
    from core.embedding import local  # noqa: PLC0415

    model = find_model(settings.embedding_model)
    if settings.embedding_dimensions != model.dimensions:
        raise Invalid(
            f"EMBEDDING_DIMENSIONS: the local model's vectors have {model.dimensions} numbers"
        )
    directory = artefacts.model_directory(settings.model_dir, model)
    artefacts.check(directory, model=model)
    choice = runtimes.choose(
        settings.embedding_runtime,
        directory=directory,
        data_dir=settings.data_dir,
        cpu=runtimes.cpu_info(),
    )
    log.info("embedding_runtime", runtime=choice.runtime, reason=choice.reason)
    return local.open_model(directory, runtime=choice.runtime, model=model)


def _create_openai(settings: Settings) -> Embedder:
    from core.embedding.openai import OpenAIEmbedder  # noqa: PLC0415

    return OpenAIEmbedder(
        base_url=settings.embedding_base_url,
        api_key=settings.effective_embedding_api_key,
        model=settings.embedding_model,
        dimensions=settings.embedding_dimensions,
        timeout=settings.embedding_timeout_seconds,
        batch_size=settings.embedding_batch_size,
        max_tokens=settings.embedding_max_tokens,
    )
