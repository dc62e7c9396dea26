"""Parses multipart/form-data strictly, with an error message for each malformed body."""

from collections.abc import Iterator
from typing import IO, Any

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from web.http.file_names import quote_file_name

_READ_BYTES = 64 * 1024
_CUT = {
    State.PREAMBLE: "The boundary that Content-Type names is nowhere in the body.",
    State.PART: "The body ends within the header of a part.",
}


class Malformed(ValueError):
    """The body is not valid multipart/form-data. The message is for the client."""


class StrictForm(FormDataParser):
    """A form parser that fails on a malformed body; Werkzeug's parser returns an empty form.

    Raises Malformed, and RequestEntityTooLarge for too many or too large fields. It decodes
    field values as Latin-1, which preserves every byte. File names may be in UTF-8 or
    Windows-1252; parts keep the whole `Content-Disposition` in their headers.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"silent": False}))

    def _parse_multipart(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        boundary = options.get("boundary", "")
        if not boundary or not boundary.isascii():
            raise Malformed("Content-Type names no boundary.")
        parser = _Parser(
            stream_factory=self.stream_factory,
            max_form_memory_size=self.max_form_memory_size,
            max_form_parts=self.max_form_parts,
            cls=self.cls,
            # A block counts as form memory until the parser knows that it belongs to a file.
            buffer_size=(self.max_form_memory_size or _READ_BYTES) // 2,
        )
        form, files = parser.parse(stream, boundary.encode(), content_length)
        return stream, form, files

    parse_functions = {  # noqa: RUF012  # as the base class has it
        "multipart/form-data": _parse_multipart,
        "application/x-www-form-urlencoded": FormDataParser._parse_urlencoded,
    }


class _Parser(MultiPartParser):
    def parse(
        self, stream: IO[bytes], boundary: bytes, content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
        decoder = _Decoder(boundary, self.max_form_memory_size, max_parts=self.max_form_parts)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        part: Field | File | None = None
        value, sink = bytearray(), None  # of a field, and of a file
        for event in self._events(decoder, stream):
            if isinstance(event, (Field, File)):
                part, value, sink = event, bytearray(), None
                if isinstance(event, File):
                    sink = self.start_file_streaming(event, content_length)
            elif isinstance(event, Data) and part is not None:
                self._write(event.data, sink=sink, value=value)
                if event.more_data:
                    continue
                if isinstance(part, File) and sink is not None:
                    sink.seek(0)
                    files.append((part.name, _file(part, sink)))
                else:
                    fields.append((part.name, value.decode("latin-1")))
        return self.cls(fields), self.cls(files)

    def _events(self, decoder: "_Decoder", stream: IO[bytes]) -> Iterator[Event]:
        while not decoder.complete:
            decoder.receive_data(stream.read(self.buffer_size) or None)
            while True:
                event = decoder.take_event()
                if isinstance(event, NeedData | Epilogue):
                    break
                yield event

    def _write(self, data: bytes, *, sink: IO[bytes] | None, value: bytearray) -> None:
        if sink is not None:
            sink.write(data)
            return
        value += data
        if self.max_form_memory_size is not None and len(value) > self.max_form_memory_size:
            raise RequestEntityTooLarge


class _Decoder(MultipartDecoder):
    def take_event(self) -> Event:
        """The next event. Raises Malformed."""
        state = self.state
        try:
            event = self.next_event()
        except ValueError as error:
            if self.complete:
                cut = "The body ends before the boundary that closes it."
                raise Malformed(_CUT.get(state, cut)) from None
            raise Malformed(f"{error}.") from None
        if isinstance(event, (Field, File)) and not event.name:
            raise Malformed("A part has no name in its Content-Disposition.")
        return event

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        data = quote_file_name(bytes(data))
        # Werkzeug reads only UTF-8. Windows and old clients send file names in Latin-1, which
        # is a subset of Windows-1252.
        for coding in ("utf-8", "windows-1252"):
            try:
                return super()._parse_headers(data.decode(coding).encode())
            except UnicodeDecodeError:
                pass
        return super()._parse_headers(data.decode("latin-1").encode())


def _file(part: File, sink: IO[bytes]) -> FileStorage:
    return FileStorage(sink, part.filename, part.name, headers=part.headers)
