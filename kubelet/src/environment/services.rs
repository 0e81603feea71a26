//! Variables that tell a container of Services: those of its namespace if it wants them, and the
//! API server's always.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Service;
use kontiki_api::Object;

/// The Service that leads to the API server.
const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// Variables for a pod of `namespace`.
pub fn variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let is_api_server = (service.namespace(), service.name()) == API_SERVER;
        if is_api_server || (links && service.namespace() == namespace) {
            add(service, &mut variables);
        }
    }
    variables
}

fn add(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let (Some(first), false) = (ports.first(), matches!(address, "" | "None")) else { return };
    let upper = |name: &str| name.replace('-', "_").to_uppercase();
    let name = upper(service.name());
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    variables.insert(format!("{name}_SERVICE_HOST"), address.to_owned());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    let protocol = |protocol: &Option<String>| protocol.as_deref().unwrap_or("TCP").to_owned();
    let url = format!("{}://{host}:{}", protocol(&first.protocol).to_lowercase(), first.port);
    variables.insert(format!("{name}_PORT"), url);
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables
                .insert(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
        }
        let protocol = protocol(&port.protocol);
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        variables.insert(prefix.clone(), url);
        variables.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), address.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_is_always_told_of() {
        let service = |json: &str| Arc::new(Service::decode(json.as_bytes()).unwrap());
        let services = [
            service(
                r#"{"metadata":{"name":"kubernetes","namespace":"default"},"spec":{"clusterIP":"10.43.0.1","ports":[{"name":"https","port":443}]}}"#,
            ),
            service(
                r#"{"metadata":{"name":"my-db","namespace":"shop"},"spec":{"clusterIP":"10.43.0.9","ports":[{"port":5432}]}}"#,
            ),
            service(
                r#"{"metadata":{"name":"headless","namespace":"shop"},"spec":{"clusterIP":"None","ports":[{"port":1}]}}"#,
            ),
        ];
        let names = |links| -> Vec<String> {
            variables(&services, "shop", links)
                .into_iter()
                .filter(|(name, _)| name.contains("SERVICE"))
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        assert_eq!(
            names(false),
            [
                "KUBERNETES_SERVICE_HOST=10.43.0.1",
                "KUBERNETES_SERVICE_PORT=443",
                "KUBERNETES_SERVICE_PORT_HTTPS=443"
            ]
        );
        assert_eq!(names(true)[3..], ["MY_DB_SERVICE_HOST=10.43.0.9", "MY_DB_SERVICE_PORT=5432"]);
    }
}
