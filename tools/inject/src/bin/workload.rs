//! The only program inside a container: see [`inject::inside`].

fn main() {
    std::process::exit(inject::inside::main())
}
