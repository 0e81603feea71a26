//! What is mounted into a container.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Container;

use super::DEFAULT_TERMINATION_PATH;
use crate::environment::expand::{expand, unknown};

/// The mounts of a container: its volumes, the pod's hosts file, its termination message.
pub fn mounts(
    container: &Container,
    volumes: &BTreeMap<String, PathBuf>,
    environment: &[(String, String)],
    hosts: &Path,
    termination_log: &Path,
) -> Result<Vec<cri::Mount>, String> {
    let mount = |container_path: &str, host_path: &Path| cri::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..cri::Mount::default()
    };
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = volumes.get(&wanted.name).ok_or_else(|| {
            format!(
                "cannot find volume {:?} to mount into container {:?}",
                wanted.name, container.name
            )
        })?;
        let lookup = |name: &str| {
            environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let sub_path = match &wanted.sub_path_expr {
            Some(expression) => {
                if let Some(missing) = unknown(expression, lookup) {
                    return Err(format!("missing value for {missing:?}"));
                }
                expand(expression, lookup)
            }
            None => wanted.sub_path.clone().unwrap_or_default(),
        };
        if sub_path.split('/').any(|part| part == "..") || sub_path.starts_with('/') {
            return Err(format!("subPath {sub_path:?} leaves volume {:?}", wanted.name));
        }
        let host_path = if sub_path.is_empty() { volume.clone() } else { volume.join(&sub_path) };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
            _ => cri::MountPropagation::PropagationPrivate,
        };
        mounts.push(cri::Mount {
            readonly: wanted.read_only == Some(true),
            propagation: propagation.into(),
            ..mount(&wanted.mount_path, &host_path)
        });
    }
    let has = |path: &str| mounts.iter().any(|mount| mount.container_path == path);
    let needs_hosts = !has("/etc/hosts");
    if needs_hosts {
        mounts.push(mount("/etc/hosts", hosts));
    }
    let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
    mounts.push(mount(path.unwrap_or(DEFAULT_TERMINATION_PATH), termination_log));
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::VolumeMount;

    fn check(mount: VolumeMount, expected: &str) {
        let container = Container {
            name: "web".to_owned(),
            volume_mounts: Some(vec![mount]),
            ..Container::default()
        };
        let volumes = [("data".to_owned(), PathBuf::from("/vol/data"))].into();
        let environment = [("POD".to_owned(), "web-1".to_owned())];
        let result =
            mounts(&container, &volumes, &environment, Path::new("/hosts"), Path::new("/term"));
        let text = match result {
            Ok(mounts) => mounts
                .iter()
                .map(|m| {
                    format!(
                        "{} at {}{}",
                        m.host_path,
                        m.container_path,
                        if m.readonly { " ro" } else { "" }
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(problem) => problem,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_container_gets_its_volumes_its_hosts_file_and_room_for_last_words() {
        let mount = |name: &str, at: &str| VolumeMount {
            name: name.to_owned(),
            mount_path: at.to_owned(),
            ..VolumeMount::default()
        };
        check(
            VolumeMount { read_only: Some(true), ..mount("data", "/data") },
            "/vol/data at /data ro, /hosts at /etc/hosts, /term at /dev/termination-log",
        );
        check(
            VolumeMount { sub_path_expr: Some("of/$(POD)".to_owned()), ..mount("data", "/data") },
            "/vol/data/of/web-1 at /data, /hosts at /etc/hosts, /term at /dev/termination-log",
        );
        check(
            VolumeMount {
                sub_path_expr: Some("of/$(NOBODY)".to_owned()),
                ..mount("data", "/data")
            },
            "missing value for \"NOBODY\"",
        );
        check(
            mount("data", "/etc/hosts"),
            "/vol/data at /etc/hosts, /term at /dev/termination-log",
        );
        check(
            VolumeMount { sub_path: Some("a/../../b".to_owned()), ..mount("data", "/data") },
            "subPath \"a/../../b\" leaves volume \"data\"",
        );
        check(
            mount("none", "/data"),
            "cannot find volume \"none\" to mount into container \"web\"",
        );
    }
}
