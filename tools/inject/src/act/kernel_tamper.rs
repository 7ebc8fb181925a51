//! Asks the kernel to load modules, programs and another kernel, all refused.

use std::time::Duration;

use super::{Act, ActError, Ctx, Info, Kind, Signal, capabilities::refuse_powerful};

pub struct KernelTamper;

static INFO: Info = Info {
    name: "kernel_tamper",
    kind: Kind::Anomaly,
    attack_id: "T1547.006",
    about: "init_module, finit_module, delete_module, kexec_load and bpf, refused, every 0.5 to 5 s",
    needs: "a container without CAP_SYS_MODULE, CAP_SYS_ADMIN, CAP_SYS_BOOT and CAP_BPF",
    signals: &[Signal::KernelCalls],
};

/// `enum bpf_cmd` of include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;

/// All zeros: no program even where anybody may load one.
const BPF_ATTRIBUTES: [u64; 16] = [0; 16];

impl Act for KernelTamper {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        refuse_powerful()?;
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let (mut tries, mut granted) = (0u64, 0u64);
        // At least once, however short its time.
        loop {
            // SAFETY: no capability is held, so the kernel refuses before it looks at an argument;
            // those that are pointers are null, empty strings or zeros that outlive the call.
            let results = unsafe {
                [
                    libc::syscall(libc::SYS_init_module, 0usize, 0usize, c"".as_ptr()),
                    libc::syscall(libc::SYS_finit_module, -1, c"".as_ptr(), 0),
                    libc::syscall(
                        libc::SYS_delete_module,
                        c"nothing".as_ptr(),
                        libc::O_NONBLOCK,
                    ),
                    libc::syscall(libc::SYS_kexec_load, 0usize, 0usize, 0usize, 0usize),
                    libc::syscall(
                        libc::SYS_bpf,
                        BPF_PROG_LOAD,
                        BPF_ATTRIBUTES.as_ptr(),
                        size_of_val(&BPF_ATTRIBUTES),
                    ),
                ]
            };
            tries += results.len() as u64;
            granted += results.iter().filter(|result| **result >= 0).count() as u64;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{tries} calls, {granted} granted"));
            }
        }
    }
}
