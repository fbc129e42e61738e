//! Passwords in files, such as the mounted secrets of Docker and Kubernetes.
//!
//! A store reads the file when it starts and again at each connect. So a password can change
//! without a restart: the file gets the new password, and the next connect uses it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The greatest size of a password file. No server accepts a longer password.
const MAX_BYTES: u64 = 64 * 1024;

/// A password file cannot be used. The error shows its path and the reason, but no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the password file {path:?}: {why}")]
pub struct PasswordFileError {
    /// The path of the file.
    pub path: PathBuf,
    /// The reason, with what would help.
    pub why: String,
}

/// Reads a password from a file. A line break at the end of the file is not a part of the password.
///
/// # Errors
/// [`PasswordFileError`] if the file is missing, unreadable, empty, larger than 64 KiB, not UTF-8 or
/// not a regular file.
pub fn read(path: &Path) -> Result<String, PasswordFileError> {
    let unusable = |why: &str| PasswordFileError { path: path.to_owned(), why: why.to_owned() };
    let failed = |error: io::Error| unusable(&describe(&error));
    // Opening a pipe would wait for its other end, and each of its bytes can be read only once.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unusable("it is not a regular file; write the password into a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unusable("it is larger than 64 KiB; it must contain only the password"));
    }
    let mut password =
        String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8; save it as UTF-8"))?;
    if password.ends_with('\n') {
        password.pop();
        if password.ends_with('\r') {
            password.pop();
        }
    }
    if password.is_empty() {
        return Err(unusable("it is empty; write the password into it"));
    }
    Ok(password)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist; create it, or correct the path".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "no permission to read it; make it readable for the user of this process".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that is deleted with this value.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(content: &[u8]) -> Self {
            let name = format!("store-support-{}-{:016x}", std::process::id(), fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn d11_one_line_break_at_the_end_is_removed() {
        for (content, password) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3cret \n", " s3cret "),
            ("\r", "\r"),
        ] {
            let file = Scratch::new(content.as_bytes());
            assert_eq!(read(&file.0).as_deref(), Ok(password), "{content:?}");
        }
    }

    #[test]
    fn d11_unusable_password_file_is_refused_with_the_cure() {
        let long = vec![b's'; 64 * 1024 + 1];
        for (content, why) in [
            (&b""[..], "it is empty; write the password into it"),
            (b"\n", "it is empty; write the password into it"),
            (b"s3cret\xff", "it is not UTF-8; save it as UTF-8"),
            (&long, "it is larger than 64 KiB; it must contain only the password"),
        ] {
            let file = Scratch::new(content);
            let error = read(&file.0).unwrap_err();
            assert_eq!((error.path.as_path(), error.why.as_str()), (file.0.as_path(), why));
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        let missing = read(Path::new("/nowhere/password")).unwrap_err().to_string();
        assert_eq!(
            missing,
            "cannot use the password file \"/nowhere/password\": it does not exist; create it, or \
             correct the path"
        );
        let folder = read(&std::env::temp_dir()).unwrap_err().to_string();
        assert!(folder.contains("it is not a regular file"), "{folder}");
    }
}
