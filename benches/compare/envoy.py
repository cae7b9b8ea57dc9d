"""Envoy, with its `jwt_authn` filter where a token is asked for."""

import base64
import json

from peers import LEEWAY, STRIPPED, WORKERS, Peer

API = "type.googleapis.com/envoy.extensions"
MANY = 1_000_000  # Envoy refuses the 1,025th request in flight unless told otherwise; the others have no such bound
LINE = ('{"time":"%START_TIME%","address":"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%","method":"%REQ(:METHOD)%","uri":"%REQ(:PATH)%",'
        '"protocol":"%PROTOCOL%","status":%RESPONSE_CODE%,"bytes":%BYTES_SENT%,"duration":%DURATION%,'
        '"upstream":"%UPSTREAM_HOST%","agent":"%REQ(USER-AGENT)%"}\n')


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": f"{API}.{kind}", **fields}}


def token_filter(site, load):
    """HS256 and no other: the algorithm is the key's. No verdict is remembered, as with the others (`jwt_cache_config` is off)."""
    secret = base64.urlsafe_b64encode(site.secret.encode()).rstrip(b"=").decode()
    keys = {"keys": [{"kty": "oct", "kid": "one", "alg": "HS256", "k": secret}]}
    provider = {"local_jwks": {"inline_string": json.dumps(keys)}, "forward": True, "clock_skew_seconds": LEEWAY,
                "require_expiration": True}
    return typed("envoy.filters.http.jwt_authn", "filters.http.jwt_authn.v3.JwtAuthentication",
                 providers={"integrator": provider},
                 rules=[{"match": {"prefix": load.prefix}, "requires": {"provider_name": "integrator"}}])


def manager(directory, site, load):
    set_fields = {"X-Forwarded-For": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "X-Forwarded-Host": "%REQ(:AUTHORITY)%",
                  "X-Forwarded-Proto": "https"}
    routes = {
        "virtual_hosts": [{"name": "all", "domains": ["*"],
                           "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "documentserver", "timeout": "0s"}}]}],
        "request_headers_to_remove": list(STRIPPED),
        "request_headers_to_add": [{"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                                   for key, value in set_fields.items()]}
    router = typed("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True)
    return typed(
        "envoy.filters.network.http_connection_manager", "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="tls", codec_type="AUTO", use_remote_address=True, skip_xff_append=True, generate_request_id=False,
        upgrade_configs=[{"upgrade_type": "websocket"}], stream_idle_timeout="3600s", route_config=routes,
        access_log=[typed("envoy.access_loggers.file", "access_loggers.file.v3.FileAccessLog", path=str(directory / "access.log"),
                          log_format={"text_format_source": {"inline_string": LINE}})],
        http_filters=[*([token_filter(site, load)] if load.token else []), router])


class Envoy(Peer):
    name, log, says_version = "envoy", "access.log", ("--version",)

    def prepare(self, directory, site, port, load):
        tls = typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": str(site.chain)}, "private_key": {"filename": str(site.key)}}]})
        listener = {
            "name": "tls", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}, "tcp_backlog_size": 4096,
            "filter_chains": [{"transport_socket": tls, "filters": [manager(directory, site, load)]}]}
        endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": site.upstream}}}
        cluster = {
            "name": "documentserver", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "documentserver", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
            "health_checks": [{"timeout": "5s", "interval": "5s", "unhealthy_threshold": 3, "healthy_threshold": 1,
                               "http_health_check": {"path": "/healthcheck"}}],
            "circuit_breakers": {"thresholds": [{"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY}]}}
        file = directory / "envoy.json"
        file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1))
        file.chmod(0o600)  # it holds the secret
        return [self.program, "-c", str(file), "--concurrency", str(WORKERS), "--disable-hot-restart", "--log-level", "warn"]
