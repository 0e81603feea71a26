//! Endpoints that other rooms add below the API server's port.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use crate::{answer::Body, user::UserInfo};

/// Answers everything below one path prefix.
///
/// Requests are authenticated when they arrive here, nothing more: the extension authorises by
/// what it knows of the user.
#[async_trait]
pub trait Extension: Send + Sync + 'static {
    /// Answers one request.
    async fn call(&self, user: &UserInfo, request: Request<Bytes>) -> Response<Body>;
}
