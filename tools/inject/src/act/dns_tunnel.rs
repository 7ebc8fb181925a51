//! Carries data out in the names that it asks a resolver for.

use rand::Rng;

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::inside::resolver;

pub struct DnsTunnel;

static INFO: Info = Info {
    name: "dns_tunnel",
    kind: Kind::Anomaly,
    attack_id: "T1071.004",
    about: "asks the container's resolver for random labels, 5 to 100 a second",
    needs: "nothing; a resolver at 127.0.0.1:53 answers",
    signals: &[Signal::DnsRate],
};

const LABEL_CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const LABEL_LENGTH: usize = 48;

impl Act for DnsTunnel {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(5.0, 100.0);
        let (mut asked, mut answered, mut bytes) = (0u64, 0u64, 0u64);
        while !ctx.over() {
            let label: String = (0..LABEL_LENGTH)
                .map(|_| {
                    char::from(LABEL_CHARACTERS[ctx.rng.random_range(0..LABEL_CHARACTERS.len())])
                })
                .collect();
            asked += 1;
            bytes += LABEL_LENGTH as u64;
            let answer = resolver::look_up(ctx.rng.random(), &format!("{label}.t.example"));
            answered += u64::from(answer.is_ok());
            ctx.sleep(pause);
        }
        Ok(format!(
            "{asked} questions, {bytes} bytes, {answered} answered"
        ))
    }
}
