//! OpenAPI documents.

use http::Response;
use kontiki_api::Catalogue;

use crate::answer::Body;

/// Answers `/openapi/...`, given the segments behind it; `None` if there is no such document.
pub fn serve(catalogue: &Catalogue, path: &[&str], accept: &str) -> Option<Response<Body>> {
    let _ = (catalogue, path, accept);
    None
}
