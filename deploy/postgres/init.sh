#!/bin/sh
# Runs once, when the database's volume is new. Creates the database `rag` and its owner, who is not
# a superuser, so that row-level security applies to the service. The superuser's password is
# removed, so it can connect only from inside the container:
# docker compose exec postgres psql -U postgres rag
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
