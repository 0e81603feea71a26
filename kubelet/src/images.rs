//! Getting images: the pull policy, pure ([`mod@policy`]), and pulls of one image at a time.

pub mod policy;

use std::{collections::BTreeMap, sync::Arc};

use base64::Engine;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kontiki_api::Object;
use kontiki_client::Client;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    pod::spec::PodExt,
    runtime::{Error as RuntimeError, Runtime},
};
use policy::{PullPolicy, is_valid, policy};

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no image name.
    #[error(
        "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
    )]
    InvalidName {
        /// The name.
        image: String,
    },
    /// It may not be pulled, and it is not there.
    #[error("Container image {image:?} is not present with pull policy of Never")]
    NeverPull {
        /// The image.
        image: String,
    },
    /// The pull failed.
    #[error("{}", source.message())]
    Pull {
        /// The image.
        image: String,
        /// The cause.
        source: RuntimeError,
    },
    /// containerd did not answer.
    #[error(transparent)]
    Runtime(RuntimeError),
}

impl Error {
    /// Upstream's waiting reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::InvalidName { .. } => "InvalidImageName",
            Error::NeverPull { .. } => "ErrImageNeverPull",
            Error::Pull { .. } => "ErrImagePull",
            Error::Runtime(_) => "ImageInspectError",
        }
    }
}

/// An image that is there.
#[derive(Clone, Debug)]
pub struct Present {
    /// The runtime's id, to make containers from.
    pub id: String,
    /// The user its configuration names, if it is a number.
    pub uid: Option<i64>,
    /// The user its configuration names, if it is a name.
    pub username: String,
    /// What to tell the user.
    pub message: String,
}

/// Gets images.
pub struct Images {
    runtime: Runtime,
    client: Client,
    /// One pull of an image at a time.
    pulls: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Images of a runtime; pull secrets come from the API.
    pub fn new(runtime: Runtime, client: Client) -> Images {
        Images { runtime, client, pulls: Mutex::default() }
    }

    /// Makes sure that a container's image is there. `on_pull` is called before a pull.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        on_pull: impl FnOnce(&str) + Send,
    ) -> Result<Present, Error> {
        let image = container.image.clone().unwrap_or_default();
        if !is_valid(&image) {
            return Err(Error::InvalidName { image });
        }
        let gate = self.pulls.lock().entry(image.clone()).or_default().clone();
        let _turn = gate.lock().await;
        let present = self.status(&image).await?;
        match (policy(container.image_pull_policy.as_deref(), &image), present) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(mut present)) => {
                present.message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                Ok(present)
            }
            (PullPolicy::Never, None) => Err(Error::NeverPull { image }),
            (PullPolicy::Always | PullPolicy::IfNotPresent, _) => {
                on_pull(&format!("Pulling image {image:?}"));
                self.pull(pod, &image).await
            }
        }
    }

    async fn status(&self, image: &str) -> Result<Option<Present>, Error> {
        let request = cri::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        let reply = self.runtime.image_status(request).await.map_err(Error::Runtime)?;
        Ok(reply.image.map(|image| Present {
            id: image.id,
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
            message: String::new(),
        }))
    }

    async fn pull(&self, pod: &Pod, image: &str) -> Result<Present, Error> {
        let started = Instant::now();
        let auth = self.credentials(pod, image).await;
        let request =
            cri::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: None };
        let failed = |source: RuntimeError| Error::Pull { image: image.to_owned(), source };
        self.runtime.pull_image(request).await.map_err(failed)?;
        let present = self.status(image).await?;
        let mut present = present.ok_or_else(|| {
            let status =
                tonic::Status::not_found(format!("image {image:?} vanished after its pull"));
            failed(RuntimeError { call: "image_status", status })
        })?;
        let seconds = started.elapsed().as_secs_f64();
        present.message = format!("Successfully pulled image {image:?} in {seconds:.3}s");
        Ok(present)
    }

    /// The first of the pod's pull secrets that knows the image's registry.
    async fn credentials(&self, pod: &Pod, image: &str) -> Option<cri::AuthConfig> {
        for reference in pod.pod_spec().image_pull_secrets.iter().flatten() {
            let secret = self.client.find::<Secret>(pod.namespace(), &reference.name).await;
            let Ok(Some(secret)) = secret else { continue };
            let data = secret.data.unwrap_or_default();
            let config = data
                .get(".dockerconfigjson")
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok());
            if let Some(auth) = config.and_then(|config| credentials(&config, image)) {
                return Some(auth);
            }
        }
        None
    }
}

fn spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: image.to_owned(), ..cri::ImageSpec::default() }
}

/// The entry of a `.dockerconfigjson` for an image's registry.
fn credentials(config: &Value, image: &str) -> Option<cri::AuthConfig> {
    let registry = policy::registry(image);
    let entries = config["auths"].as_object()?;
    let (_, entry) = entries.iter().find(|(server, _)| {
        let server = server.trim_start_matches("https://").trim_start_matches("http://");
        let server = server.split('/').next().unwrap_or_default();
        server == registry || (registry == "docker.io" && server == "index.docker.io")
    })?;
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    let decoded = text("auth").and_then(|auth| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
        let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    });
    let (username, password) = decoded.or_else(|| Some((text("username")?, text("password")?)))?;
    Some(cri::AuthConfig { username, password, ..cri::AuthConfig::default() })
}
