//! The programs that tests in a browser need.

use std::path::PathBuf;

use crate::service::{
    kind::{is_required, variable},
    origin::program_on_path,
};

/// Their name in `REQUIRE_SERVICES`.
const NAME: &str = "browser";

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    pub(super) nginx: PathBuf,
    pub(super) chromium: PathBuf,
    pub(super) driver: PathBuf,
}

impl Programs {
    /// Looks for them on `PATH`. `None` if one is missing: then the test has to return, and
    /// its output says why.
    ///
    /// # Panics
    /// If one is missing and they are required.
    #[must_use]
    pub fn find() -> Option<Self> {
        if variable("TEST_BROWSER").as_deref() == Some("none") {
            eprintln!("SKIPPED, TEST_BROWSER=none leaves the tests in a browser out");
            return None;
        }
        let names = ["nginx", "chromium", "chromedriver"];
        let [nginx, chromium, driver] = names.map(program_on_path);
        if let (Some(nginx), Some(chromium), Some(driver)) = (&nginx, &chromium, &driver) {
            return Some(Self {
                nginx: nginx.clone(),
                chromium: chromium.clone(),
                driver: driver.clone(),
            });
        }
        let missing: Vec<_> = names
            .into_iter()
            .zip([&nginx, &chromium, &driver])
            .filter(|(_, found)| found.is_none())
            .collect();
        let missing = missing.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        let help = format!(
            "PATH has no {missing}; install nginx, chromium and chromium-driver: scripts/test does it"
        );
        assert!(!is_required(NAME), "REQUIRE_SERVICES asks for {NAME}, but {help}");
        eprintln!("SKIPPED, there is no {NAME}: {help}");
        None
    }
}
