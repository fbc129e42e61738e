//! Finds out where the server of a test comes from.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use testcontainers::{GenericImage, core::client::docker_client_instance, runners::AsyncRunner};
use tokio::time::timeout;

use super::kind::{Kind, variable};

/// How long Docker may take to answer at all. It is on the same machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long an image may take to arrive.
const IMAGE_WITHIN: Duration = Duration::from_mins(3);

/// Where the server of a test comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The environment names one that runs at this URL.
    External(String),
    /// A container of this image, which Docker has.
    Container(String),
    /// This program.
    Path(PathBuf),
}

impl Origin {
    /// Where a server of this kind can be had. `None` means nowhere; the output of the test says
    /// why.
    ///
    /// # Panics
    /// If it cannot be had and `REQUIRE_SERVICES` asks for it.
    pub(super) async fn find(kind: &Kind) -> Option<Self> {
        match look(kind).await {
            Ok(origin) => Some(origin),
            Err(why) => {
                let Kind { name, url_variable, program, .. } = kind;
                let help = format!(
                    "{why}; set {url_variable}, start Docker or install {program}: scripts/test does it"
                );
                assert!(!kind.is_required(), "REQUIRE_SERVICES asks for {name}, but {help}");
                eprintln!("SKIPPED, there is no {name}: {help}");
                None
            }
        }
    }
}

/// Tries the origins in their order. The error says why none of them works.
async fn look(kind: &Kind) -> Result<Origin, String> {
    if let Some(url) = kind.url() {
        return Ok(Origin::External(url));
    }
    match variable("TEST_SERVICES_FROM").as_deref() {
        Some("container") => container(kind).await,
        Some("path") => on_path(kind),
        Some(other) => {
            panic!("TEST_SERVICES_FROM is {other:?}; it can be \"container\" or \"path\"")
        }
        None => match container(kind).await {
            Ok(origin) => Ok(origin),
            Err(no_container) => {
                let origin = on_path(kind)
                    .map_err(|not_on_path| format!("{no_container}, and {not_on_path}"))?;
                eprintln!("{} from PATH and not in a container: {no_container}", kind.name);
                Ok(origin)
            }
        },
    }
}

async fn container(kind: &Kind) -> Result<Origin, String> {
    let image = kind.image();
    let docker = docker_client_instance()
        .await
        .map_err(|error| format!("Docker cannot be used: {error}"))?;
    match timeout(ANSWER_WITHIN, docker.ping()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("Docker does not answer: {error}")),
        Err(_) => return Err(format!("Docker does not answer within {ANSWER_WITHIN:?}")),
    }
    if docker.inspect_image(&image).await.is_ok() {
        return Ok(Origin::Container(image));
    }
    let (name, tag) = name_and_tag(&image);
    match timeout(IMAGE_WITHIN, GenericImage::new(name, tag).pull_image()).await {
        Ok(Ok(_)) => Ok(Origin::Container(image)),
        Ok(Err(error)) => Err(format!("Docker has no image {image} and cannot get it: {error}")),
        Err(_) => {
            Err(format!("Docker has no image {image} and cannot get it within {IMAGE_WITHIN:?}"))
        }
    }
}

fn on_path(kind: &Kind) -> Result<Origin, String> {
    program_on_path(kind.program)
        .map(Origin::Path)
        .ok_or_else(|| format!("there is no {} on PATH", kind.program))
}

/// The program of this name in the first folder of `PATH` that has one.
pub(crate) fn program_on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|program| is_file(program))
}

fn is_file(program: &Path) -> bool {
    program.metadata().is_ok_and(|data| data.is_file())
}

/// The parts of an image's name. The colon of a tag comes after the last slash; one before it
/// belongs to a port.
pub(super) fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::name_and_tag;

    #[test]
    fn an_image_without_a_tag_is_the_latest_and_a_port_is_not_a_tag() {
        assert_eq!(name_and_tag("redis:7"), ("redis", "7"));
        assert_eq!(name_and_tag("redis"), ("redis", "latest"));
        assert_eq!(name_and_tag("localhost:5000/redis"), ("localhost:5000/redis", "latest"));
        assert_eq!(name_and_tag("localhost:5000/redis:7"), ("localhost:5000/redis", "7"));
    }
}
