//! nginx and HAProxy, set up as somebody would who wants them to pass everything as it is: as origins
//! that tell what they saw, and as proxies to hold bearerd against.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::counterpart::peers;
use crate::support::PATIENCE;

/// A running nginx or HAProxy; it is killed when this is dropped.
pub struct Yardstick {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    folder: TempDir,
}

/// What it does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Answers with what it saw: method, target and the fields `x-id` and `authorization`.
    Origin,
    /// Forwards to this upstream.
    Proxy(SocketAddr),
}

impl Yardstick {
    /// Starts nginx.
    pub fn nginx(role: Role) -> Self {
        let answer = match role {
            Role::Origin => {
                r#"return 200 "$request_method $request_uri $http_x_id $http_authorization\n";"#.into()
            }
            Role::Proxy(upstream) => format!(
                "proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_request_buffering off; proxy_buffering off; proxy_pass_request_headers on;"
            ),
        };
        Self::start("nginx", |folder, address| {
            let text = format!(
                "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ log_format seen '$request_method $request_uri $http_x_id $status';\n\
                 access_log {0}/access.log seen; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
                 fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
                 client_max_body_size 0; merge_slashes off; underscores_in_headers on; ignore_invalid_headers off;\n\
                 large_client_header_buffers 8 32k; keepalive_requests 100000;\n\
                 server {{ listen {address}; location / {{ {answer} }} }} }}\n",
                folder.display()
            );
            let path = folder.join("nginx.conf");
            std::fs::write(&path, text).expect("a configuration");
            let mut command = Command::new("nginx");
            command.arg("-p").arg(folder).arg("-c").arg(path).arg("-e").arg(folder.join("error.log"));
            command
        })
    }

    /// Starts HAProxy.
    pub fn haproxy(role: Role) -> Self {
        let answer = match role {
            Role::Origin => "  option http-buffer-request\n  http-request return status 200 content-type text/plain lf-string \
                             \"%[method] %[url] %[req.hdr(x-id)] %[req.hdr(authorization)]\\n\"\n"
                .to_owned(),
            Role::Proxy(upstream) => format!("  http-reuse always\n  server up {upstream}\n"),
        };
        Self::start("haproxy", |folder, address| {
            let text = format!(
                "global\n  nbthread 1\n  maxconn 1000\n  tune.bufsize 131072\n\
                 defaults\n  mode http\n  timeout client 20s\n  timeout server 20s\n  timeout connect 5s\n\
                 listen all\n  bind {address}\n  stats uri /haproxy-stats\n{answer}"
            );
            let path = folder.join("haproxy.cfg");
            std::fs::write(&path, text).expect("a configuration");
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(path);
            command
        })
    }

    fn start(name: &'static str, prepare: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        peers();
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut command = prepare(folder.path(), address);
        let path = format!("/usr/sbin:/usr/local/sbin:{}", std::env::var("PATH").unwrap_or_default());
        let said = std::fs::File::create(folder.path().join("said")).expect("a file");
        let mut process = command
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let pause = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            if TcpStream::connect(address).is_ok() {
                return Self { name, address, process, folder };
            }
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            thread::sleep(pause);
        }
        let said = std::fs::read_to_string(folder.path().join("said")).unwrap_or_default();
        panic!("{name} does not listen: {said}");
    }

    /// What an nginx has logged, a line for each request: method, target, `x-id` and status.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
