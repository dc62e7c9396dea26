"""The tokenizer of XLM-RoBERTa, which E5 has, made from the pieces in the file of weights.

A unigram model (Kudo 2018) on words that begin with ▁, after SentencePiece's normalisation
`nmt_nfkc`: NFKC, but control characters are deleted, some invisible ones are spaces, and the
full-width tilde stays. Only one character, U+1F23B, which Unicode has added since, becomes another
than by the file's own map.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

SPACE = "▁"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_DELETED = r"[\x01-\x08\x0b\x0e-\x1f\x7f\x{8f}\x{9f}]"
_SPACES = r"[\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}]"
# The second one is a noncharacter, which hides the tilde from NFKC.
_TILDE, _HIDDEN = "\uff5e", "\ufdd0"
# A text that contains "<s>" must not become the token that begins a text. In the file, special
# tokens have 0, the largest log probability.
_NEVER = -100.0


def build_tokenizer(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """The tokenizer of `pieces`, which are texts with their log probabilities, by token id."""
    known = [(text, _NEVER if text in _SPECIAL else score) for text, score in pieces]
    ids = {text: number for number, (text, _) in enumerate(pieces) if text in _SPECIAL}
    tokenizer = Tokenizer(models.Unigram(known, unk_id=ids["<unk>"]))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, ids[name]) for name in ("<s>", "</s>")]
    )
    return tokenizer


def _normalizer() -> Any:
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DELETED), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            normalizers.Replace(_TILDE, _HIDDEN),
            normalizers.NFKC(),
            normalizers.Replace(_HIDDEN, _TILDE),
        ]
    )
