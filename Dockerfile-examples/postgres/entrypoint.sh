#!/bin/sh
# Makes the database on first start; the data lives in the volume and outlives the container.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --auth-local=trust --auth-host=scram-sha-256 >/dev/null
fi
exec "$@"
