#!/bin/sh
# Run once, when the database's volume is new: database `rag` and its owner, who is no superuser,
# so that row-level security binds the service. The superuser loses his password and is reached
# from inside the container only: docker compose exec postgres psql -U postgres rag
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set password="$POSTGRES_PASSWORD" <<'END'
CREATE ROLE rag LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE rag OWNER rag TEMPLATE template0
    ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8';
\connect rag
CREATE EXTENSION IF NOT EXISTS vector;
ALTER ROLE CURRENT_USER PASSWORD NULL;
END
