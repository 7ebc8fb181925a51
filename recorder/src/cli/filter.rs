//! The options of the filter, shared by all recording commands.

use std::time::Duration;

use clap::Args;
use recorder::filter::{
    Filter,
    value::{KINDS, Value},
};

use super::duration;

/// Values of one option are alternatives, and all options hold together; an event that has no path, no
/// address or no result is not what they ask for
#[derive(Args, Default)]
#[command(next_help_heading = "Filter (in the kernel)")]
pub struct FilterArgs {
    /// Who: only this container (name, id or beginning of an id); may be repeated
    #[arg(long, value_name = "CONTAINER", value_parser = value("container"))]
    container: Vec<Value>,
    /// Who: only this process and what descends from it; may be repeated
    #[arg(long, value_name = "PID", value_parser = value("tree"))]
    tree: Vec<Value>,
    /// Who: only this user, by number or name
    #[arg(long, value_name = "USER", value_delimiter = ',', value_parser = value("uid"))]
    uid: Vec<Value>,
    /// Who: only programs of this name, 15 bytes at most, as `ps -o comm` shows it; may be repeated
    #[arg(long, value_name = "NAME", value_parser = value("comm"))]
    comm: Vec<Value>,
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = value("kind"), help = kinds())]
    kind: Vec<Value>,
    /// What: only these system calls (or kinds of events)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = value("syscall"))]
    syscall: Vec<Value>,
    /// What: only system calls that ended so: success, failed, or an errno (EACCES, 13)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = value("result"))]
    result: Vec<Value>,
    /// Where: only this path and what lies below it, as the process sees it; may be repeated
    #[arg(long, value_name = "PATH", value_parser = value("path"))]
    path: Vec<Value>,
    /// Where: only this address, network or port, at either end: 10.0.0.0/8, 10.1.2.3:443, [::1]:53, :443;
    /// may be repeated
    #[arg(long, value_name = "ADDR", value_parser = value("address"))]
    address: Vec<Value>,
    /// Where: only connections that took this long to make, or lasted this long: 100ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    min_duration: Option<Duration>,
    /// Not this container, or not OPTION=VALUE of the options above (comm=sshd, path=/proc, address=:53);
    /// may be repeated
    #[arg(long, value_name = "CONTAINER|OPTION=VALUE", value_parser = Value::excluded)]
    exclude: Vec<Value>,
}

fn kinds() -> String {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    format!(
        "What: only these kinds of events: {}. Forks, execs, exits and cgroups are recorded in any case",
        names.join(", ")
    )
}

fn value(
    option: &'static str,
) -> impl Fn(&str) -> Result<Value, String> + Clone + Send + Sync + 'static {
    move |text| Value::parse(option, text)
}

impl FilterArgs {
    pub fn filter(&self) -> Filter {
        let wanted = [
            &self.container,
            &self.tree,
            &self.uid,
            &self.comm,
            &self.kind,
            &self.syscall,
            &self.result,
            &self.path,
            &self.address,
        ];
        Filter {
            wanted: wanted.into_iter().flatten().cloned().collect(),
            left_out: self.exclude.clone(),
            min_duration: self.min_duration.filter(|least| !least.is_zero()),
        }
    }
}
