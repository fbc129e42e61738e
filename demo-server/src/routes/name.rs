//! Extracts the name of a session value from the path of a request.

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use percent_encoding::percent_decode_str;

use super::error::RouteError;

/// The `{name}` of `/session/{name}`, percent-decoded once. The path extractor of actix replaces
/// bytes that are not UTF-8, so two different names could become equal.
#[derive(Debug)]
pub(super) struct NameInPath(pub(super) String);

impl FromRequest for NameInPath {
    type Error = RouteError;
    type Future = std::future::Ready<Result<Self, RouteError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The route has matched, so the path is /session/{name} or /session/{name}/{verb}.
        let raw = request.uri().path().split('/').nth(2).unwrap_or_default();
        let name = percent_decode_str(raw).decode_utf8().map(|name| Self(name.into_owned()));
        std::future::ready(name.map_err(|_| {
            RouteError::BadRequest(
                "the name of a value must be UTF-8, percent-encoded in the path".to_owned(),
            )
        }))
    }
}
