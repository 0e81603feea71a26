//! Bringing built-in images into containerd, over its own API, without a registry.
//!
//! A lease keeps the garbage collector away between the first blob and the image that refers to
//! them all. Importing again what is there changes nothing.

use std::collections::HashMap;

use containerd_client::{
    services::v1::{
        self as services, content_client::ContentClient, images_client::ImagesClient,
        leases_client::LeasesClient,
    },
    types::Descriptor,
};
use sha2::{Digest, Sha256};
use tonic::{Code, Request, Status, transport::Channel};

use crate::runtime::{NAMESPACE, builtin::BuiltinImage};

/// containerd refuses larger messages than 16 MiB; this is what its own client uses.
const CHUNK_SIZE: usize = 1 << 20;
const LEASE: &str = "kontiki-import";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The blobs of an image: layer, configuration, manifest. Pure.
struct Blobs {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Architecture as images and nodes call it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer(image: &BuiltinImage) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        archive.append_data(&mut header, path, &[][..])?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(image.program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, image.program_path, image.program)?;
    archive.into_inner()
}

fn blobs(image: &BuiltinImage) -> std::io::Result<Blobs> {
    let layer = layer(image)?;
    let config = serde_json::json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{}", image.program_path)],
            "Env": image.environment,
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    })
    .to_string()
    .into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest(&layer),
            "size": layer.len(),
        }],
    })
    .to_string()
    .into_bytes();
    Ok(Blobs { layer, config, manifest })
}

fn request<T>(message: T, lease: Option<&'static str>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("containerd-namespace", tonic::metadata::MetadataValue::from_static(NAMESPACE));
    if let Some(lease) = lease {
        metadata.insert("containerd-lease", tonic::metadata::MetadataValue::from_static(lease));
    }
    request
}

fn unless_there<T>(outcome: Result<T, Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if status.code() != Code::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

/// Imports images that are not there yet with the same contents. Returns the names of those that
/// were imported.
pub async fn import(
    channel: &Channel,
    images: &'static [BuiltinImage],
) -> Result<Vec<&'static str>, Status> {
    let mut imported = Vec::new();
    let mut leases = LeasesClient::new(channel.clone());
    for image in images {
        let blobs = blobs(image)
            .map_err(|error| Status::internal(format!("cannot pack {}: {error}", image.name)))?;
        if present(channel, image.name, &digest(&blobs.manifest)).await? {
            continue;
        }
        let labels = HashMap::from([(
            "containerd.io/gc.expire".to_owned(),
            "2099-01-01T00:00:00Z".to_owned(),
        )]);
        let lease = services::CreateRequest { id: LEASE.to_owned(), labels };
        unless_there(leases.create(request(lease, None)).await)?;
        let outcome = store(channel, image.name, &blobs).await;
        let release = services::DeleteRequest { id: LEASE.to_owned(), sync: false };
        leases.delete(request(release, None)).await?;
        outcome?;
        imported.push(image.name);
    }
    Ok(imported)
}

async fn present(channel: &Channel, name: &str, manifest: &str) -> Result<bool, Status> {
    let get = services::GetImageRequest { name: name.to_owned() };
    match ImagesClient::new(channel.clone()).get(request(get, None)).await {
        Ok(reply) => Ok(reply
            .into_inner()
            .image
            .and_then(|image| image.target)
            .is_some_and(|target| target.digest == manifest)),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

async fn store(channel: &Channel, name: &str, blobs: &Blobs) -> Result<(), Status> {
    let layer = write(channel, &blobs.layer, HashMap::new()).await?;
    let config = write(channel, &blobs.config, HashMap::new()).await?;
    let references = HashMap::from([
        ("containerd.io/gc.ref.content.config".to_owned(), config),
        ("containerd.io/gc.ref.content.l.0".to_owned(), layer),
    ]);
    let manifest = write(channel, &blobs.manifest, references).await?;
    let image = services::Image {
        name: name.to_owned(),
        labels: HashMap::from([
            ("io.cri-containerd.image".to_owned(), "managed".to_owned()),
            ("io.cri-containerd.pinned".to_owned(), "pinned".to_owned()),
        ]),
        target: Some(Descriptor {
            media_type: MANIFEST_TYPE.to_owned(),
            digest: manifest,
            size: i64::try_from(blobs.manifest.len()).expect("a manifest is small"),
            annotations: HashMap::new(),
        }),
        created_at: None,
        updated_at: None,
    };
    let mut images = ImagesClient::new(channel.clone());
    let create =
        services::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
    match images.create(request(create, None)).await {
        Err(status) if status.code() == Code::AlreadyExists => {
            let update = services::UpdateImageRequest {
                image: Some(image),
                update_mask: None,
                source_date_epoch: None,
            };
            images.update(request(update, None)).await.map(|_| ())
        }
        outcome => outcome.map(|_| ()),
    }
}

/// Writes one blob under the lease; answers its digest.
async fn write(
    channel: &Channel,
    data: &[u8],
    labels: HashMap<String, String>,
) -> Result<String, Status> {
    let expected = digest(data);
    let total = i64::try_from(data.len()).expect("an image's blob is smaller than 2^63 bytes");
    let message = |action, offset: usize, data: &[u8], labels| services::WriteContentRequest {
        action: action as i32,
        r#ref: format!("kontiki-{expected}"),
        total,
        expected: expected.clone(),
        offset: i64::try_from(offset).expect("an offset is within the blob"),
        data: data.to_vec(),
        labels,
    };
    let mut messages: Vec<services::WriteContentRequest> = data
        .chunks(CHUNK_SIZE)
        .enumerate()
        .map(|(i, part)| {
            message(services::WriteAction::Write, i * CHUNK_SIZE, part, HashMap::new())
        })
        .collect();
    messages.push(message(services::WriteAction::Commit, data.len(), &[], labels));
    let stream = request(tokio_stream::iter(messages), Some(LEASE));
    let mut replies = match ContentClient::new(channel.clone()).write(stream).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => return unless_there::<()>(Err(status)).map(|()| expected),
    };
    loop {
        match replies.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(expected),
            Err(status) => return unless_there::<()>(Err(status)).map(|()| expected),
        }
    }
}
