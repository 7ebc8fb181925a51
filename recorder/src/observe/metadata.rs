//! What container runtimes tell of a container, whichever was asked.

/// What an engine knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub name: String,
    pub image: String,
    pub privileged: bool,
    pub pod: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
}

/// The answer to one question; None: nobody knows.
pub struct Answer {
    pub id: String,
    pub metadata: Option<Metadata>,
}
