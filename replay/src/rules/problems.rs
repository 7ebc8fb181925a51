//! What is wrong with a rule file: errors and warnings, with Falco's codes and the item concerned.

use std::fmt;

/// Where and why a rule file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: found {token}, expected {expected}")]
pub struct LoadError {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub token: String,
    pub expected: String,
    pub code: LoadCode,
    /// `None` where the text belongs to no item. Boxed: errors are returned by value everywhere.
    pub item: Option<Box<Item>>,
}

/// Something in a rule file that does not stop it from loading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Warning {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub code: WarningCode,
    pub item: Option<Item>,
}

/// What an error or warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub kind: ItemKind,
    /// `None` where it has none.
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    RulesContent,
    RulesContentItem,
    EngineVersion,
    PluginVersions,
    List,
    Macro,
    Rule,
    Exception,
    Window,
    Sequence,
    Severity,
}

impl ItemKind {
    /// Falco's word for it.
    pub fn name(self) -> &'static str {
        match self {
            ItemKind::RulesContent => "rules content",
            ItemKind::RulesContentItem => "rules content item",
            ItemKind::EngineVersion => "required_engine_version",
            ItemKind::PluginVersions => "required_plugin_versions",
            ItemKind::List => "list",
            ItemKind::Macro => "macro",
            ItemKind::Rule => "rule",
            ItemKind::Exception => "exception",
            ItemKind::Window => "window",
            ItemKind::Sequence => "sequence",
            ItemKind::Severity => "severity",
        }
    }
}

/// Kinds of errors, as Falco counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadCode {
    /// The file is no YAML.
    YamlParse,
    /// Something is missing, or of another type than it should be.
    YamlValidate,
    /// The parts are there, but do not fit: references, versions, exceptions.
    Validate,
    CompileCondition,
    CompileOutput,
}

impl LoadCode {
    pub fn name(self) -> &'static str {
        match self {
            LoadCode::YamlParse => "LOAD_ERR_YAML_PARSE",
            LoadCode::YamlValidate => "LOAD_ERR_YAML_VALIDATE",
            LoadCode::Validate => "LOAD_ERR_VALIDATE",
            LoadCode::CompileCondition => "LOAD_ERR_COMPILE_CONDITION",
            LoadCode::CompileOutput => "LOAD_ERR_COMPILE_OUTPUT",
        }
    }
}

/// Kinds of warnings. All but the last are Falco's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningCode {
    UnknownSource,
    UnknownFilter,
    NoEventType,
    UnusedMacro,
    UnusedList,
    UnknownItem,
    UnknownKey,
    DeprecatedItem,
    /// No event of any trace can match.
    NeverMatches,
}

impl WarningCode {
    pub fn name(self) -> &'static str {
        match self {
            WarningCode::UnknownSource => "LOAD_UNKNOWN_SOURCE",
            WarningCode::UnknownFilter => "LOAD_UNKNOWN_FILTER",
            WarningCode::NoEventType => "LOAD_NO_EVTTYPE",
            WarningCode::UnusedMacro => "LOAD_UNUSED_MACRO",
            WarningCode::UnusedList => "LOAD_UNUSED_LIST",
            WarningCode::UnknownItem => "LOAD_UNKNOWN_ITEM",
            WarningCode::UnknownKey => "LOAD_UNKNOWN_KEY",
            WarningCode::DeprecatedItem => "LOAD_DEPRECATED_ITEM",
            WarningCode::NeverMatches => "LOAD_NEVER_MATCHES",
        }
    }
}

impl fmt::Display for LoadCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for WarningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl LoadError {
    pub(super) fn with(self, code: LoadCode) -> LoadError {
        LoadError { code, ..self }
    }

    /// Names the item; one that is named already stays.
    pub(super) fn about(self, kind: ItemKind, name: Option<&str>) -> LoadError {
        let item = self.item.unwrap_or_else(|| {
            Box::new(Item {
                kind,
                name: name.map(str::to_owned),
            })
        });
        LoadError {
            item: Some(item),
            ..self
        }
    }
}
