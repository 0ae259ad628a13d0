"""nginx, from Debian."""

from contestants.site import Site
from origin import TOKEN
from server import Server, free_port


def server(label: str, site: Site) -> Server:
    setup, folder, port = site.setup, site.folder, free_port()
    tls = ""
    if site.upstream.authority:
        tls = f"""
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_session_reuse on;
            proxy_ssl_server_name on;
            proxy_ssl_name localhost;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {site.upstream.authority};"""
    # Large bodies: bigger blocks, and never a file on disk.
    bulk = ""
    if setup.bulk:
        bulk = """
            proxy_buffer_size 128k;
            proxy_buffers 4 128k;
            proxy_busy_buffers_size 256k;
            proxy_max_temp_file_size 0;
            client_body_buffer_size 128k;"""
    # One process and no master: the least memory and the quickest start that it has.
    config = site.write("nginx.conf", f"""
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    http2_max_concurrent_streams 128;
    tcp_nodelay on;
    client_body_temp_path {folder}/n-body; proxy_temp_path {folder}/n-proxy;
    fastcgi_temp_path {folder}/n-f; uwsgi_temp_path {folder}/n-u; scgi_temp_path {folder}/n-s;
    upstream origin {{
        server 127.0.0.1:{site.upstream.port};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096{" http2" if setup.http2 else ""};
        location / {{
            proxy_pass {site.upstream.scheme}://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {TOKEN}";{tls}{bulk}
        }}
    }}
}}
""")
    return Server(label, ["nginx", "-c", str(config)], port, http2=setup.http2)
