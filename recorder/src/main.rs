fn main() {
    let all = recorder::probes::PROBES.iter().map(|p| p.id).collect();
    let options = recorder::probes::Options { btf: None, object: None, settings: Default::default(), bulk_bytes: 1 << 20, urgent_bytes: 1 << 20, wanted: all };
    let mut p = recorder::probes::Probes::load(&options).unwrap();
    let _ = p.attach();
    for a in &p.attached { println!("{} {:?}", a.tracepoint, a.reason.as_ref().map(|r| r.replace("\\n", "\n"))); }
}
