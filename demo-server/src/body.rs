//! A deadline for the bodies of requests.
//!
//! actix-web's `client_request_timeout` covers only the head of a request. Without this deadline, a
//! client that does not finish a body keeps its connection for ever.

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

/// Calls the handler of a request whose body must arrive within `limit`. If the handler reads the
/// body and the body is late, the response is 408.
///
/// If the handler does not read the whole body, the connection is closed after the response.
/// Otherwise actix-web would wait without a deadline for the end of a chunked body.
pub(crate) async fn with_deadline<B: MessageBody + 'static>(
    limit: Duration,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<ResponseBody<EitherBody<B>>>, Error> {
    let request_body = RequestBody::take_from(&mut request, limit);
    match next.call(request).await {
        Ok(response) if request_body.is_late() => {
            let late = HttpResponse::build(StatusCode::REQUEST_TIMEOUT)
                .body("the body of the request did not arrive in time\n");
            Ok(response
                .into_response(late)
                .map_body(|_, body| request_body.attach_to(EitherBody::right(body))))
        }
        Ok(response) => {
            Ok(response.map_body(|_, body| request_body.attach_to(EitherBody::left(body))))
        }
        Err(error) => {
            let response = error
                .error_response()
                .map_body(|_, body| request_body.attach_to(body))
                .map_into_boxed_body();
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// The payload of a request, shared between its handler and its response.
struct SharedPayload {
    payload: RefCell<Payload>,
    is_late: Cell<bool>,
}

/// The body of a request. `None` if the request has no body.
struct RequestBody(Option<Rc<SharedPayload>>);

impl RequestBody {
    /// Replaces the body of the request by a stream that ends at the deadline.
    fn take_from(request: &mut ServiceRequest, limit: Duration) -> Self {
        let payload = match request.take_payload() {
            Payload::None => return Self(None),
            payload => RefCell::new(payload),
        };
        let shared = Rc::new(SharedPayload { payload, is_late: Cell::new(false) });
        let stream =
            DeadlineStream { shared: Rc::clone(&shared), deadline: Box::pin(sleep(limit)) };
        request.set_payload(Payload::Stream { payload: Box::pin(stream) });
        Self(Some(shared))
    }

    fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.is_late.get())
    }

    fn attach_to<B>(self, body: B) -> ResponseBody<B> {
        ResponseBody { body, request_body: self.0 }
    }
}

/// The stream that a handler reads. It ends with an error at the deadline.
struct DeadlineStream {
    shared: Rc<SharedPayload>,
    deadline: Pin<Box<Sleep>>,
}

impl Stream for DeadlineStream {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The deadline also ends the stream of a client that always has more bytes ready.
        if self.deadline.deadline() > Instant::now() {
            let polled = Pin::new(&mut *self.shared.payload.borrow_mut()).poll_next(cx);
            if polled.is_ready() {
                return polled;
            }
            ready!(self.deadline.as_mut().poll(cx));
        }
        self.shared.is_late.set(true);
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

pin_project! {
    /// The body of a response. It keeps the body of the request until the response is sent. If the
    /// request body is then neither read to its end nor dropped, actix-web closes the connection
    /// within its `client_disconnect_timeout`.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        body: B,
        request_body: Option<Rc<SharedPayload>>,
    }
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
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
