//! `replay graph`: who talks to whom, as DOT, JSON or a page.

use anyhow::Context;
use replay::{
    graph::{
        Collector, Graph, Node,
        contact::{Contact, Contacts},
    },
    lives::{Life, Lives},
    pipeline::Settings,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use super::{export::create, fold::fold, graph_page};
use crate::{Global, Outcome, output::Output, trace::TraceArguments};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub traces: TraceArguments,
    /// Form of the graph; with --json always json
    #[arg(long, value_enum, default_value = "dot")]
    pub format: GraphFormat,
    /// One node for each container instead of each program
    #[arg(long)]
    pub by_container: bool,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    pub force: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// For Graphviz
    Dot,
    Json,
    /// A page that needs nothing else
    Html,
}

pub fn run(arguments: &Arguments, global: Global) -> anyhow::Result<Outcome> {
    let ended: Arc<Mutex<Vec<Life>>> = Arc::default();
    let for_detector = Arc::clone(&ended);
    let touched: Arc<Mutex<Vec<Contact>>> = Arc::default();
    let for_contacts = Arc::clone(&touched);
    let settings = move || {
        let ended = Arc::clone(&for_detector);
        let touched = Arc::clone(&for_contacts);
        let lives = Lives::new(false, true, move |life| {
            let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
            ended.push(life);
        });
        let contacts = Contacts::new(move |contact| {
            let mut touched = touched.lock().unwrap_or_else(|error| error.into_inner());
            touched.push(contact);
        });
        Settings {
            detectors: vec![Box::new(lives), Box::new(contacts)],
            ..Settings::default()
        }
    };
    let mut collector = Collector::new(arguments.by_container);
    let (condition, _) = fold(&arguments.traces, false, global, settings, |pipeline, _| {
        let host = pipeline.state().host().map_or("", |host| &host.hostname);
        let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
        for life in ended.drain(..) {
            match life {
                Life::Connection(connection) => collector.add(host, &connection),
                Life::Listener(listener) => collector.listens(host, &listener),
                Life::Process(_) => {}
            }
        }
        let mut touched = touched.lock().unwrap_or_else(|error| error.into_inner());
        for contact in touched.drain(..) {
            collector.touch(host, &contact);
        }
        Ok(())
    })?;
    let graph = collector.finish();
    let text = match (global.json, arguments.format) {
        (true, _) | (_, GraphFormat::Json) => format!("{}\n", to_json(&graph)),
        (_, GraphFormat::Dot) => to_dot(&graph.folded()),
        (_, GraphFormat::Html) => graph_page::page(&graph),
    };
    match &arguments.output {
        Some(path) => {
            let mut file = create(path, arguments.force)?;
            file.write_all(text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => {
            let mut out = Output::new();
            out.bytes(text.as_bytes())?;
            out.flush()?;
        }
    }
    condition.report(global);
    if graph.left_out > 0 && !global.quiet {
        eprintln!(
            "replay: {} connections over a limit are not in the graph",
            graph.left_out
        );
    }
    Ok(condition.outcome())
}

fn to_json(graph: &Graph) -> Value {
    let hosts = graph.several_hosts();
    let nodes: Vec<Value> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(id, node)| {
            let comm = match node {
                Node::Program { comm, .. } => Some(comm),
                _ => None,
            };
            json!({
                "id": id,
                "kind": node.kind(),
                "label": node.label(hosts),
                "host": node.host(),
                "container": node.container(),
                "comm": comm,
            })
        })
        .collect();
    let edges: Vec<Value> = graph
        .edges
        .iter()
        .map(|(edge, weight)| {
            json!({
                "from": edge.from,
                "to": edge.to,
                "protocol": edge.protocol,
                "port": (edge.port > 0).then_some(edge.port),
                "connections": weight.connections,
                "failed": weight.failed,
                "joined": weight.joined,
                "across": weight.across,
            })
        })
        .collect();
    json!({"nodes": nodes, "edges": edges, "left_out": graph.left_out})
}

fn to_dot(graph: &Graph) -> String {
    use std::fmt::Write;
    let quoted = |text: &str| {
        let text: String = replay::findings::one_line(text);
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let hosts = graph.several_hosts();
    let mut text = "digraph trace {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    // A box around the nodes of each container.
    let mut places: BTreeMap<Option<(&str, &str)>, Vec<usize>> = BTreeMap::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let container = node.container().filter(|container| *container != "host");
        let place = container.map(|container| (node.host(), container));
        places.entry(place).or_default().push(id);
    }
    for (number, (place, ids)) in places.iter().enumerate() {
        if let Some((host, container)) = place {
            let label = match hosts {
                true => quoted(&format!("{host}: {container}")),
                false => quoted(container),
            };
            let _ = writeln!(
                text,
                "  subgraph cluster_{number} {{\n  label={label}; style=\"rounded,filled\"; color=\"#d5dae1\"; fillcolor=\"#f4f6f9\";"
            );
        }
        for id in ids {
            let node = &graph.nodes[*id];
            let shape = match node {
                Node::Program { .. } => "box",
                Node::Address(_) => "ellipse",
                Node::Socket { .. } => "note",
                Node::Object { .. } => "component",
                Node::Network { .. } => "tab",
            };
            let label = quoted(&node.label(hosts));
            let _ = writeln!(text, "  n{id} [label={label}, shape={shape}];");
        }
        if place.is_some() {
            text.push_str("  }\n");
        }
    }
    for (edge, weight) in &graph.edges {
        let mut label = edge.protocol.clone();
        if edge.port > 0 {
            let _ = write!(label, " {}", edge.port);
        }
        let _ = write!(label, " × {}", weight.connections);
        if weight.failed > 0 {
            let _ = write!(label, ", {} failed", weight.failed);
        }
        let _ = writeln!(
            text,
            "  n{} -> n{} [label={}{}];",
            edge.from,
            edge.to,
            quoted(&label),
            match (weight.failed == weight.connections, weight.across) {
                (true, _) => ", style=dashed",
                (false, true) => ", style=bold",
                (false, false) => "",
            }
        );
    }
    text.push_str("}\n");
    text
}
