//! Generates the live service's client and server from `proto/live.proto`, only for the feature
//! `live`, with protox: no protoc on the machine.

fn main() {
    println!("cargo::rerun-if-changed=proto/live.proto");
    #[cfg(feature = "live")]
    {
        let descriptors = protox::compile(["live.proto"], ["proto"])
            .unwrap_or_else(|error| panic!("proto/live.proto: {error}"));
        tonic_prost_build::configure()
            .compile_fds(descriptors)
            .unwrap_or_else(|error| panic!("generating code for proto/live.proto: {error}"));
    }
}
