#!/bin/sh
# certbot's --deploy-hook: hands a certificate to the gateway, which takes it up by itself. Files are named after the lineage,
# as [[tls.certificates]] names them.
set -eu
certs=${CERTS:-/etc/rapidpm-gateway/certs}
name=$(basename "$RENEWED_LINEAGE")
trap 'rm -f "$certs/.$name.pem" "$certs/.$name.key"' EXIT
# The folder's group is the gateway's; nobody else may read them. Whole before they are seen: a renaming is one step.
put() { install -m 0640 -g "$(stat -c %g "$certs")" "$RENEWED_LINEAGE/$1" "$certs/.$name.$2"; }
put fullchain.pem pem
put privkey.pem key
mv "$certs/.$name.pem" "$certs/$name.pem"
mv "$certs/.$name.key" "$certs/$name.key"
