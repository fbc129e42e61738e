//! No other site changes anything here in a visitor's name.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HOST, HeaderMap, ORIGIN},
    middleware::Next,
};

/// Refuses requests that another site caused, before the session is touched.
pub(super) async fn same_origin_only<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_cross_site(request.headers()) {
        let refusal = HttpResponse::Forbidden().body("requests that change something must come from this site itself\n");
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// `Sec-Fetch-Site` is set by every current browser and by no page; `Origin` serves the older ones. A program sends neither and carries
/// no visitor's cookie.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host_of = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_owned());
    let origin = origin.to_str().ok().and_then(host_of);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // An origin that names no host (`null`, of a sandboxed page) is never ours.
    origin.is_none() || origin.as_deref() != host
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn cross_site(headers: &[(&'static str, &'static str)]) -> bool {
        let header = |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        is_cross_site(&headers.iter().map(header).collect())
    }

    #[test]
    fn s21_only_requests_from_this_site_pass() {
        assert!(!cross_site(&[("host", "demo")]));
        assert!(!cross_site(&[("host", "demo"), ("sec-fetch-site", "same-origin"), ("origin", "https://evil")]));
        assert!(!cross_site(&[("host", "demo:1"), ("origin", "http://demo:1")]));
        for site in ["cross-site", "same-site", "", "CROSS-SITE"] {
            assert!(cross_site(&[("host", "demo"), ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["null", "https://evil", "https://demo.evil", "demo"] {
            assert!(cross_site(&[("host", "demo"), ("origin", origin)]), "{origin}");
        }
        assert!(cross_site(&[("origin", "null")]));
    }
}
