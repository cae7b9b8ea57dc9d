#!/usr/bin/env bash
# Autobahn's cases straight to an echo server and through the gateway over TLS. Slow, so not a part of `cargo test`.
# Options go to kosoku, such as `-i '1.*'`. Reports stay in target/autobahn.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/autobahn/venv
if [ ! -x "$venv/bin/kosoku" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check kosoku==0.1.0
fi
# 12 and 13 are about compression, which neither the editor nor its server asks for.
cargo run --locked --quiet --example autobahn -- "$venv/bin/kosoku" target/autobahn -p 8 -x '12.*' -x '13.*' "$@"
