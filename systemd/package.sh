#!/usr/bin/env bash
# Makes the Debian package from a built gateway: systemd/package.sh [BINARY [FOLDER]]; prints the package's path.
#
# With dpkg-deb alone, which every Debian has: what the package holds is this list, and what it does are the scripts in debian/.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-target/dist/rapidpm-gateway}
folder=${2:-target/package}
[ -x "$binary" ] || { echo "$binary is not there: cargo build --locked --profile dist" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
libc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} # the same sources make the same package
export SOURCE_DATE_EPOCH
# Who packs it, as Debian's tools ask it of everybody; else who wrote the last change.
maintainer="${DEBFULLNAME:-$(git log -1 --format=%an)} <${DEBEMAIL:-$(git log -1 --format=%ae)}>"
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
put() { install -D -m "$1" "$2" "$root/$3"; }

put 755 "$binary" usr/bin/rapidpm-gateway
strip --strip-debug "$root/usr/bin/rapidpm-gateway" # names of functions stay, for backtraces
for unit in rapidpm-gateway.service rapidpm-gateway-https.socket rapidpm-gateway-http.socket; do
  put 644 "systemd/$unit" "usr/lib/systemd/system/$unit"
done
put 644 systemd/sysusers.conf usr/lib/sysusers.d/rapidpm-gateway.conf
put 644 systemd/tmpfiles.conf usr/lib/tmpfiles.d/rapidpm-gateway.conf
put 644 gateway.toml etc/rapidpm-gateway/gateway.toml
# The service gets its secret from systemd; nobody has to change the file for that.
sed -i 's/^secret = { env = "ONLY_OFFICE_SECRET" }$/secret = { credential = "onlyoffice-secret" }/' \
  "$root/etc/rapidpm-gateway/gateway.toml"
grep -q '^secret = { credential = "onlyoffice-secret" }$' "$root/etc/rapidpm-gateway/gateway.toml"
doc=usr/share/doc/rapidpm-gateway
put 644 README.md $doc/README.md
gzip -9n < CHANGELOG.md | put 644 /dev/stdin $doc/NEWS.gz
put 644 systemd/debian/copyright $doc/copyright
systemd/notices.py | gzip -9n | put 644 /dev/stdin $doc/NOTICES.gz
put 644 systemd/debian/lintian-overrides usr/share/lintian/overrides/rapidpm-gateway
gzip -9n << CHANGELOG | put 644 /dev/stdin $doc/changelog.gz
rapidpm-gateway ($version) unstable; urgency=medium

  * What changed for users and operators: NEWS.gz beside this file.

 -- $maintainer  $(date -Ru --date="@$SOURCE_DATE_EPOCH")
CHANGELOG
for example in systemd/container/* systemd/rapidpm-gateway.service.d/* monitoring/alerts.yml monitoring/dashboard.json; do
  put 644 "$example" "$doc/examples/$(basename "$example")"
done
put 755 systemd/certbot-deploy.sh usr/libexec/rapidpm-gateway/certbot-deploy
"$binary" man | gzip -9n | put 644 /dev/stdin usr/share/man/man1/rapidpm-gateway.1.gz
"$binary" completions bash | put 644 /dev/stdin usr/share/bash-completion/completions/rapidpm-gateway
"$binary" completions zsh | put 644 /dev/stdin usr/share/zsh/vendor-completions/_rapidpm-gateway
"$binary" completions fish | put 644 /dev/stdin usr/share/fish/vendor_completions.d/rapidpm-gateway.fish

for script in postinst prerm postrm; do put 755 "systemd/debian/$script" "DEBIAN/$script"; done
echo /etc/rapidpm-gateway/gateway.toml > "$root/DEBIAN/conffiles" # an upgrade asks before it touches a changed one
cat > "$root/DEBIAN/control" <<CONTROL
Package: rapidpm-gateway
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Section: web
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1, systemd (>= 252)
Description: gateway in front of an ONLYOFFICE Document Server
 TLS, tokens, routing, editor sockets and a relay that loses no save.
CONTROL
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)

mkdir -p "$folder"
package=$folder/rapidpm-gateway_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
