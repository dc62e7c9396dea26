"""words of messages: the service cuts them, as it does those of chunks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PARSED = (
    "(to_tsvector('simple'::regconfig, left(content, 100000))"
    " || array_to_tsvector(ARRAY[chr(1) || tenant_id]))"
)
# An empty text has no words to cut, nor has an answer before it ends.
UNCUT = "tsv IS NULL AND content <> ''"

FORGET_WORDS = """
CREATE FUNCTION forget_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content IS DISTINCT FROM OLD.content THEN
        NEW.tsv := NULL;
    END IF;
    RETURN NEW;
END
$$
"""
# 0004 and 0005 say why it is a function, and why a plan is made for each call. An empty
# query finds nothing. The second half of each union is for messages that are not cut yet.
MESSAGES_WITH = r"""
CREATE OR REPLACE FUNCTION messages_with(wanted tsquery, owner text)
RETURNS TABLE (id uuid, rank float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    tenant text := current_setting('app.tenant_id', true);
    bound tsquery := CASE WHEN numnode(wanted) > 0
                          THEN lexeme_query(chr(1) || tenant) && wanted END;
BEGIN
    IF owner IS NULL THEN
        RETURN QUERY
        SELECT m.id, ts_rank(m.tsv, wanted, 1)::float8
        FROM messages m
        WHERE m.tenant_id = tenant AND m.tsv @@ bound
        UNION ALL
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        WHERE m.tenant_id = tenant AND m.tsv IS NULL AND m.content <> ''
          AND (to_tsvector('simple'::regconfig, left(m.content, 100000))
               || array_to_tsvector(ARRAY[chr(1) || m.tenant_id])) @@ bound;
    ELSE
        RETURN QUERY
        SELECT m.id, ts_rank(m.tsv, wanted, 1)::float8
        FROM messages m
        JOIN sessions s ON s.id = m.session_id
        WHERE m.tenant_id = tenant AND s.tenant_id = tenant AND s.user_id = owner
          AND m.tsv @@ bound
        UNION ALL
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        JOIN sessions s ON s.id = m.session_id
        WHERE m.tenant_id = tenant AND s.tenant_id = tenant AND s.user_id = owner
          AND m.tsv IS NULL AND m.content <> ''
          AND (to_tsvector('simple'::regconfig, left(m.content, 100000))
               || array_to_tsvector(ARRAY[chr(1) || m.tenant_id])) @@ bound;
    END IF;
END
$$
"""
OF_PARSED_TEXT = r"""
CREATE OR REPLACE FUNCTION messages_with(wanted tsquery, owner text)
RETURNS TABLE (id uuid, rank float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    tenant text := current_setting('app.tenant_id', true);
    bound tsquery := CASE WHEN numnode(wanted) > 0
                          THEN lexeme_query(chr(1) || tenant) && wanted END;
BEGIN
    IF owner IS NULL THEN
        RETURN QUERY
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        WHERE m.tenant_id = tenant
          AND (to_tsvector('simple'::regconfig, left(m.content, 100000))
               || array_to_tsvector(ARRAY[chr(1) || m.tenant_id])) @@ bound;
    ELSE
        RETURN QUERY
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        JOIN sessions s ON s.id = m.session_id
        WHERE m.tenant_id = tenant
          AND s.tenant_id = tenant
          AND s.user_id = owner
          AND (to_tsvector('simple'::regconfig, left(m.content, 100000))
               || array_to_tsvector(ARRAY[chr(1) || m.tenant_id])) @@ bound;
    END IF;
END
$$
"""


def upgrade() -> None:
    op.add_column("messages", sa.Column("tsv", postgresql.TSVECTOR(), nullable=True))
    op.execute(FORGET_WORDS)
    op.execute(
        "CREATE TRIGGER forget_words BEFORE UPDATE OF content ON messages"
        " FOR EACH ROW EXECUTE FUNCTION forget_words()"
    )
    op.create_index("ix_messages_words", "messages", ["tsv"], postgresql_using="gin")
    op.create_index(
        "ix_messages_uncut", "messages", ["tenant_id", "id"], postgresql_where=sa.text(UNCUT)
    )
    _replace_index(f" WHERE {UNCUT}")
    op.execute(MESSAGES_WITH)


def downgrade() -> None:
    op.execute(OF_PARSED_TEXT)
    _replace_index("")
    op.drop_index("ix_messages_uncut", table_name="messages")
    op.drop_index("ix_messages_words", table_name="messages")
    op.execute("DROP TRIGGER forget_words ON messages")
    op.execute("DROP FUNCTION forget_words()")
    op.drop_column("messages", "tsv")


def _replace_index(condition: str) -> None:
    """As in 0005: 3 s for 100,000 messages, for which whoever needs messages waits."""
    op.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
    op.execute("DROP INDEX ix_messages_search")
    op.execute(f"CREATE INDEX ix_messages_search ON messages USING gin ({PARSED}){condition}")
    op.execute("ANALYZE messages")
