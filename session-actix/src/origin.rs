//! The middleware that rejects state-changing requests from pages of other origins.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

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

use crate::scheme::{TrustedProxies, scheme};

/// Middleware that rejects state-changing requests that a page of another origin caused.
///
/// [`CrossOriginPolicy`] describes the rules. The guard answers a rejected request with 403 and
/// `Cache-Control: no-store`, before the handler runs and before a session is loaded. Forms need no
/// token. The guard also works without a [`SessionMiddleware`](crate::SessionMiddleware).
///
/// Wrap the whole application with it, so that it covers every route, including those that open a
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
    trusted_proxies: TrustedProxies,
    respond: Option<RefusalResponse>,
    last_warning: Mutex<Option<Instant>>,
}

/// Makes the response to a refused request.
#[derive(Clone)]
struct RefusalResponse(Arc<dyn Fn(&CrossOriginRejection) -> HttpResponse + Send + Sync>);

impl fmt::Debug for RefusalResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefusalResponse")
    }
}

impl CrossOriginGuard {
    /// A builder of a guard. By default the guard trusts no other origin and no proxy.
    #[must_use]
    pub fn builder() -> CrossOriginGuardBuilder {
        CrossOriginGuardBuilder::default()
    }
}

/// Collects the options of a [`CrossOriginGuard`].
#[derive(Debug, Clone, Default)]
pub struct CrossOriginGuardBuilder {
    policy: CrossOriginPolicyBuilder,
    trusted_proxies: TrustedProxies,
    respond: Option<RefusalResponse>,
}

impl CrossOriginGuardBuilder {
    /// Allows pages of one more origin, such as `https://app.example.com`, to cause state-changing
    /// requests. Can be called several times.
    ///
    /// [`CrossOriginPolicyBuilder::trusted_origin`] describes the form of `origin`.
    #[must_use]
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.policy = self.policy.trusted_origin(origin);
        self
    }

    /// Sets the addresses of the TLS proxies in front of the application, as
    /// [`SessionMiddlewareBuilder::trusted_proxies`](crate::SessionMiddlewareBuilder::trusted_proxies)
    /// does. None by default.
    ///
    /// The guard compares the scheme of `Origin` with the scheme that the browser requested. It
    /// knows that scheme from the `X-Forwarded-Proto` of these proxies, or if the application
    /// itself uses TLS. Otherwise it compares only host and port.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies.networks = proxies.into_iter().collect();
        self
    }

    /// Trusts every client that connects over a Unix-domain socket as a proxy, as
    /// [`SessionMiddlewareBuilder::trusted_unix_proxy`](crate::SessionMiddlewareBuilder::trusted_unix_proxy)
    /// does.
    #[must_use]
    pub fn trusted_unix_proxy(mut self) -> Self {
        self.trusted_proxies.unix_sockets = true;
        self
    }

    /// Sets the function that makes the response to a refused request, for example as JSON. Without
    /// it the response is a 403 with a sentence as text.
    #[must_use]
    pub fn error_response<R>(mut self, respond: R) -> Self
    where
        R: Fn(&CrossOriginRejection) -> HttpResponse + Send + Sync + 'static,
    {
        self.respond = Some(RefusalResponse(Arc::new(respond)));
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for the first trusted origin that is not valid.
    pub fn build(self) -> Result<CrossOriginGuard, InvalidOrigin> {
        let rules = Rules {
            policy: self.policy.build()?,
            trusted_proxies: self.trusted_proxies,
            respond: self.respond,
            last_warning: Mutex::new(None),
        };
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
                log(&self.rules, &request, &rejection);
                let response = match &self.rules.respond {
                    Some(RefusalResponse(respond)) => respond(&rejection),
                    None => refusal(),
                };
                Either::Left(ready(Ok(request.into_response(response).map_into_right_body())))
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

/// The shortest time between two warnings about other hosts. Other sites decide how many requests
/// are refused.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// Logs the rejection. The line does not contain the path, because a path can contain a secret.
fn log(rules: &Rules, request: &ServiceRequest, rejection: &CrossOriginRejection) {
    let method = request.method().as_str();
    // If pages of the site itself are refused for these reasons, a proxy is not configured right.
    // The operator must see that.
    let cure = match rejection {
        CrossOriginRejection::OtherScheme { .. } if request.peer_addr().is_none() => {
            "if the page belongs to this site, let the proxy at the Unix-domain socket set \
             X-Forwarded-Proto, and trust it with trusted_unix_proxy"
        }
        CrossOriginRejection::OtherScheme { .. } => {
            "if the page belongs to this site, let each proxy set X-Forwarded-Proto, and name all \
             proxies with trusted_proxies"
        }
        CrossOriginRejection::ForeignOrigin { .. } | CrossOriginRejection::UnknownHost => {
            "if the page belongs to this site, let each proxy forward the header Host, or name the \
             origin with trusted_origin"
        }
        _ => "",
    };
    let is_from_own_host = matches!(rejection, CrossOriginRejection::OtherScheme { .. });
    if is_from_own_host || (!cure.is_empty() && rules.may_warn()) {
        tracing::warn!(method, reason = %rejection, cure, "cross-origin request refused");
    } else {
        tracing::debug!(method, reason = %rejection, "cross-origin request refused");
    }
}

impl Rules {
    /// Whether enough time has passed since the last warning. If so, notes the time.
    fn may_warn(&self) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= WARNING_PAUSE);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

fn refusal() -> HttpResponse<BoxBody> {
    HttpResponse::Forbidden()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body("this request is refused because a page of another site caused it\n")
}
