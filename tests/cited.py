"""The citations in an answer, for the tests' assertions."""

from core.answering.citations import citing_statements


def cited_indexes(text: str) -> list[int]:
    """The numbers that the markers in `text` name, each once, in order of appearance."""
    return list(citing_statements(text))


def cited_statements(text: str) -> dict[int, str]:
    """The first sentence that cites each number."""
    return {number: statements[0] for number, statements in citing_statements(text).items()}
