//! The texts that configure a private containerd and its pod network. Pure.

use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::runtime::builtin::PAUSE_IMAGE;

/// The folders and programs a private containerd is told about.
pub struct ContainerdConfig<'a> {
    /// Its own folder.
    pub dir: &'a Path,
    /// CNI plugins.
    pub cni_bin_dir: &'a Path,
    /// CNI configuration.
    pub cni_conf_dir: &'a Path,
}

impl ContainerdConfig<'_> {
    /// `config.toml`. `restrict_oom_score_adj` and `oom_score` let it run without
    /// CAP_SYS_RESOURCE; the pods' network namespaces lie under its own state folder, so that
    /// several can run on one machine.
    pub fn render(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
oom_score = 0
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin}"
    conf_dir = "{conf}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{dir}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{dir}/state/runc"
        SystemdCgroup = false
"#,
            bin = self.cni_bin_dir.display(),
            conf = self.cni_conf_dir.display(),
        )
    }
}

/// The CNI configuration of a node with these pod ranges: a routed point-to-point link per pod,
/// addresses from a file, host ports. No bridge, so nothing depends on bridge netfilter.
pub fn cni_conflist(pod_cidrs: &[IpNet], data_dir: &Path, mtu: Option<u32>) -> String {
    let ranges: Vec<Value> =
        pod_cidrs.iter().map(|cidr| json!([{ "subnet": cidr.to_string() }])).collect();
    let mut routes = Vec::new();
    if pod_cidrs.iter().any(|cidr| matches!(cidr, IpNet::V4(_))) {
        routes.push(json!({ "dst": "0.0.0.0/0" }));
    }
    if pod_cidrs.iter().any(|cidr| matches!(cidr, IpNet::V6(_))) {
        routes.push(json!({ "dst": "::/0" }));
    }
    let mut ptp = json!({
        "type": "ptp",
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "dataDir": data_dir,
            "ranges": ranges,
            "routes": routes,
        },
    });
    if let Some(mtu) = mtu {
        ptp["mtu"] = json!(mtu);
    }
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "kontiki",
        "plugins": [
            ptp,
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
        ],
    });
    format!("{conflist:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dual_stack_ranges_get_a_route_per_family() {
        let cidrs: Vec<IpNet> =
            ["10.42.3.0/24", "fd00:42:3::/64"].map(|c| c.parse().unwrap()).into();
        let text = cni_conflist(&cidrs, Path::new("/data"), Some(1450));
        let conf: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(conf["plugins"][0]["mtu"], 1450);
        assert_eq!(
            conf["plugins"][0]["ipam"].to_string(),
            r#"{"type":"host-local","dataDir":"/data","ranges":[[{"subnet":"10.42.3.0/24"}],[{"subnet":"fd00:42:3::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}"#
        );
    }
}
