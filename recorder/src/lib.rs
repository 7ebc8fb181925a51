pub mod btf;
pub mod probes;
