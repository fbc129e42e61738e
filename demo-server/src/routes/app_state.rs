//! [`AppState`]: what all requests of one worker share, and the outermost middleware.

use std::{sync::Arc, time::Duration};

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
    body::{self, ResponseBody},
    connections::Connections,
    drain::DrainState,
    settings::Settings,
};

/// The store of a worker, and the settings that routes and middleware use.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) allow_crash: bool,
    pub(super) drain_state: Arc<DrainState>,
    worker: HeaderValue,
    body_timeout: Duration,
    connections: Connections,
}

impl AppState {
    /// `worker` is the value of the header `X-Worker`.
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        worker: &str,
        drain_state: Arc<DrainState>,
        settings: &Settings,
        connections: Connections,
    ) -> Self {
        // Two numbers and a slash are always a valid header value.
        let worker = HeaderValue::from_str(worker).unwrap_or(HeaderValue::from_static("?"));
        Self {
            store,
            allow_crash: settings.allow_crash,
            worker,
            drain_state,
            body_timeout: settings.body_timeout,
            connections,
        }
    }

    /// The outermost middleware. It adds `X-Worker` to each response and gives request bodies a
    /// deadline. It closes the connection if the worker drains or has few connections left.
    pub(crate) async fn handle<B: MessageBody + 'static>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<ResponseBody<EitherBody<B>>>, Error> {
        let finish = |head: &mut ResponseHead| {
            head.headers_mut().insert(HeaderName::from_static("x-worker"), self.worker.clone());
            if self.drain_state.is_draining() || self.connections.are_scarce() {
                head.set_connection_type(ConnectionType::Close);
            }
        };
        match body::with_deadline(self.body_timeout, request, next).await {
            Ok(mut response) => {
                finish(response.response_mut().head_mut());
                Ok(response)
            }
            Err(error) => {
                // `with_deadline` built this response. It keeps the body of the request.
                let mut response = error.error_response();
                finish(response.head_mut());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
}
