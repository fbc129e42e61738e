//! The conversions of the types that hold a checked text.

/// Implements the conversions between a checked text and a plain one.
///
/// `$check` is the constructor that checks a `Box<str>` and fails with `$error`.
macro_rules! impl_checked_text {
    ($type:ident, $check:ident, $error:ident) => {
        /// Serializes the text, without a copy.
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl TryFrom<Box<str>> for $type {
            type Error = $error;

            fn try_from(text: Box<str>) -> Result<Self, $error> {
                Self::$check(text)
            }
        }
    };
}

pub(crate) use impl_checked_text;
