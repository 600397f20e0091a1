#!/bin/sh
# Run once by the image of PostgreSQL, after the roles were made: the logins of this installation.
exec psql --no-psqlrc -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file /run/secrets/logins
