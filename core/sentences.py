"""Where sentences begin and end, in the scripts that PDFs are written in.

Rules in the manner of Unicode UAX #29 (sentence boundaries), which knows no
abbreviations, with those of Latin scripts added. One pass, linear in time.
"""

import re


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_CLOSERS = "\"'”’»›)\\]}」』）】》〉〕］｝"
_SCANNER = re.compile(
    # Full-width stops need no space after them.
    rf"(?P<wide>[。！？｡]++[{_CLOSERS}]*+(?P<wide_space>\s*+))"
    # Stops of Latin, Arabic, Urdu, Indic, Armenian, Ethiopic, Khmer and Burmese, then closing
    # marks and footnote numbers ("…in 1903.[12]").
    rf"|(?P<stop>[.!?…؟۔।॥։።។။‽]++)(?P<close>[{_CLOSERS}]*+(?:\[\d{{1,3}}\])*+)(?P<space>\s*+)"
    r"|(?P<line>[\n\f\u2029]\s*+)"
)
_WORD_BEFORE = re.compile(r"[^\W_](?:[\w.&'’-]*[^\W_])?\Z")
_WORD_AFTER = re.compile(r"[^\W\d_]+")
_ITEM_NUMBER = re.compile(r"(?:^|\n)[ \t]*\(?(?:\d{1,3}(?:\.\d{1,3})*|[ivx]{1,5}|[a-z])\Z", re.I)
_BULLETS = frozenset("•‣◦▪●○■□–—·►➢✓*")
_OPENERS = "\"'“‘«‹([{¿¡„‚「『（"
# How far a stop looks around: no abbreviation and no first word is longer.
_REACH = 32

_NEVER_LAST = _words(
    "mr mrs ms mx dr prof rev hon gen sen rep gov pres capt cpt cmdr lt col maj sgt adm st ste mt"
    " vs viz cf e.g i.e eg ie approx ca esp incl resp z.b d.h u.a bzw vgl sog mme mlle mgr fr sra"
    " dra srta sig avv ing arch al messrs mssrs dipl ph"
)
_BEFORE_NUMBER = _words(
    "no nos nr n° p pp pg fig figs eq eqs vol vols sec secs sect ch chap art arts par para abs"
    " tab ref refs ex exh app jan feb mar apr jun jul aug sep sept oct nov dec b c r"
)
_SELDOM_LAST = _words(
    "inc ltd co corp llc plc bros jr sr esq dept univ assn est etc usw a.m p.m u.s u.k u.n u.s.a"
    " e.u d.c b.c a.d ph.d m.d b.a m.a b.s m.s a.k.a et.al"
)
_SENTENCE_STARTERS = _words(
    "the a an this that these those it its he she they we you i his her their our there here in on"
    " at by for from with as after before during since when while although however but and or if"
    " what who where why how which one some many most all both each no not according because"
    " despite unlike under over today also then thus der die das ein eine es er sie wir im le la"
    " les il elle un une el los las en"
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans `(start, end)` of the sentences of `text`, in order.

    Spans do not overlap, begin and end with a character that is no white space,
    and leave out nothing but white space. A blank line and a bullet end a sentence
    too; a single line break does not, as PDF lines break anywhere.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _SCANNER.finditer(text):
        if _is_boundary(text, match):
            _add_span(spans, text, start, match.end())
            start = match.end()
    _add_span(spans, text, start, len(text))
    return spans


def sentences_of(text: str) -> list[str]:
    """The sentences of `text` themselves, exactly as they stand in it."""
    return [text[start:end] for start, end in split_sentences(text)]


def _add_span(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(stripped)))


def _is_boundary(text: str, match: re.Match[str]) -> bool:
    if match.end() >= len(text):
        return True
    if match["wide"]:
        # 「何？」と and a full-width stop in mid-quote both go on without a new sentence only
        # when Latin punctuation follows; anything else begins one.
        return text[match.end()] not in ",.;:、，；："
    if match["line"]:
        return _is_paragraph_break(text, match["line"], match.end())
    if not match["space"]:
        return False
    if _is_paragraph_break(text, match["space"], match.end()):
        return True
    return _stop_ends_sentence(text, match)


def _is_paragraph_break(text: str, space: str, end: int) -> bool:
    if space.count("\n") >= 2 or "\f" in space or "\u2029" in space:
        return True
    return "\n" in space and text[end] in _BULLETS


def _stop_ends_sentence(text: str, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + _REACH].lstrip(_OPENERS)
    if not following:
        return True
    if following[0].islower() or following[0] in ",;:":
        return False
    if match["stop"] != "." or match["close"]:
        return True
    return _full_stop_ends_sentence(text[max(0, match.start() - _REACH) : match.start()], following)


def _full_stop_ends_sentence(before: str, following: str) -> bool:
    if _ITEM_NUMBER.search(before):
        return False
    found = _WORD_BEFORE.search(before)
    if not found:
        return True
    word = found[0].lower()
    if word in _NEVER_LAST:
        return False
    if word in _BEFORE_NUMBER and following[0].isdigit():
        return False
    if word in _SELDOM_LAST or _is_initial(found[0]):
        return _begins_sentence(following)
    return True


def _is_initial(word: str) -> bool:
    """One capital (`J.`) or several with stops between them (`J.R.R.`)."""
    return all(len(part) == 1 and part.isupper() for part in word.split("."))


def _begins_sentence(following: str) -> bool:
    first = _WORD_AFTER.match(following)
    return first is not None and first[0].lower() in _SENTENCE_STARTERS
