//! The name of a value, out of a request's path.

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use percent_encoding::percent_decode_str;

use super::error::Failure;

/// The `{name}` of `/session/{name}`, decoded once. actix's own path extractor would turn bytes
/// that are no UTF-8 into replacement characters, and two names into one.
#[derive(Debug)]
pub(super) struct NameInPath(pub(super) String);

impl FromRequest for NameInPath {
    type Error = Failure;
    type Future = std::future::Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The route has matched, so the path is /session/{name} with perhaps a verb behind it.
        let raw = request.uri().path().split('/').nth(2).unwrap_or_default();
        let name = percent_decode_str(raw).decode_utf8().map(|name| Self(name.into_owned()));
        std::future::ready(name.map_err(|_| {
            Failure::BadRequest(
                "the name of a value must be UTF-8, percent-encoded in the path".to_owned(),
            )
        }))
    }
}
