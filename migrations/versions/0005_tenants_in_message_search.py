"""message search: tenants in the full-text index"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TSV = "to_tsvector('simple'::regconfig, left(content, 100000))"
# As in the chunks' index (0003): GIN intersects it with the words, so that a word's use
# by other tenants costs little. No text can make it, chr(1) separates words.
TENANT = "array_to_tsvector(ARRAY[chr(1) || tenant_id])"

WITHOUT_TENANT = r"""
CREATE OR REPLACE FUNCTION messages_with(wanted tsquery, owner text)
RETURNS TABLE (id uuid, rank float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF owner IS NULL THEN
        RETURN QUERY
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        WHERE m.tenant_id = current_setting('app.tenant_id', true)
          AND to_tsvector('simple'::regconfig, left(m.content, 100000)) @@ wanted;
    ELSE
        RETURN QUERY
        SELECT m.id, ts_rank(to_tsvector('simple'::regconfig, left(m.content, 100000)),
                             wanted, 1)::float8
        FROM messages m
        JOIN sessions s ON s.id = m.session_id
        WHERE m.tenant_id = current_setting('app.tenant_id', true)
          AND s.tenant_id = current_setting('app.tenant_id', true)
          AND s.user_id = owner
          AND to_tsvector('simple'::regconfig, left(m.content, 100000)) @@ wanted;
    END IF;
END
$$
"""
# What 0004 says of it holds; `bound` is a constant to the planner, which makes a
# plan for each call. An empty query finds nothing, and `&&` would make it the
# tenant's. The rank is that of the text alone.
WITH_TENANT = r"""
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
    _replace_index(f"({TSV} || {TENANT})")
    op.execute(WITH_TENANT)


def downgrade() -> None:
    op.execute(WITHOUT_TENANT)
    _replace_index(TSV)


def _replace_index(expression: str) -> None:
    """No row is rewritten; whoever needs messages waits meanwhile, 3 s for 100,000 of them.

    The lock that dropping needs is taken first: taken last it would be one more than is held,
    and who had read and waits to write would hold it up for ever.
    """
    op.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
    op.execute("DROP INDEX ix_messages_search")
    op.execute(f"CREATE INDEX ix_messages_search ON messages USING gin ({expression})")
    # An expression has no statistics before the next ANALYZE, which may be long after.
    op.execute("ANALYZE messages")
