//! The middleware that refuses state-changing requests of other origins.

use std::sync::Arc;

use actix_web::{
    Error as ActixError, HttpResponse,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::header::{self, HeaderName, HeaderValue},
};
use futures_util::{
    TryFutureExt,
    future::{Either, MapOk, Ready, ready},
};
use ipnet::IpNet;
use session_core::origin::{
    CrossOriginPolicy, CrossOriginPolicyBuilder, CrossOriginRejection, CrossOriginRequest,
    InvalidOrigin,
};

use crate::scheme::scheme;

/// Middleware that refuses state-changing requests that a page of another origin caused.
///
/// [`CrossOriginPolicy`] has the rules. The guard answers a refused request with 403 and
/// `Cache-Control: no-store`, before the handler runs and before a session is loaded. It needs no
/// token in a form and no [`SessionMiddleware`](crate::SessionMiddleware).
///
/// Wrap the whole application with it, so that it covers every route, also those that open a
/// WebSocket.
///
/// # Examples
/// ```
/// use actix_web::{App, http::header, post, test::{TestRequest, call_service, init_service}};
/// use session_actix::CrossOriginGuard;
///
/// #[post("/transfer")]
/// async fn transfer() -> &'static str {
///     "done\n"
/// }
///
/// #[actix_web::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let guard = CrossOriginGuard::builder().trusted_origin("https://app.example.com").build()?;
///     let app = init_service(App::new().wrap(guard).service(transfer)).await;
///     let post = |origin| {
///         TestRequest::post()
///             .uri("/transfer")
///             .insert_header((header::HOST, "example.com"))
///             .insert_header((header::ORIGIN, origin))
///             .to_request()
///     };
///     assert_eq!(call_service(&app, post("https://example.com")).await.status(), 200);
///     assert_eq!(call_service(&app, post("https://app.example.com")).await.status(), 200);
///     assert_eq!(call_service(&app, post("https://evil.example")).await.status(), 403);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CrossOriginGuard {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    policy: CrossOriginPolicy,
    trusted_proxies: Vec<IpNet>,
}

impl CrossOriginGuard {
    /// A guard that trusts no other origin and no proxy, until the builder names some.
    #[must_use]
    pub fn builder() -> CrossOriginGuardBuilder {
        CrossOriginGuardBuilder::default()
    }
}

/// Collects the options of a [`CrossOriginGuard`].
#[derive(Debug, Clone, Default)]
pub struct CrossOriginGuardBuilder {
    policy: CrossOriginPolicyBuilder,
    trusted_proxies: Vec<IpNet>,
}

impl CrossOriginGuardBuilder {
    /// Lets pages of one more origin cause state-changing requests, such as
    /// `https://app.example.com`. Can be called several times.
    ///
    /// Its form is that of [`CrossOriginPolicyBuilder::trusted_origin`].
    #[must_use]
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.policy = self.policy.trusted_origin(origin);
        self
    }

    /// The TLS proxies in front of the application, the same as in
    /// [`SessionMiddlewareBuilder::trusted_proxies`](crate::SessionMiddlewareBuilder::trusted_proxies). None by
    /// default.
    ///
    /// Their `X-Forwarded-Proto` is the scheme that the browser requested. Without it the scheme of
    /// `Origin` does not count, unless the application itself speaks TLS.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies = proxies.into_iter().collect();
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for the first trusted origin that is not one.
    pub fn build(self) -> Result<CrossOriginGuard, InvalidOrigin> {
        let rules = Rules { policy: self.policy.build()?, trusted_proxies: self.trusted_proxies };
        Ok(CrossOriginGuard { rules: Arc::new(rules) })
    }
}

impl<S, B> Transform<S, ServiceRequest> for CrossOriginGuard
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = ActixError;
    type Transform = CrossOriginService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(CrossOriginService { service, rules: Arc::clone(&self.rules) }))
    }
}

/// The application behind a [`CrossOriginGuard`].
#[derive(Debug)]
pub struct CrossOriginService<S> {
    service: S,
    rules: Arc<Rules>,
}

type Served<B> = ServiceResponse<EitherBody<B>>;

impl<S, B> Service<ServiceRequest> for CrossOriginService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError>,
    B: MessageBody,
{
    type Response = Served<B>;
    type Error = ActixError;
    type Future = Either<
        Ready<Result<Served<B>, ActixError>>,
        MapOk<S::Future, fn(ServiceResponse<B>) -> Served<B>>,
    >;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        match check(&self.rules, &request) {
            Ok(()) => Either::Right(
                self.service.call(request).map_ok(ServiceResponse::map_into_left_body),
            ),
            Err(rejection) => {
                log(&request, &rejection);
                Either::Left(ready(Ok(request.into_response(refusal()).map_into_right_body())))
            }
        }
    }
}

fn check(rules: &Rules, request: &ServiceRequest) -> Result<(), CrossOriginRejection> {
    let values = |name: HeaderName| request.headers().get_all(name).map(HeaderValue::as_bytes);
    // HTTP/2 has the host in the request target, and a target with a host overrides the header (RFC
    // 9112, section 3.2.2).
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => request.headers().get(header::HOST).map(HeaderValue::as_bytes),
    };
    rules.policy.check(
        &CrossOriginRequest::new(request.method().as_str())
            .upgrade(values(header::UPGRADE))
            .fetch_site(values(HeaderName::from_static("sec-fetch-site")))
            .origin(values(header::ORIGIN))
            .host(host)
            .scheme(scheme(&rules.trusted_proxies, request.request())),
    )
}

/// Without the path, which can hold a secret.
fn log(request: &ServiceRequest, rejection: &CrossOriginRejection) {
    let method = request.method().as_str();
    // A site whose own pages are refused like this has a proxy that sends the wrong scheme, so the
    // operator has to know.
    if matches!(rejection, CrossOriginRejection::OtherScheme { .. }) {
        tracing::warn!(method, reason = %rejection, "cross-origin request refused");
    } else {
        tracing::debug!(method, reason = %rejection, "cross-origin request refused");
    }
}

fn refusal() -> HttpResponse<BoxBody> {
    HttpResponse::Forbidden()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body("this request is refused because a page of another site caused it\n")
}
