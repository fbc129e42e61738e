//! What the baseline servers of `bench/compare` have in common.

use std::{error::Error, fmt::Display, net::SocketAddr};

use actix_web::{
    HttpRequest, HttpResponse,
    error::{ErrorInternalServerError, ErrorUnauthorized},
    http::header::COOKIE,
};

/// Reads the URL of the server and the number of workers from the command line of a baseline.
///
/// # Errors
/// How to use the program, if an argument is missing. The error of the number if it is not one.
pub fn baseline_arguments(
    program: &str,
    example_url: &str,
) -> Result<(String, usize), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(workers)) = (arguments.next(), arguments.next()) else {
        return Err(
            format!("usage: {program} URL WORKERS, such as {program} {example_url} 2").into()
        );
    };
    Ok((url, workers.parse()?))
}

/// Serves the routes of a baseline on a free port of the loopback interface until the program is
/// killed. The handlers are `read`, `add`, `read_insert` and `page` of the calling file. Each
/// worker makes its own session data on its own thread: it calls `connect` with a clone of
/// `source`.
///
/// Expands to a block for the end of an async function that returns `Result<(), Box<dyn Error>>`.
#[macro_export]
macro_rules! serve_baseline {
    ($source:expr, $connect:path, $workers:expr) => {{
        let source = $source;
        let app = move || {
            let source = source.clone();
            ::actix_web::App::new()
                .data_factory(move || $connect(source.clone()))
                .route("/untouched", ::actix_web::web::get().to(async || "hello, world"))
                .route("/read", ::actix_web::web::get().to(read))
                .route("/add", ::actix_web::web::get().to(add))
                .route("/read-insert", ::actix_web::web::get().to(read_insert))
                .route("/page", ::actix_web::web::get().to(page))
        };
        let server = ::actix_web::HttpServer::new(app).workers($workers).bind("127.0.0.1:0")?;
        $crate::print_addresses(&server.addrs());
        server.run().await?;
        Ok(())
    }};
}

/// Prints the addresses of a baseline server.
#[expect(clippy::print_stdout, reason = "the caller reads the address from standard output")]
pub fn print_addresses(addresses: &[SocketAddr]) {
    for address in addresses {
        println!("http://{address}");
    }
}

/// The id of the session that the cookie names: the part between its first two dots.
///
/// # Errors
/// The status 401 if the request has no such cookie.
pub fn session_id(request: &HttpRequest) -> actix_web::Result<&str> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let value = headers
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix("id="));
    let id = value.and_then(|value| value.split('.').nth(1)).filter(|id| !id.is_empty());
    id.ok_or_else(|| ErrorUnauthorized("no cookie"))
}

/// A session as JSON with these members of `data`. The body is as long as that of `GET /session` of
/// the demo.
#[must_use]
pub fn session_page(data: &str) -> HttpResponse {
    let page = format!(
        "{{\"handle\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"principal\":null,\"age\":10.001,\
         \"ttl\":1789.999,\"data\":{{{data}}}}}"
    );
    HttpResponse::Ok().content_type("application/json").body(page)
}

/// The status 500 for an error of the server.
pub fn unavailable(error: impl Display) -> actix_web::Error {
    ErrorInternalServerError(error.to_string())
}
