"""A scripted LLM endpoint for `bench.chat`: many slow streams in one small process.

    python -m bench.chat_llm PORT TOKENS SECONDS_BETWEEN

Each token is the time at which it is sent, so that a listener can compute its delay.
"""

import asyncio
import json
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int, pause: float
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)
    writer.write(HEAD)
    for _ in range(tokens):
        await asyncio.sleep(pause)
        writer.write(event({"content": f"{time.monotonic():.4f} "}, None))
        await writer.drain()
    writer.write(event({}, "stop") + b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()


def event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'model': 'scripted', 'choices': [choice]})}\n\n".encode()


async def serve(port: int, tokens: int, pause: float) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: answer(reader, writer, tokens, pause), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
