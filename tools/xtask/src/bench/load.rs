//! The loads: a server on CPU 0, its clients on CPU 1, over loopback. Little is done besides system
//! calls, so that what is measured is the cost of observing them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repo;

const CONNECTIONS: &str = "32";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// What one slice of load gave.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Requests a second.
    pub rate: f64,
    /// Instructions of the whole machine, kernel and user space, per request: what the slice cost where
    /// time is too noisy to say it. None where the machine does not count them.
    pub instructions: Option<f64>,
}

/// Something that can be asked for load.
pub trait Load {
    fn slice(&self, seconds: u32) -> Result<Slice>;
}

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
        let port = free_port()?;
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
        let mut command = repo::command(nginx);
        command
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = repo::ends_with_us(&mut command, libc::SIGTERM)
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self {
            child,
            port,
            dir: dir.to_path_buf(),
        };
        wait_for(&mut nginx.child, port, "nginx")
            .with_context(|| fs::read_to_string(nginx.dir.join("error.log")).unwrap_or_default())?;
        Ok(nginx)
    }

    /// Requests a second over `seconds` of load.
    pub fn requests_per_second(&self, seconds: u32) -> Result<f64> {
        let mut wrk = self.wrk(seconds);
        rate_of_wrk(&repo::output(&mut wrk)?)
    }

    fn wrk(&self, seconds: u32) -> Command {
        let mut wrk = repo::command("taskset");
        wrk.args(["-c", "1", "wrk", "-t", "1", "-c", CONNECTIONS, "-d"])
            .arg(format!("{seconds}s"))
            .arg(format!("http://127.0.0.1:{}/", self.port));
        repo::ends_with_us(&mut wrk, libc::SIGTERM);
        wrk
    }
}

impl Load for Nginx {
    fn slice(&self, seconds: u32) -> Result<Slice> {
        let (said, instructions) = counted(&self.wrk(seconds), &self.dir)?;
        let rate = rate_of_wrk(&said)?;
        Ok(Slice {
            rate,
            instructions: instructions.map(|all| all / (rate * f64::from(seconds))),
        })
    }
}

fn rate_of_wrk(said: &str) -> Result<f64> {
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

/// Runs `command` and counts the instructions of all CPUs meanwhile; what it said, and their number.
fn counted(command: &Command, dir: &Path) -> Result<(String, Option<f64>)> {
    let counts = dir.join("instructions.csv");
    let mut perf = repo::command(repo::need_program("perf", "linux-perf")?);
    perf.args(["stat", "--all-cpus", "--field-separator", ",", "--output"])
        .arg(&counts)
        .args(["--event", "instructions:u,instructions:k", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    repo::ends_with_us(&mut perf, libc::SIGTERM);
    let said = repo::output(&mut perf)?;
    let text =
        fs::read_to_string(&counts).with_context(|| format!("cannot read {}", counts.display()))?;
    Ok((said, instructions(&text)))
}

/// The sum of the counts, the first field of each line; None: not supported here.
fn instructions(text: &str) -> Option<f64> {
    let counts: Vec<f64> = text
        .lines()
        .filter(|line| line.contains("instructions"))
        .filter_map(|line| line.split(',').next()?.parse().ok())
        .collect();
    (counts.len() == 2).then(|| counts.iter().sum())
}

/// Redis on CPU 0, asked for one small value again and again by redis-benchmark on CPU 1.
pub struct Redis {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Redis {
    pub fn start(dir: &Path) -> Result<Self> {
        let redis = repo::need_program("redis-server", "redis-server")?;
        repo::need_program("redis-benchmark", "redis-tools")?;
        fs::create_dir_all(dir)?;
        let port = free_port()?;
        let mut command = repo::command("taskset");
        command
            .args(["-c", "0"])
            .arg(redis)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = repo::ends_with_us(&mut command, libc::SIGTERM)
            .spawn()
            .context("cannot start redis-server")?;
        let dir = dir.to_path_buf();
        let mut redis = Self { child, port, dir };
        wait_for(&mut redis.child, port, "redis-server")?;
        Ok(redis)
    }
}

impl Load for Redis {
    /// redis-benchmark counts requests, not seconds: a short run says how many fit.
    fn slice(&self, seconds: u32) -> Result<Slice> {
        const TRIAL: u64 = 20_000;
        let benchmark = |requests: u64| {
            let mut benchmark = repo::command("taskset");
            benchmark
                .args(["-c", "1", "redis-benchmark", "-t", "get", "--csv", "-c"])
                .args([CONNECTIONS, "-p", &self.port.to_string()])
                .args(["-n", &requests.to_string()]);
            benchmark
        };
        let trial = rate_of_redis(&repo::output(&mut benchmark(TRIAL))?)?;
        let requests = (trial * f64::from(seconds)) as u64;
        let (said, instructions) = counted(&benchmark(requests), &self.dir)?;
        Ok(Slice {
            rate: rate_of_redis(&said)?,
            instructions: instructions.map(|all| all / requests as f64),
        })
    }
}

fn rate_of_redis(said: &str) -> Result<f64> {
    said.lines()
        .find_map(|line| {
            line.strip_prefix("\"GET\",\"")?
                .split('"')
                .next()?
                .parse()
                .ok()
        })
        .with_context(|| format!("redis-benchmark gave no rate:\n{said}"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // SAFETY: kill takes plain numbers; the child has not been waited for, so its pid is still its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let _ = child.wait();
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Until the server answers.
fn wait_for(child: &mut Child, port: u16, name: &str) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended with {status}");
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("{name} does not answer on port {port}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_generators_say_is_read() {
        let wrk = "  12 requests in 1.00s\nRequests/sec:  58783.12\nTransfer/sec: 1MB\n";
        assert_eq!(rate_of_wrk(wrk).expect("a rate"), 58783.12);
        assert!(rate_of_wrk("Non-2xx or 3xx responses: 3\nRequests/sec: 9\n").is_err());
        let redis = "\"test\",\"rps\",\"avg\"\n\"GET\",\"90909.09\",\"0.2\"\n";
        assert_eq!(rate_of_redis(redis).expect("a rate"), 90909.09);
        let perf = "# started\n\n1000,,instructions:u,1,100.00,,\n500,,instructions:k,1,100.00,,\n";
        assert_eq!(instructions(perf), Some(1500.0));
        let unsupported = "<not supported>,,instructions:u,0,0.00,,\n";
        assert_eq!(instructions(unsupported), None);
    }
}
