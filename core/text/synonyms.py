"""Words that business documents and their readers use for the same thing.

A question says `CFO`, `headcount` or `R&D` where the document says `chief financial officer`,
`employees` or `research and development`. The groups are general; names of companies or
products do not belong here.
"""

from collections.abc import Iterable
from functools import lru_cache

from core.text.words import content_stems

_GROUPS = (
    "revenue | sales | net sales | net revenue | turnover",
    "profit | income | earnings",
    "pretax income | income before income taxes | income before taxes | profit before tax",
    "loss | loss",
    "employee | workforce | headcount | people | colleague | associate | staff | worker",
    "employ | work",
    "research and development | R&D | RD",
    "CEO | chief executive officer",
    "CFO | chief financial officer",
    "COO | chief operating officer",
    "headquarters | headquarter | principal executive offices | principal offices | head office",
    "APAC | Asia Pacific | Asia-Pacific",
    "EMEA | Europe, Middle East and Africa",
    "LatAm | Latin America",
    "US | USA | United States",
    "UK | United Kingdom",
    "EPS | earnings per share",
    "capex | capital expenditures | purchases of property, plant and equipment",
    "buy back | buyback | repurchase",
    "shareholder | stockholder",
    "store | shop",
    "buy | purchase | acquire | sold | sale",
    "auditor | audit | independent registered public accounting firm",
    "stop | exit | discontinue | cease",
    "passenger | pax",
    "sell | sold | sale | divest",
    "buy back | buyback | repurchase | bought back",
    "start | begin | open",
    "found | establish | start",
    "income tax | provision for income taxes | tax expense",
    "deliver | delivery",
    "make | manufacture | produce",
    "cost | expense",
    "SG&A | selling, general and administrative",
)


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str, ...], frozenset[tuple[str, ...]]]:
    """Each phrase of the groups, as stems, with the phrases of the same meaning."""
    table: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for group in _GROUPS:
        ways = {tuple(content_stems(way)) for way in group.split("|")}
        for way in ways:
            table.setdefault(way, set()).update(ways - {way})
    return {way: frozenset(others) for way, others in table.items() if way}


def synonyms_of(stems: Iterable[str]) -> dict[str, frozenset[tuple[str, ...]]]:
    """For each stem of a known phrase that `stems` contain: the phrases of the same meaning."""
    asked = list(stems)
    found: dict[str, frozenset[tuple[str, ...]]] = {}
    for way, others in _table().items():
        if all(stem in asked for stem in way):
            for stem in way:
                found[stem] = found.get(stem, frozenset()) | others
    return found
