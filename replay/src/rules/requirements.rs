//! What a rule file asks of the engine: a version of the language, plugins.

use super::{
    ItemKind, LoadCode, LoadError,
    item::get,
    yaml::{File, Node, Value},
};

/// The engine version whose language this is: a file that asks for a newer one is refused.
const ENGINE_VERSION: (u64, u64, u64) = (0, 63, 0);

pub(super) fn engine_version(file: &File<'_>, node: &Node) -> Result<(), LoadError> {
    check_engine(file, node).map_err(|error| {
        error
            .with(LoadCode::Validate)
            .about(ItemKind::EngineVersion, None)
    })
}

fn check_engine(file: &File<'_>, node: &Node) -> Result<(), LoadError> {
    let text = node.scalar().unwrap_or_default();
    let mut numbers = text.split('.').map(|part| part.parse::<u64>().ok());
    let version = match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Some(minor)), None, None, None) => (0, minor, 0),
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => (major, minor, patch),
        _ => {
            return Err(file.error(
                node.at,
                node.what(),
                "a version such as 0.57.0, or a number",
            ));
        }
    };
    if version.0 != ENGINE_VERSION.0 || version > ENGINE_VERSION {
        let (major, minor, patch) = ENGINE_VERSION;
        let expected = format!("engine version {major}.{minor}.{patch} or older");
        return Err(file.error(node.at, node.what(), expected));
    }
    Ok(())
}

/// Containers are built in; other plugins bring other event sources.
pub(super) fn plugin_versions(file: &File<'_>, node: &Node) -> Result<(), LoadError> {
    let Value::Sequence(plugins) = &node.value else {
        return Err(file.error(node.at, node.what(), "a list of plugins"));
    };
    for plugin in plugins {
        let (name, alternatives) = plugin_of(file, plugin)?;
        let mut met = name == "container";
        match alternatives.map(|node| &node.value) {
            None => {}
            Some(Value::Sequence(others)) => {
                for other in others {
                    met |= plugin_of(file, other)?.0 == "container";
                }
            }
            Some(_) => return Err(file.error(plugin.at, "`alternatives`", "a list of plugins")),
        }
        if !met {
            let token = format!("plugin `{name}`");
            return Err(file
                .error(plugin.at, token, "no plugin but `container`")
                .with(LoadCode::Validate));
        }
    }
    Ok(())
}

/// A plugin's name and what could stand for it.
fn plugin_of<'n>(
    file: &File<'_>,
    plugin: &'n Node,
) -> Result<(&'n str, Option<&'n Node>), LoadError> {
    let Value::Mapping(pairs) = &plugin.value else {
        return Err(file.error(plugin.at, plugin.what(), "a mapping with name and version"));
    };
    let Some(name) = get(pairs, "name").and_then(Node::scalar) else {
        return Err(file.error(plugin.at, "a plugin without name", "`name`"));
    };
    if get(pairs, "version").and_then(Node::scalar).is_none() {
        let token = format!("plugin `{name}` without version");
        return Err(file.error(plugin.at, token, "`version`"));
    }
    Ok((name, get(pairs, "alternatives")))
}
