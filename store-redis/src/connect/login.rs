//! The login of a server: a user, and a password from the settings or from a file.

use std::path::PathBuf;

use redis::RedisConnectionInfo;
use store_support::password_file::{self, PasswordFileError};

use crate::{config::Config, error::ConfigError};

/// The login of the servers, or that of the Sentinels.
pub(super) struct Login {
    user: Option<String>,
    password: Password,
}

enum Password {
    None,
    Fixed(String),
    /// The file of this setting. It is read again at each connect, because passwords rotate.
    File {
        key: &'static str,
        path: PathBuf,
    },
}

impl Login {
    /// The login of the servers.
    pub(super) fn of_servers(config: &Config) -> Self {
        Self {
            user: config.username.clone(),
            password: Password::new(
                "password_file",
                config.password_file.as_ref(),
                config.password.as_ref(),
            ),
        }
    }

    /// The login of the Sentinels.
    pub(super) fn of_sentinels(config: &Config) -> Self {
        Self {
            user: config.sentinel_username.clone(),
            password: Password::new(
                "sentinel_password_file",
                config.sentinel_password_file.as_ref(),
                config.sentinel_password.as_ref(),
            ),
        }
    }

    /// Adds the login to the settings of a connection. Reads the file of the password.
    pub(super) fn add_to(
        &self,
        mut settings: RedisConnectionInfo,
    ) -> Result<RedisConnectionInfo, ConfigError> {
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        Ok(match &self.password {
            Password::None => settings,
            Password::Fixed(password) => settings.set_password(password),
            Password::File { key, path } => {
                let unusable = |PasswordFileError { path, why }| ConfigError::File {
                    key,
                    path: path.display().to_string(),
                    why,
                };
                settings.set_password(password_file::read(path).map_err(unusable)?)
            }
        })
    }
}

impl Password {
    fn new(key: &'static str, file: Option<&PathBuf>, password: Option<&String>) -> Self {
        match (file, password) {
            (Some(path), _) => Self::File { key, path: path.clone() },
            (None, Some(password)) => Self::Fixed(password.clone()),
            (None, None) => Self::None,
        }
    }
}
