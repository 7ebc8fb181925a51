//! What an operator does to a container: restarting it, replacing it by a new version of its image.

use crate::act::{Act, ActError, Ctx, Info, Kind};

/// Done by `inject` itself, at the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromOutside {
    /// The same image again, under the same name.
    Restart,
    /// The image's next version, under the same name.
    Deploy,
}

pub struct ContainerRestart;
pub struct ImageDeploy;

static RESTART: Info = Info {
    name: "container_restart",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "the container is stopped and started again under its name",
    needs: "a container of our own",
    signals: &[],
};

static DEPLOY: Info = Info {
    name: "image_deploy",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "the container is replaced by one of the image's next version",
    needs: "a container of our own",
    signals: &[],
};

const INSIDE: ActError = ActError::Missing {
    what: "engine inside: this is done from outside",
};

impl Act for ContainerRestart {
    fn info(&self) -> &'static Info {
        &RESTART
    }

    fn done_outside(&self) -> Option<FromOutside> {
        Some(FromOutside::Restart)
    }

    fn run(&self, _ctx: &mut Ctx) -> Result<String, ActError> {
        Err(INSIDE)
    }
}

impl Act for ImageDeploy {
    fn info(&self) -> &'static Info {
        &DEPLOY
    }

    fn done_outside(&self) -> Option<FromOutside> {
        Some(FromOutside::Deploy)
    }

    fn run(&self, _ctx: &mut Ctx) -> Result<String, ActError> {
        Err(INSIDE)
    }
}
