"""The two that are written in Go, Caddy and Traefik. Neither reads a token without what others have made for it."""

import json

from peers import STRIPPED, WORKERS, Peer

IDLE = 512  # connections to the upstream that are kept, as nginx's


class Golang(Peer):
    log, checks_tokens = "access.log", False

    def __init__(self, program, environment=None):
        super().__init__(program, {**(environment or {}), "GOMAXPROCS": str(WORKERS)})


class Caddy(Golang):
    name, says_version = "caddy", ("version",)

    def prepare(self, directory, site, port, load):
        stripped = "\n".join(f"\t\theader_up -{name}" for name in STRIPPED)
        (directory / "Caddyfile").write_text(f"""
{{
	admin off
	persist_config off
	auto_https off
	default_sni localhost
	storage file_system {directory}/storage
	grace_period 2s
	servers {{
		protocols h1 h2
	}}
}}
https://localhost:{port} {{
	bind 127.0.0.1
	tls {site.chain} {site.key}
	log {{
		output file {directory}/access.log {{
			roll_disabled
		}}
		format json
	}}
	reverse_proxy 127.0.0.1:{site.upstream} {{
{stripped}
		header_up -Via
		health_uri /healthcheck
		health_interval 5s
		transport http {{
			compression off
			keepalive_idle_conns {4 * IDLE}
			keepalive_idle_conns_per_host {IDLE}
		}}
	}}
}}
""")
        return [self.program, "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


class Traefik(Golang):
    name, says_version = "traefik", ("version",)

    def version(self):
        return " ".join(super().version().split())

    def prepare(self, directory, site, port, load):
        quoted = json.dumps  # what JSON writes for a text is a text in TOML, too
        stripped = "\n".join(f'        {name} = ""' for name in STRIPPED)
        (directory / "dynamic.toml").write_text(f"""
[http.routers.all]
    rule = "PathPrefix(`/`)"
    entryPoints = ["tls"]
    middlewares = ["strip"]
    service = "documentserver"
    [http.routers.all.tls]
[http.middlewares.strip.headers.customRequestHeaders]
{stripped}
[http.services.documentserver.loadBalancer]
    serversTransport = "many"
    [[http.services.documentserver.loadBalancer.servers]]
        url = "http://127.0.0.1:{site.upstream}"
    [http.services.documentserver.loadBalancer.healthCheck]
        path = "/healthcheck"
        interval = "5s"
[http.serversTransports.many]
    maxIdleConnsPerHost = {IDLE}
[[tls.certificates]]
    certFile = {quoted(str(site.chain))}
    keyFile = {quoted(str(site.key))}
[tls.stores.default.defaultCertificate]
    certFile = {quoted(str(site.chain))}
    keyFile = {quoted(str(site.key))}
""")
        (directory / "traefik.toml").write_text(f"""
[global]
    checkNewVersion = false
    sendAnonymousUsage = false
[log]
    level = "ERROR"
[entryPoints.tls]
    address = "127.0.0.1:{port}"
    [entryPoints.tls.transport.lifeCycle]
        graceTimeOut = "2s"
[providers.file]
    filename = {quoted(str(directory / "dynamic.toml"))}
    watch = false
[accessLog]
    filePath = {quoted(str(directory / "access.log"))}
    format = "json"
""")
        return [self.program, f"--configFile={directory / 'traefik.toml'}"]
