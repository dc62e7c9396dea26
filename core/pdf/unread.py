"""Finds parts of a file that are not read: attachments, portfolios, XFA forms."""

from collections.abc import Iterator
from typing import Any

from core.pdf.cleaning import clean_line
from core.pdf.values import DocumentNote

_MAX_NODES = 1000  # of the tree of attachments' names
_MAX_FILES = 1000
_NAMED_FILES = 5
_MAX_NAME_CHARS = 80


def find_unread(root: Any) -> list[DocumentNote]:
    """Notes on the catalog `root` of pypdf (ISO 32000-2, 7.11.4, 12.3.5 and 12.7.8)."""
    names = list(_attached_names(root))
    form = _resolved(root, "/AcroForm")
    return describe_unread(
        names=names,
        is_portfolio=_resolved(root, "/Collection") is not None,
        has_xfa=_resolved(form, "/XFA") is not None,
    )


def describe_unread(*, names: list[str], is_portfolio: bool, has_xfa: bool) -> list[DocumentNote]:
    """The notes for attached files of these names, a portfolio, an XFA form."""
    notes = []
    if is_portfolio:
        detail = f"The file is a portfolio; only its cover pages were read, not {_files(names)}."
        notes.append(DocumentNote("portfolio_not_read", detail))
    elif names:
        were = "was" if len(names) == 1 else "were"
        detail = f"{_files(names).capitalize()} {were} attached and not read."
        notes.append(DocumentNote("attachments_not_read", detail))
    if has_xfa:
        detail = "The file holds an XFA form; only what its PDF pages and fields show was read."
        notes.append(DocumentNote("xfa_form_not_read", detail))
    return notes


def _files(names: list[str]) -> str:
    if not names:
        return "the files in it"
    shown = [clean_line(name)[:_MAX_NAME_CHARS] or "a file without a name" for name in names]
    listed = ", ".join(shown[:_NAMED_FILES]) + (", …" if len(names) > _NAMED_FILES else "")
    return f"{len(names)} file{'s' if len(names) > 1 else ''} ({listed})"


def _attached_names(root: Any) -> Iterator[str]:
    """Names in the tree of embedded files; a broken or endless tree ends early."""
    nodes = [_resolved(_resolved(root, "/Names"), "/EmbeddedFiles")]
    found = 0
    for _ in range(_MAX_NODES):
        if not nodes:
            return
        node = nodes.pop()
        entries = _resolved(node, "/Names")
        for entry in entries[::2] if isinstance(entries, list) else ():
            found += 1
            if found > _MAX_FILES:
                return
            yield str(entry)
        children = _resolved(node, "/Kids")
        nodes += [child.get_object() for child in children] if isinstance(children, list) else []


def _resolved(holder: Any, key: str) -> Any:
    """The object under `key` of a dictionary; None if there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value.get_object() if value is not None else None
