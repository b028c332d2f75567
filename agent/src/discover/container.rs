//! Which container a process is in, from its cgroups, and what that container is called.
use super::procfs::{Proc, read};
use crate::capture::Pid;

/// Most bytes read of a container engine's own files.
const CONFIG_BYTES: u64 = 4 << 20;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// Its id, as the engine writes it.
    pub(super) id: String,
    /// Its name, or the service of the composition it belongs to.
    pub(super) name: Option<String>,
    /// Further resource attributes.
    pub(super) attributes: Vec<(String, String)>,
}

impl Container {
    /// The container of a process, if it is in one.
    pub(super) fn of(proc: &Proc, pid: Pid) -> Option<Self> {
        let cgroups = proc.text(pid, "cgroup").ok()?;
        let id = id(&cgroups)?;
        let mut found = docker(proc, &id)
            .or_else(|| podman(proc, &id))
            .or_else(|| kubernetes(proc, &id))
            .unwrap_or_default();
        found
            .attributes
            .extend(pod(&cgroups).map(|uid| ("k8s.pod.uid".to_owned(), uid)));
        found.id = id;
        Some(found)
    }
}

/// The paths in `/proc/PID/cgroup`, whose lines read `hierarchy:controllers:path` (cgroups(7)).
pub(super) fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// The innermost container id of any hierarchy.
pub(super) fn id(cgroups: &str) -> Option<String> {
    paths(cgroups).find_map(|path| path.rsplit('/').find_map(component_id).map(str::to_owned))
}

/// The id in one component of a cgroup path: `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`,
/// `libpod-<id>.scope` and the like. Engines' own helpers (`conmon`) are not in the container.
fn component_id(component: &str) -> Option<&str> {
    /// SHA-256 in hexadecimal.
    const ID_CHARS: usize = 64;
    let component = component.strip_suffix(".scope").unwrap_or(component);
    if component.contains("conmon") {
        return None;
    }
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // containerd without systemd separates by colons: kubepods-pod1:cri-containerd:<id>.
    let last = component.rsplit(['-', ':']).next()?;
    if last.len() == ID_CHARS && hex(last) {
        return Some(last);
    }
    // Amazon ECS on Fargate: <task id>-<number>.
    let (task, number) = component.split_once('-')?;
    let fargate =
        task.len() == 32 && hex(task) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    fargate.then_some(component)
}

/// The Kubernetes pod of a cgroup path: `/kubepods/burstable/pod<uid>/<id>`, or with systemd
/// `kubepods-burstable-pod<uid with underscores>.slice`.
fn pod(cgroups: &str) -> Option<String> {
    const UID_CHARS: usize = 36;
    paths(cgroups).find_map(|path| {
        path.split('/').find_map(|component| {
            let component = component.strip_suffix(".slice").unwrap_or(component);
            let uid = component.rsplit_once("pod")?.1.replace('_', "-");
            (uid.len() == UID_CHARS && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())).then_some(uid)
        })
    })
}

/// Docker keeps a folder for each container.
fn docker(proc: &Proc, id: &str) -> Option<Container> {
    let file = proc.path(&format!("var/lib/docker/containers/{id}/config.v2.json"));
    let config: serde_json::Value = serde_json::from_slice(&read(&file, CONFIG_BYTES).ok()?).ok()?;
    let text = |pointer: &str| config.pointer(pointer)?.as_str().map(str::to_owned);
    let name = text("/Name").map(|name| name.trim_start_matches('/').to_owned());
    let attributes = [
        ("container.name", name.clone()),
        ("container.image.name", text("/Config/Image")),
    ];
    Some(Container {
        id: String::new(),
        name: text("/Config/Labels/com.docker.compose.service").or(name),
        attributes: known(attributes),
    })
}

/// Podman keeps one list.
fn podman(proc: &Proc, id: &str) -> Option<Container> {
    let file = proc.path("var/lib/containers/storage/overlay-containers/containers.json");
    let list: serde_json::Value = serde_json::from_slice(&read(&file, CONFIG_BYTES).ok()?).ok()?;
    let entry = list
        .as_array()?
        .iter()
        .find(|entry| entry.get("id").and_then(serde_json::Value::as_str) == Some(id))?;
    let name = entry.pointer("/names/0")?.as_str()?.to_owned();
    Some(Container {
        id: String::new(),
        attributes: known([("container.name", Some(name.clone()))]),
        name: Some(name),
    })
}

