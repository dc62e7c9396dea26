"""Memory across sessions with real processes: beat rings, the worker embeds."""

import psycopg2

from tests.functional.conftest import MakeStack
from tests.harness.stack import Stack


def count_vectors(stack: Stack) -> int:
    url = stack.env["DATABASE_URL"].replace("+psycopg2", "")
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM message_vectors WHERE embedding IS NOT NULL")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_the_worker_embeds_messages_of_users(make_stack: MakeStack) -> None:
    stack = make_stack(env={"SWEEP_SECONDS": "0.5"})
    for name in ("web", "worker", "beat"):
        stack.start(name)
    stack.wait_ready()
    client = stack.client()
    sessions = [
        client.post("/api/v1/sessions", json={"user_id": "u"}).json()["id"] for _ in range(2)
    ]
    said = {"sender": "user", "content": "My favourite colour is teal."}
    assert client.post(f"/api/v1/sessions/{sessions[0]}/messages", json=said).status_code == 201
    stack.wait_until(lambda: count_vectors(stack) == 1, what="the message has a vector")
    body = {"message": "What is my favourite colour?", "memory": "user"}
    answer = client.post(f"/api/v1/sessions/{sessions[1]}/chat", json=body).json()[
        "assistant_message"
    ]
    assert answer["content"] == "You said earlier: “My favourite colour is teal.”"
