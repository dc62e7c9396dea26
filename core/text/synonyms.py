"""Words that documents and their readers use for the same thing.

A question says `CFO`, `headcount` or `R&D` where the document says `chief financial officer`,
`employees` or `research and development`. The groups are general; names of companies or
products do not belong here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from core.text.words import content_stems

# Short and long forms, two spellings, and terms of a trade for one thing. Wherever one of a
# group is, another one would be right too, so searches find all of them.
_EQUIVALENT = (
    # Companies and their accounts.
    "CEO | chief executive officer",
    "CFO | chief financial officer",
    "COO | chief operating officer",
    "CTO | chief technology officer",
    "CIO | chief information officer",
    "CMO | chief marketing officer",
    "CISO | chief information security officer",
    "HR | human resources",
    "capex | capital expenditures | capital expenditure | capital spending"
    " | purchases of property, plant and equipment | purchases of property and equipment",
    "opex | operating expenses | operating expenditure",
    "PPE | PP&E | property, plant and equipment",
    "COGS | cost of goods sold | cost of sales | cost of products sold",
    "EPS | earnings per share | income per share",
    "net income | net earnings | net profit",
    "revenue | turnover | net sales | net revenue",
    "SG&A | selling, general and administrative",
    "R&D | research and development",
    "IPO | initial public offering",
    "AGM | annual general meeting",
    "buyback | buy back | repurchase | bought back",
    "headcount | workforce | number of employees",
    "shareholder | stockholder",
    "headquarters | headquarter | principal executive offices | principal offices | head office",
    "VAT | value added tax",
    "GDP | gross domestic product",
    "FX | foreign exchange",
    "ARR | annual recurring revenue",
    "SaaS | software as a service",
    "NYSE | New York Stock Exchange",
    # Places and organisations.
    "APAC | Asia Pacific",
    "EMEA | Europe, Middle East and Africa",
    "LatAm | Latin America",
    "US | USA | United States",
    "UK | United Kingdom",
    "EU | European Union",
    "UN | United Nations",
    "NYC | New York City",
    # Programs and machines.
    "config | configuration",
    "repo | repository",
    "param | parameter",
    "arg | argument",
    "env | environment",
    "dir | directory",
    "lib | library",
    "db | database",
    "exit code | exit status | return code | return value | exit value | return status",
    "uid | user ID",
    "gid | group ID",
    "rpm | revolutions per minute",
    # Other short forms.
    "phone | telephone",
    "photo | photograph",
    "app | application",
    "avg | average",
    "approx | approximately",
    "intl | international",
    "govt | government",
    "mgmt | management",
    "qty | quantity",
    "amt | amount",
    "est | estimated",
    "dept | department",
    "FAQ | frequently asked questions",
    "ICU | intensive care unit",
    # British and American spelling.
    "licence | license",
    "defence | defense",
    "offence | offense",
    "colour | color",
    "labour | labor",
    "behaviour | behavior",
    "favour | favor",
    "honour | honor",
    "neighbour | neighbor",
    "harbour | harbor",
    "centre | center",
    "metre | meter",
    "litre | liter",
    "fibre | fiber",
    "theatre | theater",
    "programme | program",
    "catalogue | catalog",
    "organisation | organization",
    "analyse | analyze",
    "amortisation | amortization",
    "grey | gray",
    "aluminium | aluminum",
    "sulphur | sulfur",
    "paediatric | pediatric",
    "anaemia | anemia",
    "tumour | tumor",
    "diarrhoea | diarrhea",
)
# Words that may mean the same in an answer's sentence, but often do not: searches ignore them.
_SIMILAR = (
    "revenue | sales | net sales | net revenue | turnover",
    "profit | income | earnings",
    "pretax income | income before income taxes | income before taxes | profit before tax",
    "employee | workforce | headcount | people | colleague | associate | staff | worker"
    " | personnel",
    "employ | work",
    "store | shop",
    "buy | purchase | acquire | sold | sale",
    "auditor | audit | independent registered public accounting firm",
    "stop | exit | discontinue | cease",
    "passenger | pax",
    "sell | sold | sale | divest",
    "start | begin | open | commence",
    "found | establish | start",
    "income tax | provision for income taxes | tax expense",
    "pay | paid | payment",
    "lose | lost | loss",
    "grow | grew | growth",
    "hold | held",
    "lend | lent",
    "receive | receipt",
    "provide | provision",
    "acquire | acquisition",
    "expand | expansion",
    "extend | extension",
    "decide | decision",
    "divide | division",
    "fly | flown | flight",
    "woman | women",
    "deliver | delivery",
    "make | manufacture | produce",
    "cost | expense",
    "capex | capital investment | additions to property",
    "spend | expenditure | payment",
    "break-up fee | termination fee",
    "fine | penalty",
    "pay | salary | wage | compensation | remuneration",
    "lawsuit | litigation | legal proceeding | action",
    "debt | borrowing | notes payable",
    "loan | lending | credit",
    "customer | client",
    "supplier | vendor",
    "meaning | mean | stand for | indicate",
    "end | expire | terminate | mature | run out",
    "factory | manufacturing facility | manufacturing location | production site",
    "owe | debt | liability",
    "build | construct",
    "boss | manager | supervisor",
    "rule | regulation | requirement",
    "tall | height | high",
    "long | length",
    "wide | width",
    "deep | depth",
    "heavy | weigh | weight",
    "old | age",
    "far | distance",
    "fast | speed",
    "big | large | size",
    "biggest | largest | maximum | no more than | at most",
    "smallest | lowest | minimum | at least",
    "donate | give | gave | given",
    "replace | succeed | successor",
    "lead | head | run | direct",
    "left | remaining | remain | available | unused",
    "commitment | obligation",
    "participant | subject | patient | volunteer | people",
    "deal | transaction | merger",
    "farmland | agricultural land",
    "child | children | pediatric",
    "doctor | physician",
    "medicine | drug",
    "illness | disease",
    "film | movie",
    "car | vehicle",
    "plane | airplane | aircraft",
    "country | nation",
    "town | city",
    "student | pupil",
    "teacher | instructor",
    "writer | author",
    "option | flag | switch",
    "setting | option | parameter",
    "delete | remove | erase",
    "create | make | generate",
    "error | fault | failure",
    "show | display | print",
)


_ALL = _EQUIVALENT + _SIMILAR


@lru_cache(maxsize=2)
def _table(groups: Sequence[str]) -> dict[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Each phrase of the groups, as stems, with the others of its groups and their stems."""
    table: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
    for group in groups:
        phrases = [phrase.strip() for phrase in group.split("|")]
        ways = {phrase: tuple(content_stems(phrase)) for phrase in phrases}
        for way in ways.values():
            others = {phrase: other for phrase, other in ways.items() if other and other != way}
            table.setdefault(way, {}).update(others)
    return {way: others for way, others in table.items() if way}


def synonyms_of(stems: Iterable[str]) -> dict[str, frozenset[tuple[str, ...]]]:
    """For each stem of a known phrase that `stems` contain: the phrases of the same meaning."""
    found: dict[str, frozenset[tuple[str, ...]]] = {}
    for stem, others in _others(stems, _ALL).items():
        found[stem] = frozenset(others.values())
    return found


def is_said(
    word: str,
    stems: set[str] | frozenset[str],
    synonyms: Mapping[str, Collection[tuple[str, ...]]],
) -> bool:
    """Whether a stem, or a phrase that `synonyms` has for it, is among `stems`."""
    return word in stems or any(map(stems.issuperset, synonyms.get(word, ())))


def equivalents_of(stems: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each stem of a known phrase in `stems`: equivalent phrases, with the stems of each.

    Only those that mean the same in all documents, so that a search may look for them too.
    """
    return _others(stems, _EQUIVALENT)


def _others(stems: Iterable[str], groups: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    asked = set(stems)
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for way, others in _table(groups).items():
        if asked.issuperset(way):
            for stem in way:
                found.setdefault(stem, {}).update(others)
    return found