/// The kubelet links each container's log as `<pod>_<namespace>_<container>-<id>.log`.
fn kubernetes(proc: &Proc, id: &str) -> Option<Container> {
    /// A node runs a few hundred pods at most; their logs may be kept for some restarts.
    const MOST_LOGS: usize = 10_000;
    let end = format!("-{id}.log");
    let name = std::fs::read_dir(proc.path("var/log/containers"))
        .ok()?
        .take(MOST_LOGS)
        .find_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(&end)?.to_owned()))?;
    let mut parts = name.splitn(3, '_').map(str::to_owned);
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Container {
        id: String::new(),
        attributes: known([
            ("k8s.pod.name", Some(pod)),
            ("k8s.namespace.name", Some(namespace)),
            ("k8s.container.name", Some(container.clone())),
        ]),
        name: Some(container),
    })
}

fn known<const N: usize>(attributes: [(&str, Option<String>); N]) -> Vec<(String, String)> {
    attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn ids() {
        let rows = [
            ("12:pids:/docker/ID\n0::/docker/ID\n", Some(ID)),
            ("0::/system.slice/docker-ID.scope\n", Some(ID)),
            ("0::/system.slice/docker-ID.scope/init\n", Some(ID)),
            (
                "0::/kubepods/burstable/pod4f1d4a6e-3b9c-4b0e-8a55-5d9a3e6c7b21/ID\n",
                Some(ID),
            ),
            (
                "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope\n",
                Some(ID),
            ),
            ("0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope\n", Some(ID)),
            (
                "3:cpu:/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:ID\n",
                Some(ID),
            ),
            ("0::/machine.slice/libpod-ID.scope/container\n", Some(ID)),
            ("0::/machine.slice/libpod-conmon-ID.scope\n", None),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope\n",
                Some(ID),
            ),
            ("1:name=systemd:/ecs/a/ID\n0::/\n", Some(ID)),
            (
                "1:cpu:/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890\n",
                Some("0123456789abcdef0123456789abcdef-1234567890"),
            ),
            ("4:memory:/process_api/57fa9488264906837a6547b6021a99ae\n0::/\n", None),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/docker/0123456789ABCDEF\nnonsense\n", None),
            ("", None),
        ];
        for (text, want) in rows {
            assert_eq!(id(&text.replace("ID", ID)).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn pods() {
        let rows = [
            (
                "0::/kubepods/burstable/pod4f1d4a6e-3b9c-4b0e-8a55-5d9a3e6c7b21/ID",
                Some("4f1d4a6e-3b9c-4b0e-8a55-5d9a3e6c7b21"),
            ),
            (
                "0::/kubepods.slice/kubepods-besteffort-pod4f1d4a6e_3b9c_4b0e_8a55_5d9a3e6c7b21.slice/crio-ID.scope",
                Some("4f1d4a6e-3b9c-4b0e-8a55-5d9a3e6c7b21"),
            ),
            ("0::/podium/x", None),
        ];
        for (text, want) in rows {
            assert_eq!(pod(text).as_deref(), want, "{text}");
        }
    }

    /// One process in a made-up file system with one file of a container engine.
    fn check(file: &str, content: &str, want: Option<&str>) {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, content: &str| {
            let path = root.path().join(path.replace("ID", ID));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, content.replace("ID", ID)).expect("a file");
        };
        write("proc/7/cgroup", "0::/docker/ID\n");
        write(file, content);
        let found = Container::of(&Proc::at(root.path()), Pid(7)).expect("a container");
        assert_eq!(found.id, ID);
        assert_eq!(found.name.as_deref(), want, "{file}: {content}");
    }

    #[test]
    fn names() {
        let docker = "var/lib/docker/containers/ID/config.v2.json";
        check(docker, r#"{"Name":"/shop","Config":{"Image":"shop:1"}}"#, Some("shop"));
        check(
            docker,
            r#"{"Name":"/p-shop-1","Config":{"Labels":{"com.docker.compose.service":"shop"}}}"#,
            Some("shop"),
        );
        check(docker, "{ broken", None);
        check(docker, "[1]", None);
        let podman = "var/lib/containers/storage/overlay-containers/containers.json";
        check(
            podman,
            r#"[{"id":"x","names":["y"]},{"id":"ID","names":["shop"]}]"#,
            Some("shop"),
        );
        check(podman, r#"[{"id":"ID","names":[]}]"#, None);
        check("var/log/containers/pod-1_default_shop-ID.log", "", Some("shop"));
    }
}
