//! A deadline for the bodies of requests.
//!
//! actix-web's `client_request_timeout` ends with the head of a request. Without this deadline, a
//! client that does not finish a body holds its connection for ever.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BodySize, EitherBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::{InternalError, PayloadError},
    http::StatusCode,
    middleware::Next,
    web::Bytes,
};
use futures_util::Stream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

/// Serves a request whose body must have arrived within `limit`. If it has not when the handler
/// reads it, the response is 408.
///
/// A connection is closed after the response if the handler has not read the whole body. Otherwise
/// actix-web would wait without a deadline for the end of a chunked body that no handler reads.
pub(crate) async fn bounded<B: MessageBody + 'static>(
    limit: Duration,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Held<EitherBody<B>>>, Error> {
    let arriving = Arriving::of(&mut request, limit);
    match next.call(request).await {
        Ok(response) if arriving.is_late() => {
            let late = HttpResponse::build(StatusCode::REQUEST_TIMEOUT)
                .body("the body of the request did not arrive in time\n");
            Ok(response
                .into_response(late)
                .map_body(|_, body| arriving.hold(EitherBody::right(body))))
        }
        Ok(response) => Ok(response.map_body(|_, body| arriving.hold(EitherBody::left(body)))),
        Err(error) => {
            let response = error
                .error_response()
                .map_body(|_, body| arriving.hold(body))
                .map_into_boxed_body();
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// The body of a request, shared between its handler and its response.
struct Incoming {
    payload: RefCell<Payload>,
    is_late: Cell<bool>,
}

/// What is known of a request's body; `None` if the request has none.
struct Arriving(Option<Rc<Incoming>>);

impl Arriving {
    fn of(request: &mut ServiceRequest, limit: Duration) -> Self {
        let payload = match request.take_payload() {
            Payload::None => return Self(None),
            payload => RefCell::new(payload),
        };
        let incoming = Rc::new(Incoming { payload, is_late: Cell::new(false) });
        let timed = Timed { incoming: Rc::clone(&incoming), deadline: Box::pin(sleep(limit)) };
        request.set_payload(Payload::Stream { payload: Box::pin(timed) });
        Self(Some(incoming))
    }

    fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|incoming| incoming.is_late.get())
    }

    fn hold<B>(self, body: B) -> Held<B> {
        Held { body, incoming: self.0 }
    }
}

/// What a handler reads. It ends with an error at the deadline.
struct Timed {
    incoming: Rc<Incoming>,
    deadline: Pin<Box<Sleep>>,
}

impl Stream for Timed {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Also for a client that always has some more bytes ready.
        if self.deadline.deadline() > Instant::now() {
            let polled = Pin::new(&mut *self.incoming.payload.borrow_mut()).poll_next(cx);
            if polled.is_ready() {
                return polled;
            }
            ready!(self.deadline.as_mut().poll(cx));
        }
        self.incoming.is_late.set(true);
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

pin_project! {
    /// A response's body that keeps the request's body until it is sent. actix-web closes a
    /// connection whose request body is neither read nor dropped by then, within its
    /// `client_disconnect_timeout`.
    pub(crate) struct Held<B> {
        #[pin]
        body: B,
        incoming: Option<Rc<Incoming>>,
    }
}

impl<B: MessageBody> MessageBody for Held<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(cx)
    }
}
