//! Takes the whole start path and does nothing: whatever alarms on it has learned the injector.

use std::time::Duration;

use super::{Act, ActError, Ctx, Info, Kind};

pub struct Noop;

static INFO: Info = Info {
    name: "noop",
    kind: Kind::Noop,
    attack_id: "",
    about: "starts like every other class and sleeps",
    needs: "nothing",
    signals: &[],
};

impl Act for Noop {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        while !ctx.over() {
            ctx.sleep(Duration::from_secs(3600));
        }
        Ok("slept".into())
    }
}
