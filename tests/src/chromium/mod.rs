//! A real browser and a real TLS proxy: Chromium, steered by chromedriver, and nginx in front of a
//! demo.
//!
//! [`Programs::find`] looks for `nginx`, `chromium` and `chromedriver` on `PATH`. If one is
//! missing, the test says so and is skipped, and fails instead if `REQUIRE_SERVICES` is `all` or
//! lists `browser`. `TEST_BROWSER=none` leaves these tests out in every case.
//!
//! Chromium resolves every name that ends in `.test` to 127.0.0.1 and no other name, so it connects
//! to this machine only.

mod driver;
mod nginx;
mod programs;

pub use self::{
    driver::{ChromeDriver, Chromium, Cookie},
    nginx::{Access, Nginx},
    programs::Programs,
};
