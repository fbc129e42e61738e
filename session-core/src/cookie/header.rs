//! The parser of raw `Cookie` headers.

/// The values of all cookies called `name` in one `Cookie` header, in order.
///
/// The bytes are used as they are: names are compared byte for byte and nothing is decoded. A
/// parser that decodes or trims names accepts `%5F%5FHost-id`, or a name after a Unicode space, as
/// `__Host-id` (CVE-2020-8184, CVE-2022-36032). Pairs are separated by `;`. Around a pair only
/// ASCII spaces are trimmed, because browsers never send tabs there. A malformed pair does not hide
/// the others.
pub(crate) fn values<'h>(header: &'h [u8], name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    header.split(|byte| *byte == b';').filter_map(move |pair| {
        let value = trim_spaces(pair).strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value)
    })
}

fn trim_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'h>(header: &'h [u8], name: &'h str) -> Vec<&'h [u8]> {
        values(header, name.as_bytes()).collect()
    }

    #[test]
    fn s10_duplicates_are_returned_in_order() {
        assert_eq!(found(b"id=1; other=2;id=3", "id"), [b"1", b"3"]);
    }

    #[test]
    fn s09_similar_names_are_not_the_session_cookie() {
        let lookalikes: [&[u8]; 10] = [
            b"%5F%5FHost-id=x",
            b"\xe2\x80\x80__Host-id=x",
            b"a=b;\t__Host-id=x",
            b"__host-id=x",
            b"_Host-id=x",
            b"=__Host-id=x",
            b"$Version=1; \"__Host-id\"=x",
            b"__Host-id =x",
            b"__Host-id\x00=x",
            b"__Host-id",
        ];
        for header in lookalikes {
            assert_eq!(
                found(header, "__Host-id"),
                Vec::<&[u8]>::new(),
                "{}",
                header.escape_ascii()
            );
        }
    }

    #[test]
    fn s11_malformed_pairs_do_not_hide_the_cookie() {
        assert_eq!(found(b"\xff\xfe; =; ;;novalue; id=1 ; \x01", "id"), [b"1"]);
        let mut many = b"a=b; ".repeat(200);
        many.extend_from_slice(b"id=1");
        assert_eq!(found(&many, "id"), [b"1"]);
    }
}
