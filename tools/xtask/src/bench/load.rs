//! The load: nginx with one worker on CPU 0, wrk on CPU 1, a small file over loopback. Six system calls
//! a request, so that what is measured is the cost of observing them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repo;

const CONNECTIONS: &str = "32";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// What a request returns: smaller than a packet, so that copying costs nothing beside the calls.
const BODY: &str = "<!doctype html><title>bench</title><p>ok\n";

pub struct Nginx {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Nginx {
    /// Everything it reads and writes is below `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let nginx = repo::need_program("nginx", "nginx-light")?;
        repo::need_program("wrk", "wrk")?;
        fs::create_dir_all(dir.join("www"))?;
        fs::write(dir.join("www/index.html"), BODY)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let config = format!(
            "worker_processes 1; worker_cpu_affinity 01; daemon off; master_process on; user root;
             pid {0}/pid; error_log {0}/error.log;
             events {{ worker_connections 256; }}
             http {{
               access_log off; keepalive_requests 1000000000; tcp_nopush on;
               client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
               fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
               server {{ listen 127.0.0.1:{port}; root {0}/www; }}
             }}",
            dir.display()
        );
        fs::write(dir.join("nginx.conf"), config)?;
        let child = repo::command(nginx)
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self {
            child,
            port,
            dir: dir.to_path_buf(),
        };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = nginx.child.try_wait()? {
                let log = fs::read_to_string(nginx.dir.join("error.log")).unwrap_or_default();
                bail!("nginx ended with {status}: {log}");
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("nginx does not answer on port {port}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// Requests a second over `seconds` of load.
    pub fn requests_per_second(&self, seconds: u32) -> Result<f64> {
        let duration = format!("{seconds}s");
        let url = format!("http://127.0.0.1:{}/", self.port);
        let said = repo::output(repo::command("taskset").args([
            "-c",
            "1",
            "wrk",
            "-t",
            "1",
            "-c",
            CONNECTIONS,
            "-d",
            &duration,
            &url,
        ]))?;
        if said.contains("Socket errors") || said.contains("Non-2xx") {
            bail!("wrk met errors, so its rate means nothing:\n{said}");
        }
        said.lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("Requests/sec:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .with_context(|| format!("wrk gave no rate:\n{said}"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SAFETY: kill takes plain numbers; the child has not been waited for, so its pid is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}
