//! Names, images and pods of containers from the Kubernetes Container Runtime Interface: containerd and
//! CRI-O behind a unix socket.
//!
//! Two questions are asked, `ListContainers` and `ListPodSandbox`, both filtered by an id. Their messages
//! are few fields of many, so they are written down here with the numbers of `runtime.v1`
//! (kubernetes/cri-api, `pkg/apis/runtime/v1/api.proto`) instead of compiled from it.

use std::{collections::HashMap, path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::metadata::Metadata;

/// One request, as for Docker.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Labels of a container: some tens are usual; the record has a bound of its own.
const LABELS_MAX: usize = 256;

const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const LIST_SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const VERSION: &str = "/runtime.v1.RuntimeService/Version";

/// `ContainerFilter` and `PodSandboxFilter`: both have the id first.
#[derive(Clone, PartialEq, prost::Message)]
struct Filter {
    #[prost(string, tag = "1")]
    id: String,
}

/// `ListContainersRequest` and `ListPodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct ListRequest {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Named>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(string, tag = "5")]
    image_ref: String,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
}

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
    /// What the pod's author wrote, where the runtime keeps it.
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListSandboxesResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxNamed>,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
struct SandboxNamed {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionResponse {
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(string, tag = "3")]
    runtime_version: String,
}

/// A runtime's socket, connected.
#[derive(Clone)]
pub struct Cri {
    channel: Channel,
}

impl Cri {
    /// Connects; the runtime is asked only later.
    pub async fn connect(socket: &Path) -> anyhow::Result<Cri> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is not looked at: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://cri.invalid").timeout(TIMEOUT);
        let channel =
            tokio::time::timeout(TIMEOUT, endpoint.connect_with_connector(connector)).await??;
        Ok(Cri { channel })
    }

    async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc
            .unary(
                Request::new(question),
                PathAndQuery::from_static(method),
                codec,
            )
            .await?;
        Ok(answer.into_inner())
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<String, Status> {
        let answer: VersionResponse = self.ask(VERSION, VersionRequest {}).await?;
        Ok(format!(
            "{} {}",
            answer.runtime_name, answer.runtime_version
        ))
    }

    /// What the runtime knows of a container or of a pod's sandbox; `None`: it knows neither.
    pub async fn find(&self, id: &str) -> Result<Option<Metadata>, Status> {
        let filter = |id: &str| ListRequest {
            filter: Some(Filter { id: id.to_owned() }),
        };
        let found: ListContainersResponse = self.ask(LIST_CONTAINERS, filter(id)).await?;
        let container = found.containers.into_iter().find(|found| found.id == id);
        let sandbox_id = container
            .as_ref()
            .map_or(id, |container| container.pod_sandbox_id.as_str());
        let found: ListSandboxesResponse = self.ask(LIST_SANDBOXES, filter(sandbox_id)).await?;
        let sandbox = found.items.into_iter().find(|found| found.id == sandbox_id);
        Ok(described(container, sandbox))
    }
}

/// Both answers as one.
fn described(container: Option<Container>, sandbox: Option<Sandbox>) -> Option<Metadata> {
    if container.is_none() && sandbox.is_none() {
        return None;
    }
    let (pod, sandbox_labels) = sandbox
        .map(|sandbox| (sandbox.metadata.unwrap_or_default(), sandbox.labels))
        .unwrap_or_default();
    let mut metadata = Metadata {
        pod: pod.name,
        namespace: pod.namespace,
        ..Metadata::default()
    };
    let labels = match container {
        Some(container) => {
            let image = container.image.unwrap_or_default();
            metadata.name = container.metadata.unwrap_or_default().name;
            metadata.image = [image.user_specified_image, image.image, container.image_ref]
                .into_iter()
                .find(|image| !image.is_empty())
                .unwrap_or_default();
            container.labels
        }
        // The pod's own container, which holds its namespaces.
        None => {
            metadata.name = "POD".to_owned();
            sandbox_labels
        }
    };
    metadata.labels = labels.into_iter().collect();
    metadata.labels.sort();
    metadata.labels.truncate(LABELS_MAX);
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_its_pods_name_and_a_sandbox_is_the_pods_own() {
        let sandbox = || Sandbox {
            id: "s".into(),
            metadata: Some(SandboxNamed {
                name: "web-0".into(),
                namespace: "shop".into(),
            }),
            labels: HashMap::from([("app".into(), "web".into())]),
        };
        let container = Container {
            id: "c".into(),
            pod_sandbox_id: "s".into(),
            metadata: Some(Named {
                name: "nginx".into(),
            }),
            image: Some(Image {
                image: "sha256:0".into(),
                user_specified_image: "nginx:1".into(),
            }),
            ..Container::default()
        };
        let found = described(Some(container), Some(sandbox())).unwrap();
        assert_eq!(
            (found.name, found.image, found.pod, found.namespace),
            (
                "nginx".into(),
                "nginx:1".into(),
                "web-0".into(),
                "shop".into()
            )
        );
        let found = described(None, Some(sandbox())).unwrap();
        assert_eq!((found.name.as_str(), found.pod.as_str()), ("POD", "web-0"));
        assert_eq!(found.labels, [("app".into(), "web".into())]);
        assert_eq!(described(None, None), None);
    }
}
