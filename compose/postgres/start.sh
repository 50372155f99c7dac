#!/bin/sh
# Makes the database at the first start, then is PostgreSQL. A first start that is interrupted begins anew.
set -eu
programs=/usr/lib/postgresql/15/bin
data=/state/data
if [ ! -d "$data" ]; then
    rm -rf "$data.part"
    "$programs/initdb" --pgdata="$data.part" --username=isthmus --encoding=UTF8 --locale=C --auth=reject
    printf 'CREATE ROLE control LOGIN;\nCREATE DATABASE isthmus OWNER control;\n' |
        "$programs/postgres" --single -D "$data.part" postgres
    mv "$data.part" "$data"
fi
exec "$programs/postgres" -D "$data" -c config_file=/etc/isthmus/postgresql.conf
