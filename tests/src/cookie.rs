//! The `Set-Cookie` header, and the parts of a session cookie.

/// The parts of a `Set-Cookie` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCookie {
    /// The cookie's name.
    pub name: String,
    /// The cookie's value.
    pub value: String,
    /// The attributes as they stand, in order.
    pub attributes: Vec<String>,
}

impl SetCookie {
    /// Parses the value of a header.
    ///
    /// # Panics
    /// If it is not a cookie.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut parts = line.split("; ");
        let (name, value) = parts
            .next()
            .and_then(|pair| pair.split_once('='))
            .expect("Set-Cookie starts with name=value");
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            attributes: parts.map(str::to_owned).collect(),
        }
    }

    /// `Max-Age` in seconds.
    #[must_use]
    pub fn max_age(&self) -> Option<u64> {
        self.attributes
            .iter()
            .find_map(|attribute| attribute.strip_prefix("Max-Age=")?.parse().ok())
    }

    /// Whether it removes the cookie.
    #[must_use]
    pub fn removes(&self) -> bool {
        self.max_age() == Some(0)
    }

    /// The session's id: key, dot and secret, between the format tag and the signature.
    ///
    /// # Panics
    /// If the value has another shape.
    #[must_use]
    pub fn id(&self) -> &str {
        id_of(&self.value)
    }
}

/// The session id in a cookie's value `2.<16 characters of key>.<28 of secret>.<43 of signature>`.
///
/// # Panics
/// If the value has another shape.
#[must_use]
pub fn id_of(value: &str) -> &str {
    let parts: Vec<_> = value.split('.').collect();
    match parts[..] {
        ["2", key, secret, mac] if key.len() == 16 && secret.len() == 28 && mac.len() == 43 => {
            &value[2..2 + 45]
        }
        _ => panic!("a value of {} characters is not a signed session cookie", value.len()),
    }
}

/// The key in a cookie's value.
///
/// # Panics
/// If the value has another shape.
#[must_use]
pub fn key_of(value: &str) -> &str {
    &id_of(value)[..16]
}

/// The secret in a cookie's value.
///
/// # Panics
/// If the value has another shape.
#[must_use]
pub fn secret_of(value: &str) -> &str {
    &id_of(value)[17..]
}
