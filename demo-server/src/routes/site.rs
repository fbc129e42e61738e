//! What all requests of one worker share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ResponseHead, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        ConnectionType,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
};
use session_core::SessionStore;

/// The store, and who answers.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) allow_crash: bool,
    worker: HeaderValue,
    draining: Arc<AtomicBool>,
}

impl Site {
    /// `worker` is what `X-Worker` says.
    pub(crate) fn new(store: Arc<dyn SessionStore>, worker: &str, draining: Arc<AtomicBool>, allow_crash: bool) -> Self {
        // Two numbers and a slash are always a header value.
        let worker = HeaderValue::from_str(worker).unwrap_or(HeaderValue::from_static("?"));
        Self { store, allow_crash, worker, draining }
    }

    /// Says on every response who answered, and closes the connection once the worker is leaving.
    pub(crate) async fn sign<B: MessageBody + 'static>(self, request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
        let sign = |head: &mut ResponseHead| {
            head.headers_mut().insert(HeaderName::from_static("x-worker"), self.worker.clone());
            if self.draining.load(Ordering::Relaxed) {
                head.set_connection_type(ConnectionType::Close);
            }
        };
        match next.call(request).await {
            Ok(mut response) => {
                sign(response.response_mut().head_mut());
                Ok(response)
            }
            Err(error) => {
                let mut response = error.error_response();
                sign(response.head_mut());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
}
