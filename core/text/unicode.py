"""Text that PostgreSQL and UTF-8 can hold."""

from collections.abc import AsyncIterable, AsyncIterator


def repaired(text: str) -> str:
    """`text` as PostgreSQL and UTF-8 can hold it: U+FFFD for U+0000 and for lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")


async def storable(deltas: AsyncIterable[str]) -> AsyncIterator[str]:
    """`deltas`, repaired. A surrogate pair that is split between two of them is joined first.

    JSON may escape a character beyond U+FFFF as two surrogates, and a provider may cut between
    them.
    """
    held = ""
    async for delta in deltas:
        text = held + delta
        held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        if shown := repaired(text.removesuffix(held)):
            yield shown
    if held:
        yield repaired(held)
