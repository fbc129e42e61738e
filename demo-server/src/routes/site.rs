//! What all requests of one worker share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ResponseHead, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        ConnectionType,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
};
use session_core::SessionStore;

use crate::{
    body::{self, Held},
    connections::Connections,
    settings::Settings,
};

/// The store, and who answers.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) allow_crash: bool,
    worker: HeaderValue,
    draining: Arc<AtomicBool>,
    body_timeout: Duration,
    connections: Connections,
}

impl Site {
    /// `worker` is what `X-Worker` says.
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        worker: &str,
        draining: Arc<AtomicBool>,
        settings: &Settings,
        connections: Connections,
    ) -> Self {
        // Two numbers and a slash are always a header value.
        let worker = HeaderValue::from_str(worker).unwrap_or(HeaderValue::from_static("?"));
        Self {
            store,
            allow_crash: settings.allow_crash,
            worker,
            draining,
            body_timeout: settings.body_timeout,
            connections,
        }
    }

    /// Says on every response who answered. Gives request bodies a deadline. Closes the connection
    /// if the worker is leaving or has few left.
    pub(crate) async fn sign<B: MessageBody + 'static>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<Held<EitherBody<B>>>, Error> {
        let sign = |head: &mut ResponseHead| {
            head.headers_mut().insert(HeaderName::from_static("x-worker"), self.worker.clone());
            if self.draining.load(Ordering::Relaxed) || self.connections.are_scarce() {
                head.set_connection_type(ConnectionType::Close);
            }
        };
        match body::bounded(self.body_timeout, request, next).await {
            Ok(mut response) => {
                sign(response.response_mut().head_mut());
                Ok(response)
            }
            Err(error) => {
                // The response that `bounded` made, which keeps the body of the request.
                let mut response = error.error_response();
                sign(response.head_mut());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
}
