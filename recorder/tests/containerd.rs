//! Identity from a real containerd, through CRI: name, image, pod, namespace and labels of a container
//! that it starts, and that nobody knew before.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use support::{read, rec};
use tonic::{codegen::http::uri::PathAndQuery, transport::Endpoint};
use trace_format::{Context, Resolution, context::Container};

/// What of `runtime.v1` it takes to start a pod (kubernetes/cri-api).
mod messages {
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PodName {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub uid: String,
        #[prost(string, tag = "3")]
        pub namespace: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct NamespaceOption {
        /// 2: the host's.
        #[prost(int32, tag = "1")]
        pub network: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Security {
        #[prost(message, optional, tag = "1")]
        pub namespaces: Option<NamespaceOption>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Linux {
        #[prost(string, tag = "1")]
        pub cgroup_parent: String,
        #[prost(message, optional, tag = "2")]
        pub security: Option<Security>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Pod {
        #[prost(message, optional, tag = "1")]
        pub metadata: Option<PodName>,
        #[prost(string, tag = "3")]
        pub log_directory: String,
        #[prost(map = "string, string", tag = "6")]
        pub labels: HashMap<String, String>,
        #[prost(message, optional, tag = "8")]
        pub linux: Option<Linux>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RunPod {
        #[prost(message, optional, tag = "1")]
        pub config: Option<Pod>,
    }
    /// Answers with an id, and questions that have nothing else.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Id {
        #[prost(string, tag = "1")]
        pub id: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Named {
        #[prost(string, tag = "1")]
        pub name: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ContainerConfig {
        #[prost(message, optional, tag = "1")]
        pub metadata: Option<Named>,
        #[prost(message, optional, tag = "2")]
        pub image: Option<Named>,
        #[prost(string, repeated, tag = "3")]
        pub command: Vec<String>,
        #[prost(map = "string, string", tag = "9")]
        pub labels: HashMap<String, String>,
        #[prost(string, tag = "11")]
        pub log_path: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateContainer {
        #[prost(string, tag = "1")]
        pub pod: String,
        #[prost(message, optional, tag = "2")]
        pub config: Option<ContainerConfig>,
        #[prost(message, optional, tag = "3")]
        pub sandbox: Option<Pod>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Nothing {}
}
use messages::*;

const IMAGE: &str = "docker.io/library/trailcam-test-cri:1";

/// A containerd of this test alone.
struct Containerd {
    child: Child,
    directory: tempfile::TempDir,
    pod: String,
    /// Of the pod; under each hierarchy.
    cgroup: String,
}

impl Containerd {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("c.sock")
    }

    /// The reason, where there is none or what it needs is missing.
    fn start() -> Result<Containerd, String> {
        for program in ["containerd", "ctr", "runc", "tar"] {
            let found = Command::new(program).arg("--version").output();
            found.map_err(|_| format!("no {program}"))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or("no busybox to make an image of")?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\n  address = {:?}\n[ttrpc]\n  address = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = {IMAGE:?}\n  \
             disable_apparmor = true\n  restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"native\"\n",
            at("root"),
            at("state"),
            at("c.sock"),
            at("t.sock"),
        );
        fs::write(at("config.toml"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let child = Command::new("containerd")
            .args(["--config", &at("config.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let started = Containerd {
            child,
            directory,
            pod: String::new(),
            cgroup: String::new(),
        };
        let ready = Instant::now();
        while started.ask::<_, Nothing>("Version", Nothing {}).is_err() {
            if ready.elapsed() > Duration::from_secs(30) {
                let log = fs::read_to_string(started.directory.path().join("log"));
                return Err(format!(
                    "containerd does not answer: {}",
                    log.unwrap_or_default()
                ));
            }
            thread::sleep(Duration::from_millis(100));
        }
        started.import(busybox);
        Ok(started)
    }

    /// An image of one program, as an archive that Docker would save.
    fn import(&self, busybox: &str) {
        let at = |name: &str| self.directory.path().join(name);
        fs::create_dir_all(at("image/layer/bin")).unwrap();
        fs::copy(busybox, at("image/layer/bin/busybox")).unwrap();
        for applet in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", at("image/layer/bin").join(applet)).unwrap();
        }
        let tar = |of: &Path, into: &Path, names: &[&str]| {
            let status = Command::new("tar")
                .arg("-C")
                .arg(of)
                .arg("-cf")
                .arg(into)
                .args(names)
                .status();
            assert!(status.unwrap().success());
        };
        tar(&at("image/layer"), &at("image/layer.tar"), &["bin"]);
        let sum = Command::new("sha256sum")
            .arg(at("image/layer.tar"))
            .output()
            .unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        let sum = sum.split(' ').next().unwrap();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/bin/sleep","1000"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}}}}"#
        );
        fs::write(at("image/config.json"), config).unwrap();
        let manifest = format!(
            r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#
        );
        fs::write(at("image/manifest.json"), manifest).unwrap();
        tar(
            &at("image"),
            &at("image.tar"),
            &["config.json", "manifest.json", "layer.tar"],
        );
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args([
                "--namespace",
                "k8s.io",
                "images",
                "import",
                "--snapshotter",
                "native",
            ])
            .arg(at("image.tar"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn ask<Q, A>(&self, method: &str, question: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = self.socket();
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move {
                    tokio::net::UnixStream::connect(socket)
                        .await
                        .map(TokioIo::new)
                }
            });
            let endpoint = Endpoint::from_static("http://cri.invalid");
            let channel = endpoint
                .connect_with_connector(connector)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.map_err(|error| format!("{error:?}"))?;
            let path = format!("/runtime.v1.RuntimeService/{method}");
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            grpc.unary(
                tonic::Request::new(question),
                path.parse::<PathAndQuery>().unwrap(),
                codec,
            )
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| status.to_string())
        })
    }

    /// A pod with one container; the ids of both.
    fn run(&mut self) -> Result<(String, String), String> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.cgroup = format!("kubepods-rec-{id}");
        let pod = Pod {
            metadata: Some(PodName {
                name: "shop-0".into(),
                uid: id.clone(),
                namespace: "market".into(),
            }),
            log_directory: self.directory.path().display().to_string(),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            linux: Some(Linux {
                cgroup_parent: format!("/{}", self.cgroup),
                security: Some(Security {
                    namespaces: Some(NamespaceOption { network: 2 }),
                }),
            }),
        };
        let config = Some(pod.clone());
        let sandbox: Id = self.ask("RunPodSandbox", RunPod { config })?;
        self.pod.clone_from(&sandbox.id);
        let container: Id = self.ask(
            "CreateContainer",
            CreateContainer {
                pod: sandbox.id.clone(),
                config: Some(ContainerConfig {
                    metadata: Some(Named {
                        name: "till".into(),
                    }),
                    image: Some(Named { name: IMAGE.into() }),
                    command: vec!["/bin/sleep".into(), "1000".into()],
                    labels: [("tier".to_owned(), "front".to_owned())].into(),
                    log_path: "till.log".into(),
                }),
                sandbox: Some(pod),
            },
        )?;
        let _: Nothing = self.ask("StartContainer", container.clone())?;
        Ok((sandbox.id, container.id))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if !self.pod.is_empty() {
            let pod = Id {
                id: self.pod.clone(),
            };
            let _ = self.ask::<_, Nothing>("StopPodSandbox", pod.clone());
            let _ = self.ask::<_, Nothing>("RemovePodSandbox", pod);
        }
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.child.wait();
        // The runtime removes its own cgroups, not the parent that it was given.
        if self.cgroup.is_empty() {
            return;
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}

#[test]
fn a_pod_of_containerd_is_named_with_namespace_image_and_labels() {
    needs_kernel!();
    let mut containerd = match Containerd::start() {
        Ok(containerd) => containerd,
        Err(reason) => return support::skip(&reason),
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.zst");
    let mut child = rec()
        .args(["capture", "--duration", "25s", "-o"])
        .arg(&path)
        .env(
            "CONTAINER_RUNTIME_ENDPOINT",
            format!("unix://{}", containerd.socket().display()),
        )
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("recording") {
        let read = std::io::BufRead::read_line(&mut stderr, &mut said).unwrap();
        assert!(read > 0, "{said}");
    }
    let ran = containerd.run();
    thread::sleep(Duration::from_secs(3));
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    );
    child.wait().unwrap();
    let (pod, container) = match ran {
        Ok(ids) => ids,
        Err(reason) => return support::skip(&format!("containerd starts no pod here: {reason}")),
    };
    let trace = read(&path);
    let last = |id: &str| -> Container {
        let records = trace.context.iter().rev();
        let found = records.filter_map(|record| match &record.body {
            Context::Container(found) if found.id == id => Some(found.clone()),
            _ => None,
        });
        found.into_iter().next().expect("the cgroup was seen")
    };
    let found = last(&container);
    assert_eq!(found.resolution, Resolution::Resolved);
    assert_eq!(
        (
            found.runtime.as_str(),
            found.name.as_str(),
            found.image.as_str()
        ),
        ("containerd", "till", IMAGE)
    );
    assert_eq!(
        (found.pod.as_str(), found.namespace.as_str()),
        ("shop-0", "market")
    );
    assert!(found.labels.contains(&("tier".into(), "front".into())));
    let sandbox = last(&pod);
    assert_eq!(
        (sandbox.name.as_str(), sandbox.pod.as_str()),
        ("POD", "shop-0")
    );
}
