//! Generates the live service's messages from `proto/live.proto` for the feature `messages`, its client
//! and server for the feature `live`; with protox: no protoc on the machine.

fn main() {
    println!("cargo::rerun-if-changed=proto/live.proto");
    #[cfg(feature = "messages")]
    {
        let descriptors = protox::compile(["live.proto"], ["proto"])
            .unwrap_or_else(|error| panic!("proto/live.proto: {error}"));
        tonic_prost_build::configure()
            .build_client(cfg!(feature = "live"))
            .build_server(cfg!(feature = "live"))
            .compile_fds(descriptors)
            .unwrap_or_else(|error| panic!("generating code for proto/live.proto: {error}"));
    }
}
