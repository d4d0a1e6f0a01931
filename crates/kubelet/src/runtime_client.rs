//! The kubelet's end of the Container Runtime Interface: one channel over the runtime's unix
//! socket, one method per call the kubelet makes, errors that say which call failed on what.

use std::path::{Path, PathBuf};

use cri::v1::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A call to the runtime failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct RuntimeError {
    /// The gRPC code.
    pub code: tonic::Code,
    /// What the runtime said.
    pub message: String,
}

impl RuntimeError {
    /// Whether the object is not there (any more).
    pub fn is_not_found(&self) -> bool {
        self.code == tonic::Code::NotFound
    }
}

impl From<tonic::Status> for RuntimeError {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

/// The socket's address is not usable.
#[derive(Debug, thiserror::Error)]
#[error("container runtime socket {path}: {source}")]
pub struct ConnectError {
    path: PathBuf,
    source: tonic::transport::Error,
}

/// The largest answer accepted: a list of everything on a full node stays far below.
const MAX_MESSAGE: usize = 16 << 20;

/// Both services of one runtime; clones share the connection.
#[derive(Clone, Debug)]
pub struct RuntimeClient {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $service:ident.$method:ident($request:ident) -> $response:ident;)*) => {
        $(
            $(#[$doc])*
            pub async fn $method(&self, request: v1::$request) -> Result<v1::$response, RuntimeError> {
                Ok(self.$service.clone().$method(request).await?.into_inner())
            }
        )*
    };
}

impl RuntimeClient {
    /// A client of the runtime behind `socket`. Connects on the first call, and again when the
    /// runtime was away.
    pub fn new(socket: &Path) -> Result<Self, ConnectError> {
        let path = socket.to_owned();
        let endpoint =
            Endpoint::from_shared("http://runtime.invalid").map_err(|source| ConnectError {
                path: path.clone(),
                source,
            })?;
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        })
    }

    calls! {
        /// Name and version of the runtime.
        runtime.version(VersionRequest) -> VersionResponse;
        /// Whether it is ready.
        runtime.status(StatusRequest) -> StatusResponse;
        /// Tells it the pod addresses.
        runtime.update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
        /// Makes a sandbox.
        runtime.run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
        /// Stops a sandbox.
        runtime.stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
        /// Removes a sandbox.
        runtime.remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
        /// Describes a sandbox.
        runtime.pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
        /// Lists sandboxes.
        runtime.list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
        /// Makes a container.
        runtime.create_container(CreateContainerRequest) -> CreateContainerResponse;
        /// Starts a container.
        runtime.start_container(StartContainerRequest) -> StartContainerResponse;
        /// Stops a container.
        runtime.stop_container(StopContainerRequest) -> StopContainerResponse;
        /// Removes a container.
        runtime.remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
        /// Lists containers.
        runtime.list_containers(ListContainersRequest) -> ListContainersResponse;
        /// Describes a container.
        runtime.container_status(ContainerStatusRequest) -> ContainerStatusResponse;
        /// Changes a container's limits.
        runtime.update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse;
        /// Makes it open its log anew.
        runtime.reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        /// Runs a command to its end.
        runtime.exec_sync(ExecSyncRequest) -> ExecSyncResponse;
        /// Prepares a stream to a command.
        runtime.exec(ExecRequest) -> ExecResponse;
        /// Prepares a stream to the main process.
        runtime.attach(AttachRequest) -> AttachResponse;
        /// Prepares a stream to ports.
        runtime.port_forward(PortForwardRequest) -> PortForwardResponse;
        /// Measures containers.
        runtime.list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
        /// Measures sandboxes.
        runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
        /// Lists images.
        images.list_images(ListImagesRequest) -> ListImagesResponse;
        /// Describes an image.
        images.image_status(ImageStatusRequest) -> ImageStatusResponse;
        /// Pulls an image.
        images.pull_image(PullImageRequest) -> PullImageResponse;
        /// Removes an image.
        images.remove_image(RemoveImageRequest) -> RemoveImageResponse;
        /// Measures the images' file system.
        images.image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }

    /// The stream of what happens to containers.
    pub async fn container_events(
        &self,
    ) -> Result<tonic::Streaming<v1::ContainerEventResponse>, RuntimeError> {
        Ok(self
            .runtime
            .clone()
            .get_container_events(v1::GetEventsRequest {})
            .await?
            .into_inner())
    }

    /// One container's status.
    pub async fn container(&self, id: &str) -> Result<v1::ContainerStatus, RuntimeError> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        self.container_status(request)
            .await?
            .status
            .ok_or_else(|| missing("container", id))
    }

    /// One sandbox's status.
    pub async fn sandbox(&self, id: &str) -> Result<v1::PodSandboxStatus, RuntimeError> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        self.pod_sandbox_status(request)
            .await?
            .status
            .ok_or_else(|| missing("sandbox", id))
    }
}

fn missing(what: &str, id: &str) -> RuntimeError {
    RuntimeError {
        code: tonic::Code::NotFound,
        message: format!("{what} {id} has no status"),
    }
}
