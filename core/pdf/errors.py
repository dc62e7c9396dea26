"""The child's errors. The parent raises them as `core.errors.DocumentError`."""


class Unreadable(Exception):
    """`code` is a job error code of the HTTP contract, `detail` one sentence for the client."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def malformed() -> Unreadable:
    return Unreadable("pdf_malformed", "The file is not a readable PDF.")


def encrypted() -> Unreadable:
    return Unreadable("pdf_encrypted", "The PDF is protected by a password.")


def too_complex() -> Unreadable:
    return Unreadable("pdf_too_complex", "Reading the document went past its limits.")


def too_many_pages(count: int, limit: int) -> Unreadable:
    return Unreadable("pdf_too_many_pages", f"The PDF has {count} pages; at most {limit} are read.")
