//! The path of a request through the middleware.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
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
    Error, SessionMiddleware,
    builder::{Panics, Shared},
    request::RequestSession,
    response::{finish, finish_error, present, present_error},
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

/// The application inside a [`SessionMiddleware`].
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
        let session = Rc::new(RequestSession::new(Arc::clone(&self.shared)));
        request.extensions_mut().insert(Rc::clone(&session));
        // A handler can also panic while it builds its future.
        let step = match guarded(self.shared.panics, || self.service.call(request)) {
            Ok(handling) => Step::Handling { handling },
            Err(error) => Step::Panicked { error: Some(error) },
        };
        SessionFuture { session, step }
    }
}

pin_project! {
    /// The response to one request.
    pub struct SessionFuture<F, B> {
        session: Rc<RequestSession>,
        #[pin]
        step: Step<F, B>,
    }

    // The response head has been sent, or the client has disconnected. From now on no cookie can
    // reach the browser, even if a task still holds the session.
    impl<F, B> PinnedDrop for SessionFuture<F, B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().session.seal();
        }
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, B> {
        /// The application handles the request.
        Handling { #[pin] handling: F },
        /// The application has returned, and the session is being committed.
        Committing { committing: LocalBoxFuture<'static, Result<ServiceResponse<EitherBody<B>>, ActixError>> },
        /// The application panicked before it returned a future.
        Panicked { error: Option<ActixError> },
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
            let handled = match this.step.as_mut().project() {
                StepProjection::Committing { committing } => {
                    return committing.as_mut().poll(context);
                }
                StepProjection::Panicked { error } => {
                    Err(error.take().unwrap_or_else(|| Error::Panic.into()))
                }
                // A future that panicked is not polled again: the step changes, or the result is
                // returned.
                StepProjection::Handling { handling } => {
                    match guarded(this.session.shared.panics, || handling.poll(context)) {
                        Ok(polled) => ready!(polled),
                        Err(error) => Err(error),
                    }
                }
            };
            let shared = Arc::clone(&this.session.shared);
            let Some(driver) = this.session.used() else {
                return Poll::Ready(match handled {
                    Ok(response) => Ok(present(&shared, response)),
                    Err(error) => Err(present_error(&shared, error)),
                });
            };
            let committing: LocalBoxFuture<'static, _> = match handled {
                Ok(response) => {
                    Box::pin(async move { Ok(finish(&shared, &driver, response).await) })
                }
                Err(error) => {
                    Box::pin(async move { Err(finish_error(&shared, &driver, error).await) })
                }
            };
            this.step.set(Step::Committing { committing });
        }
    }
}

impl<F, B> fmt::Debug for SessionFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

/// Runs code of the application. Its panic becomes an error if panics are caught.
fn guarded<T>(panics: Panics, run: impl FnOnce() -> T) -> Result<T, ActixError> {
    match panics {
        Panics::Propagate => Ok(run()),
        // The panic hook has printed the message already. The message can contain a secret, so the
        // error does not contain it.
        Panics::Catch => catch_unwind(AssertUnwindSafe(run)).map_err(|_| Error::Panic.into()),
    }
}
