//! `idled`: a daemon with nothing to do, which looks around now and then.

use std::fs;

use crate::inside::pace::Pace;

/// `idled PACE_MILLI SEED`
pub fn main(args: &[String]) -> i32 {
    let Some(pace) = Pace::from_args(args) else {
        eprintln!("usage: idled PACE_MILLI SEED");
        return 2;
    };
    let mut pace = pace.slower(30.0);
    loop {
        let _ = fs::read("/proc/loadavg");
        let _ = fs::metadata("/etc/hosts");
        pace.sleep();
    }
}
