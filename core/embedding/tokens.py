"""The token ids of texts, as a local model gets them."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from core.embedding import artefacts
from core.embedding.base import Query
from core.embedding.models import LocalModel

Ids = Sequence[int]

_CACHED_WORDS = 30_000
_LONGEST_WORD = 40  # characters; longer words rarely recur
# `str.split` cuts at these characters. The tokenizers delete some of them, which joins their
# neighbours.
_JOINING = re.compile("[\x0b\x0c\x1c-\x1f\x85]")


class TokenReader:
    """Cuts texts into a model's tokens. One instance serves all threads of a process."""

    def __init__(self, model: LocalModel, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._start = cast(int, tokenizer.token_to_id(model.start))
        self._end = cast(int, tokenizer.token_to_id(model.end))
        self._query, self._passage = (
            self._ids(prefix) for prefix in (model.query_prefix, model.passage_prefix)
        )
        # What is left of the window for a text, whichever prefix it has.
        self.max_tokens = model.window - 2 - max(len(self._query), len(self._passage))
        self._tokens_of_word = lru_cache(_CACHED_WORDS)(self._ids)

    def count(self, text: str) -> int:
        """The number of tokens of all of `text`, even beyond `max_tokens`, without any other."""
        return sum(map(len, self._tokens(text)))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in `text`, as indices of characters."""
        offsets: list[tuple[int, int]] = self._encode(text).offsets
        return offsets

    def input_ids(self, text: str) -> Ids:
        """The model's whole input for a passage, or for a question if `text` is a Query."""
        prefix = self._query if isinstance(text, Query) else self._passage
        tokens = chain.from_iterable(self._tokens(text))
        return [self._start, *prefix, *islice(tokens, self.max_tokens), self._end]

    def _encode(self, text: str) -> Any:
        # Texts are encoded one by one, because encode_batch would start a thread pool.
        # A lone surrogate has no UTF-8 form; the "?" in its place keeps the offsets right.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _ids(self, text: str) -> Ids:
        return tuple(self._encode(text).ids)

    def _tokens(self, text: str) -> list[Ids]:
        """The token ids of each word of `text`, from a cache.

        The tokenizers cut at whitespace, so the tokens of a word depend on nothing else. A
        document repeats most of its words, and a look-up is ten times faster.
        """
        if _JOINING.search(text):
            return [self._ids(text)]
        known, new = self._tokens_of_word, self._ids
        return [known(word) if len(word) <= _LONGEST_WORD else new(word) for word in text.split()]


def open_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of the model in `directory`, without truncation and padding.

    The published one of MiniLM truncates and pads to 128 tokens.
    """
    tokenizer = Tokenizer.from_file(str(directory / artefacts.TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
