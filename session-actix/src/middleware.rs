//! The way of a request through the middleware, on one screen.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{
    Error as ActixError, HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use futures_util::future::{LocalBoxFuture, Ready, ready};
use pin_project_lite::pin_project;

use crate::{
    SessionMiddleware,
    config::Shared,
    request::Slot,
    response::{panicked, settle, settle_error},
};

impl<S, B> Transform<S, ServiceRequest> for SessionMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = ActixError;
    type Transform = SessionService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(SessionService { service, shared: Arc::clone(&self.shared) }))
    }
}

/// The application, with sessions around it.
#[derive(Debug)]
pub struct SessionService<S> {
    service: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<ServiceRequest> for SessionService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = ActixError;
    type Future = SessionFuture<S::Future, B>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), ActixError>> {
        self.service.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        // The cookie is read when a handler first asks for the session, not here: other routes pay
        // nothing for it.
        let slot = Rc::new(Slot::new(Arc::clone(&self.shared)));
        request.extensions_mut().insert(Rc::clone(&slot));
        // A panic while the application builds its future is a panic of the request like any other.
        let step = match std::panic::catch_unwind(AssertUnwindSafe(|| self.service.call(request))) {
            Ok(serving) => Step::Serving { serving },
            Err(_) => Step::Panicked,
        };
        SessionFuture { slot, step }
    }
}

pin_project! {
    /// The response to one request.
    pub struct SessionFuture<F, B> {
        slot: Rc<Slot>,
        #[pin]
        step: Step<F, B>,
    }

    // The head is on its way, or the client is gone: whoever still holds the session, or asks for
    // it only now, can make no new id.
    impl<F, B> PinnedDrop for SessionFuture<F, B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().slot.close();
        }
    }
}

pin_project! {
    #[project = StepNow]
    enum Step<F, B> {
        /// The application works on its response.
        Serving { #[pin] serving: F },
        /// The response is there, the session was used, and its commit is on the way.
        Settling { settling: LocalBoxFuture<'static, Result<ServiceResponse<EitherBody<B>>, ActixError>> },
        /// The application panicked before it had a future.
        Panicked,
    }
}

impl<F, B> Future for SessionFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, ActixError>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, ActixError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let served = match this.step.as_mut().project() {
                StepNow::Settling { settling } => return settling.as_mut().poll(context),
                StepNow::Panicked => Err(panicked()),
                StepNow::Serving { serving } => {
                    // A future that panicked is not polled again: the step changes or the result is
                    // returned.
                    match std::panic::catch_unwind(AssertUnwindSafe(|| serving.poll(context))) {
                        Ok(polled) => ready!(polled),
                        Err(_) => Err(panicked()),
                    }
                }
            };
            let Some(session) = this.slot.used() else {
                return Poll::Ready(served.map(ServiceResponse::map_into_left_body));
            };
            let shared = Arc::clone(&this.slot.shared);
            let settling: LocalBoxFuture<'static, _> = match served {
                Ok(response) => {
                    Box::pin(async move { Ok(settle(&shared, &session, response).await) })
                }
                Err(error) => {
                    Box::pin(async move { Err(settle_error(&shared, &session, error).await) })
                }
            };
            this.step.set(Step::Settling { settling });
        }
    }
}

impl<F, B> std::fmt::Debug for SessionFuture<F, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
