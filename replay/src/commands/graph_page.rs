//! The graph as one page: a drawing (SVG, laid out here) and a table, without scripts and without anything
//! from elsewhere.

use replay::{
    findings::one_line,
    graph::{Graph, Node},
};
use std::{collections::BTreeMap, fmt::Write};

/// Nodes that are drawn, those with the most connections first; the table has all.
const DRAWN_MAX: usize = 150;
/// Rounds of the layout: after that many nothing moves visibly.
const ROUNDS: usize = 300;
/// Width and height of the drawing, and the room around it for labels.
const WIDTH: f64 = 1_400.0;
const HEIGHT: f64 = 800.0;
const MARGIN: f64 = 90.0;
/// Characters of a label in the drawing.
const LABEL_CHARS: usize = 34;
/// Rings of containers, by their order; further ones begin anew.
const RINGS: [&str; 10] = [
    "#e4572e", "#17bebb", "#ffc914", "#2e282a", "#76b041", "#b5179e", "#4361ee", "#8d6a9f",
    "#c17c74", "#2a9d8f",
];
/// Containers that the key names.
const NAMED_MAX: usize = 40;

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Who talks to whom</title><style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; color: #1c2430; background: #fff; }
svg { width: 100%; height: auto; border: 1px solid #d5dae1; border-radius: 6px; }
line { stroke: #8b96a5; } line.across { stroke: #1c2430; } line.failed { stroke: #c0392b; stroke-dasharray: 6 4; }
circle { stroke: #fff; stroke-width: 4; } text { font-size: 13px; paint-order: stroke; stroke: #fff; stroke-width: 4px; }
.program { fill: #2b6cb0; } .address { fill: #b7791f; } .socket { fill: #4a7c59; } .network { fill: #805ad5; } .object { fill: #b83280; }
table { border-collapse: collapse; margin-top: 24px; } td { overflow-wrap: anywhere; } th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid #e5e9ee; }
td.number { text-align: right; } .key span { margin-right: 18px; } .key i { display: inline-block; width: 11px; height: 11px; border-radius: 8px; margin-right: 5px; } .key i.ring { width: 7px; height: 7px; border: 4px solid; }
</style></head><body>
";

pub fn page(graph: &Graph) -> String {
    let hosts = graph.several_hosts();
    let labels: Vec<String> = graph.nodes.iter().map(|node| node.label(hosts)).collect();
    let mut text = HEAD.to_owned();
    let _ = writeln!(
        text,
        "<h1>Who talks to whom</h1><p class=\"key\"><span><i style=\"background:#2b6cb0\"></i>program</span><span><i style=\"background:#b7791f\"></i>address</span><span><i style=\"background:#805ad5\"></i>addresses of one network</span><span><i style=\"background:#4a7c59\"></i>unix socket</span><span><i style=\"background:#b83280\"></i>shared object</span><span>dark: out of a container</span><span>dashed: every attempt failed</span></p>"
    );
    let folded = graph.folded();
    let rings = rings(&folded);
    if !rings.is_empty() {
        text.push_str("<p class=\"key\">Containers:");
        for ((host, container), ring) in rings.iter().take(NAMED_MAX) {
            let name = match hosts {
                true => format!("{host}: {container}"),
                false => (*container).to_owned(),
            };
            let _ = write!(
                text,
                " <span><i class=\"ring\" style=\"border-color:{ring}\"></i>{}</span>",
                escaped(&name)
            );
        }
        if rings.len() > NAMED_MAX {
            let _ = write!(text, " and {} more", rings.len() - NAMED_MAX);
        }
        text.push_str("</p>\n");
    }
    let drawn = drawn(&folded);
    if drawn.len() < folded.nodes.len() {
        let _ = writeln!(
            text,
            "<p>The {} nodes with the most connections of {} are drawn; the table has all.</p>",
            drawn.len(),
            folded.nodes.len()
        );
    }
    let short: Vec<String> = folded.nodes.iter().map(|node| node.label(hosts)).collect();
    draw(&folded, &short, &drawn, &rings, &mut text);
    text.push_str("<table><tr><th>from</th><th>to</th><th>protocol</th><th>port</th><th>connections</th><th>failed</th><th>across containers</th></tr>\n");
    let mut edges: Vec<_> = graph.edges.iter().collect();
    edges.sort_by_key(|(_, weight)| std::cmp::Reverse(weight.connections));
    for (edge, weight) in edges {
        let port = match edge.port {
            0 => String::new(),
            port => port.to_string(),
        };
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{port}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escaped(&labels[edge.from]),
            escaped(&labels[edge.to]),
            escaped(&edge.protocol),
            weight.connections,
            weight.failed,
            if weight.across { "yes" } else { "" }
        );
    }
    text.push_str("</table></body></html>\n");
    text
}

/// By host and name.
type Rings<'a> = BTreeMap<(&'a str, &'a str), &'static str>;

/// A colour for each container that has a node.
fn rings(graph: &Graph) -> Rings<'_> {
    let mut rings: Rings<'_> = graph
        .nodes
        .iter()
        .filter_map(|node| place(node).map(|place| (place, RINGS[0])))
        .collect();
    for (ring, colour) in rings.values_mut().zip(RINGS.iter().cycle()) {
        *ring = colour;
    }
    rings
}

/// Host and container of a node that is in one.
fn place(node: &Node) -> Option<(&str, &str)> {
    let container = node.container().filter(|container| *container != "host")?;
    Some((node.host(), container))
}

/// Numbers of the nodes to draw.
fn drawn(graph: &Graph) -> Vec<usize> {
    let mut weights = vec![0u64; graph.nodes.len()];
    for (edge, weight) in &graph.edges {
        weights[edge.from] += weight.connections;
        weights[edge.to] += weight.connections;
    }
    let mut drawn: Vec<usize> = (0..graph.nodes.len()).collect();
    drawn.sort_by_key(|node| (std::cmp::Reverse(weights[*node]), *node));
    drawn.truncate(DRAWN_MAX);
    drawn.sort_unstable();
    drawn
}

/// Edges of one pair, which are one line.
#[derive(Default)]
struct Line {
    connections: u64,
    failed: u64,
    across: bool,
    names: Vec<String>,
}

fn draw(graph: &Graph, labels: &[String], drawn: &[usize], rings: &Rings<'_>, text: &mut String) {
    let mut places = vec![None; graph.nodes.len()];
    for (at, node) in drawn.iter().enumerate() {
        places[*node] = Some(at);
    }
    let mut lines: BTreeMap<(usize, usize), Line> = BTreeMap::new();
    for (edge, weight) in &graph.edges {
        if let (Some(from), Some(to)) = (places[edge.from], places[edge.to]) {
            let line = lines.entry((from, to)).or_default();
            line.connections += weight.connections;
            line.failed += weight.failed;
            line.across |= weight.across;
            line.names.push(match edge.port {
                0 => edge.protocol.clone(),
                port => format!("{} {port}", edge.protocol),
            });
        }
    }
    let mut pulls: Vec<(usize, usize, f64)> =
        lines.keys().map(|(from, to)| (*from, *to, 1.0)).collect();
    // What is in one container stays near.
    let mut last: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, node) in drawn.iter().enumerate() {
        if let Some(place) = place(&graph.nodes[*node])
            && let Some(before) = last.insert(place, at)
        {
            pulls.push((before, at, 0.4));
        }
    }
    let positions = layout(drawn.len(), &pulls);
    let _ = writeln!(
        text,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"19\" refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"#8b96a5\"/></marker></defs>"
    );
    for ((from, to), line) in &lines {
        let ((x1, y1), (x2, y2)) = (positions[*from], positions[*to]);
        let Line {
            connections,
            failed,
            across,
            names,
        } = line;
        let width = 1.0 + (*connections as f64).log10().max(0.0);
        let class = match (failed == connections, across) {
            (true, _) => " class=\"failed\"",
            (false, true) => " class=\"across\"",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "<line{class} x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke-width=\"{width:.1}\" marker-end=\"url(#tip)\"><title>{} → {}: {}; {connections} connections, {failed} failed</title></line>",
            escaped(&labels[drawn[*from]]),
            escaped(&labels[drawn[*to]]),
            escaped(&names.join(", "))
        );
    }
    let mut taken = Labels::default();
    for (at, node) in drawn.iter().enumerate() {
        let (x, y) = positions[at];
        let short: String = match labels[*node].chars().count() > LABEL_CHARS {
            true => labels[*node]
                .chars()
                .take(LABEL_CHARS - 1)
                .chain(['…'])
                .collect(),
            false => labels[*node].clone(),
        };
        let class = match &graph.nodes[*node] {
            Node::Program { .. } => "program",
            Node::Address(_) => "address",
            Node::Socket { .. } => "socket",
            Node::Object { .. } => "object",
            Node::Network { .. } => "network",
        };
        let ring = place(&graph.nodes[*node])
            .and_then(|place| rings.get(&place))
            .map_or_else(String::new, |ring| format!(" style=\"stroke:{ring}\""));
        // Labels point to the middle, so that none leaves the drawing.
        let (dx, anchor) = match x > WIDTH / 2.0 {
            true => (-12.0, "end"),
            false => (12.0, "start"),
        };
        let label_y = taken.place(x + dx, y, short.chars().count(), anchor == "end");
        let _ = writeln!(
            text,
            "<circle class=\"{class}\"{ring} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"><title>{}</title></circle><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(&labels[*node]),
            x + dx,
            label_y,
            escaped(&short)
        );
    }
    text.push_str("</svg>\n");
}

/// Where labels are already: left, right, and the line below.
#[derive(Default)]
struct Labels(Vec<(f64, f64, f64)>);

impl Labels {
    /// The height for one that begins (or ends) beside a node: the nearest that is free, if any is.
    fn place(&mut self, x: f64, y: f64, chars: usize, ends: bool) -> f64 {
        const CHAR_WIDTH: f64 = 7.2;
        const LINE: f64 = 14.0;
        let width = chars as f64 * CHAR_WIDTH;
        let (left, right) = if ends { (x - width, x) } else { (x, x + width) };
        let offsets = [-9.0, 19.0, -23.0, 33.0, -37.0, 47.0];
        let is_free = |line: f64| {
            let apart =
                |it: &(f64, f64, f64)| right < it.0 || it.1 < left || (line - it.2).abs() >= LINE;
            (LINE..HEIGHT).contains(&line) && self.0.iter().all(apart)
        };
        let line = offsets
            .map(|offset| y + offset)
            .into_iter()
            .find(|line| is_free(*line));
        let line = line.unwrap_or(y - 9.0);
        self.0.push((left, right, line));
        line
    }
}

/// Where the nodes go: they push each other away, and pairs pull each other (Fruchterman and Reingold). The same graph
/// gives the same drawing.
fn layout(nodes: usize, pulls: &[(usize, usize, f64)]) -> Vec<(f64, f64)> {
    if nodes == 0 {
        return Vec::new();
    }
    // The golden angle: no two begin at one place, and nothing is in line.
    let mut at: Vec<(f64, f64)> = (0..nodes)
        .map(|node| {
            let angle = node as f64 * 2.399_963;
            let radius = ((node as f64 + 0.5) / nodes as f64).sqrt();
            (radius * angle.cos(), radius * angle.sin())
        })
        .collect();
    let ideal = (4.0 / nodes as f64).sqrt();
    for round in 0..ROUNDS {
        let step = 0.1 * (1.0 - round as f64 / ROUNDS as f64);
        let mut push = vec![(0.0, 0.0); nodes];
        for one in 0..nodes {
            for other in 0..one {
                let (dx, dy) = (at[one].0 - at[other].0, at[one].1 - at[other].1);
                let distance = dx.hypot(dy).max(1e-3);
                let force = ideal * ideal / (distance * distance);
                push[one].0 += dx * force;
                push[one].1 += dy * force;
                push[other].0 -= dx * force;
                push[other].1 -= dy * force;
            }
        }
        for (from, to, strength) in pulls {
            let (dx, dy) = (at[*from].0 - at[*to].0, at[*from].1 - at[*to].1);
            let force = dx.hypot(dy) / ideal * strength;
            push[*from].0 -= dx * force;
            push[*from].1 -= dy * force;
            push[*to].0 += dx * force;
            push[*to].1 += dy * force;
        }
        for (at, (dx, dy)) in at.iter_mut().zip(push) {
            // A little to the middle, so that parts without an edge between them stay near.
            let (dx, dy) = (dx - at.0 * 0.3, dy - at.1 * 0.3);
            let length = dx.hypot(dy).max(1e-9);
            at.0 += dx / length * length.min(step);
            at.1 += dy / length * length.min(step);
        }
    }
    let span = |of: fn(&(f64, f64)) -> f64| {
        let least = at.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = at.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        (least, (most - least).max(1e-9))
    };
    let ((left, wide), (top, high)) = (span(|at| at.0), span(|at| at.1));
    at.iter()
        .map(|(x, y)| {
            (
                MARGIN + (x - left) / wide * (WIDTH - 2.0 * MARGIN),
                MARGIN / 2.0 + (y - top) / high * (HEIGHT - MARGIN),
            )
        })
        .collect()
}

fn escaped(text: &str) -> String {
    one_line(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
