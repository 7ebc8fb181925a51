//! The rule language and the shipped rules, over events made by hand.

mod behaviour;
mod calls;
mod details;
mod language;
mod loading;
mod network;
mod operators;
mod prefilter;
mod shipped;
mod stock;
mod targets;
mod world;
