"""HAProxy: Debian's and PyPI's, configured alike."""

from peers import LEEWAY, STRIPPED, WORKERS, Peer


# As in HAProxy's own example for `jwt_verify`; the algorithm is never the token's.
HAPROXY_TOKEN = """
    acl protected path_beg -i {prefix}
    http-request set-var(req.token) http_auth_bearer if protected
    http-request deny deny_status 403 unless !protected or {{ var(req.token),jwt_header_query('$.alg') -m str HS256 }}
    http-request deny deny_status 403 unless !protected or {{ var(req.token),jwt_verify("HS256","{secret}") 1 }}
    http-request set-var(req.now) date() if protected
    http-request set-var(req.exp) var(req.token),jwt_payload_query('$.exp','int') if protected
    http-request deny deny_status 403 if protected {{ var(req.now),sub(req.exp) ge {leeway} }}
"""


class Haproxy(Peer):
    name = "haproxy"

    def prepare(self, directory, site, port, load):
        check = HAPROXY_TOKEN.format(secret=site.secret, leeway=LEEWAY, prefix=load.prefix) if load.token else ""
        stripped = "\n".join(f"    http-request del-header {name}" for name in STRIPPED)
        (directory / "haproxy.cfg").write_text(f"""
global
    nbthread {WORKERS}
    maxconn {max(4096, load.most_connections + 128)}
    log stdout format raw local0 info
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout tunnel 1h

frontend tls
    bind 127.0.0.1:{port} ssl crt {site.both} alpn h2,http/1.1 backlog 4096
{check}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto https
{stripped}
    default_backend documentserver

backend documentserver
    option httpchk GET /healthcheck
    server one 127.0.0.1:{site.upstream} check inter 5s
""")
        return [self.program, "-db", "-f", str(directory / "haproxy.cfg")]


class HaproxyWheel(Haproxy):
    name = "haproxy-wheel"
