"""message search: a function that the full-text index can serve"""

from alembic import op

from core.db import APP_ROLE

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Past row-level security for the reason 0003 gives, and bound to the tenant of
# the transaction in the same way. Planned anew with each call's words: few of a
# user's messages are read through the sessions, rare words through the index.
# The rank is computed here, since each match would else be read twice.
MESSAGES_WITH = r"""
CREATE FUNCTION messages_with(wanted tsquery, owner text)
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


def upgrade() -> None:
    op.execute(MESSAGES_WITH)
    op.execute("REVOKE EXECUTE ON FUNCTION messages_with(tsquery, text) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION messages_with(tsquery, text) TO {APP_ROLE}")


def downgrade() -> None:
    op.execute("DROP FUNCTION messages_with(tsquery, text)")
