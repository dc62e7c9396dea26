"""The SQL of a message's columns for readers. `{m}` is the alias of the table."""

# A live answer's text is in `answer_chunks`; its row gets the text when the answer ends. If the
# writer's lease has expired, its process is dead. Readers then see the answer as interrupted,
# even before the sweep has ended it.
_IS_DEAD = "{m}.status = 'in_progress' AND {m}.lease_expires_at < clock_timestamp()"
STATUS = f"CASE WHEN {_IS_DEAD} THEN 'interrupted' ELSE {{m}}.status END AS status"
CONTENT = """CASE WHEN {m}.status = 'in_progress' THEN coalesce((
                SELECT string_agg(c.text, '' ORDER BY c.number) FROM answer_chunks c
                WHERE c.message_id = {m}.id AND c.attempt = {m}.attempt
            ), '') ELSE {m}.content END AS content"""
INTERRUPTED = {
    "code": "answer_interrupted",
    "detail": "The process that wrote the answer ended before it was complete.",
}
ERROR = f"""CASE WHEN {_IS_DEAD} THEN jsonb_build_object(
                'code', '{INTERRUPTED["code"]}', 'detail', '{INTERRUPTED["detail"]}'
            ) ELSE {{m}}.error END AS error"""
_ANSWER_FIELDS = f"{{m}}.finish_reason, {ERROR}, {{m}}.feedback"


def message_fields(m: str) -> str:
    """Return the columns of a MessageRecord, in its order. `m` is the alias of the table."""
    return (
        f"{m}.id, {m}.session_id, {m}.position, {m}.sender, {CONTENT}, {m}.context_metadata,"
        f" {m}.retrieved_context, {STATUS}, {m}.model, {m}.usage, {m}.reply_to, {m}.created_at,"
        f" {_ANSWER_FIELDS}, {m}.alternatives, {m}.attempt, {m}.turn_options->>'request_id'"
    ).format(m=m)


# For lists: without the session's id, which the caller knows. An empty context is NULL, so that
# no JSON is decoded for it.
LIST_FIELDS = (
    f"m.id::text, m.position, m.sender, {CONTENT},"
    " nullif(m.context_metadata, '{{}}') AS context_metadata,"
    f" nullif(m.retrieved_context, '[]') AS retrieved_context, {STATUS}, m.model, m.usage,"
    f" m.created_at, {_ANSWER_FIELDS}, nullif(m.alternatives, '{{{{}}}}')::text[] AS alternatives"
).format(m="m")
