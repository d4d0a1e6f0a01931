//! CRI's image service.

use cri::v1::{self, image_service_server::ImageService};
use tonic::{Request, Response, Status};

use super::{
    convert,
    lists::{Streamed, batches},
    serve::Services,
};
use crate::images::Credentials;

fn credentials(auth: Option<v1::AuthConfig>) -> Result<Credentials, Status> {
    use base64::Engine;
    let Some(auth) = auth else {
        return Ok(Credentials::Anonymous);
    };
    if !auth.registry_token.is_empty() {
        return Ok(Credentials::Token(auth.registry_token));
    }
    if !auth.identity_token.is_empty() {
        return Ok(Credentials::Basic("<token>".into(), auth.identity_token));
    }
    if !auth.username.is_empty() {
        return Ok(Credentials::Basic(auth.username, auth.password));
    }
    if !auth.auth.is_empty() {
        let bad = || Status::invalid_argument("auth is not base64 of user:password");
        let text = base64::engine::general_purpose::STANDARD
            .decode(auth.auth.trim())
            .map_err(|_| bad())?;
        let text = String::from_utf8(text).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        return Ok(Credentials::Basic(
            user.into(),
            password.trim_end_matches('\0').into(),
        ));
    }
    Ok(Credentials::Anonymous)
}

fn name_of(image: Option<v1::ImageSpec>) -> Result<String, Status> {
    match image {
        Some(image) if !image.image.is_empty() => Ok(image.image),
        _ => Err(Status::invalid_argument("no image is named")),
    }
}

impl Services {
    fn images(&self, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, Status> {
        let runtime = self.runtime();
        let name = filter
            .and_then(|f| f.image)
            .map(|i| i.image)
            .filter(|n| !n.is_empty());
        let found = match name {
            Some(name) => runtime
                .images
                .find(&name)
                .map_err(super::RuntimeError::from)?
                .into_iter()
                .collect(),
            None => runtime.images.list().map_err(super::RuntimeError::from)?,
        };
        Ok(found.iter().map(convert::image).collect())
    }
}

#[tonic::async_trait]
impl ImageService for Services {
    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let images = self.images(request.into_inner().filter)?;
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    type StreamImagesStream = Streamed<v1::StreamImagesResponse>;

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        let images = self.images(request.into_inner().filter)?;
        batches(images, |images| v1::StreamImagesResponse { images })
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Result<Response<v1::ImageStatusResponse>, Status> {
        let request = request.into_inner();
        let name = name_of(request.image)?;
        let found = self
            .runtime()
            .images
            .find(&name)
            .map_err(super::RuntimeError::from)?;
        let mut info = std::collections::HashMap::new();
        if let (Some(image), true) = (&found, request.verbose) {
            let spec = self
                .runtime()
                .images
                .read_blob(&image.id)
                .unwrap_or_default();
            let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap_or_default();
            info.insert(
                "info".to_owned(),
                serde_json::json!({"imageSpec": spec}).to_string(),
            );
        }
        // An image that is not there is an answer, not an error.
        Ok(Response::new(v1::ImageStatusResponse {
            image: found.as_ref().map(convert::image),
            info,
        }))
    }

    async fn pull_image(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Result<Response<v1::PullImageResponse>, Status> {
        let request = request.into_inner();
        let name = name_of(request.image)?;
        let credentials = credentials(request.auth)?;
        let image = self
            .runtime()
            .images
            .pull(&name, &credentials, None)
            .await
            .map_err(super::RuntimeError::from)?;
        Ok(Response::new(v1::PullImageResponse {
            image_ref: image.id,
        }))
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let name = name_of(request.into_inner().image)?;
        let images = std::sync::Arc::clone(&self.runtime().images);
        tokio::task::spawn_blocking(move || images.remove(&name))
            .await
            .map_err(|e| Status::internal(e.to_string()))?
            .map_err(super::RuntimeError::from)?;
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _request: Request<v1::ImageFsInfoRequest>,
    ) -> Result<Response<v1::ImageFsInfoResponse>, Status> {
        let runtime = self.runtime();
        let (bytes, inodes) = runtime.images.usage().map_err(super::RuntimeError::from)?;
        let usage = |path: String, bytes, inodes| v1::FilesystemUsage {
            timestamp: crate::shim::now(),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: path }),
            used_bytes: Some(v1::UInt64Value { value: bytes }),
            inodes_used: Some(v1::UInt64Value { value: inodes }),
        };
        let root = runtime.images.root().display().to_string();
        // Writable layers are on the same file system as the images.
        let (written, made) = runtime.written();
        Ok(Response::new(v1::ImageFsInfoResponse {
            image_filesystems: vec![usage(root.clone(), bytes, inodes)],
            container_filesystems: vec![usage(root, written, made)],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_every_form() {
        use base64::Engine;
        let of = |auth: v1::AuthConfig| credentials(Some(auth)).unwrap();
        let basic = Credentials::Basic("me".into(), "pass:word".into());
        assert_eq!(credentials(None).unwrap(), Credentials::Anonymous);
        assert_eq!(
            of(v1::AuthConfig {
                username: "me".into(),
                password: "pass:word".into(),
                ..Default::default()
            }),
            basic
        );
        let auth = base64::engine::general_purpose::STANDARD.encode("me:pass:word");
        assert_eq!(
            of(v1::AuthConfig {
                auth,
                ..Default::default()
            }),
            basic
        );
        assert_eq!(
            of(v1::AuthConfig {
                registry_token: "t".into(),
                ..Default::default()
            }),
            Credentials::Token("t".into())
        );
        assert!(
            credentials(Some(v1::AuthConfig {
                auth: "?".into(),
                ..Default::default()
            }))
            .is_err()
        );
    }
}
