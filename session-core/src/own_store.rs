#![doc = include_str!("../OWN_STORE.md")]
//! ## Items on this page
//!
//! [`SessionStore`](crate::SessionStore), [`StoreKey`](crate::StoreKey),
//! [`SecretHash`](crate::SecretHash), [`NewRecord::check`](crate::NewRecord::check),
//! [`Commit::check`](crate::Commit::check), [`Commit::is_change`](crate::Commit::is_change),
//! [`Commit::since`](crate::Commit::since),
//! [`Commit::authentication`](crate::Commit::authentication), [`Claim`](crate::Claim),
//! [`Guard`](crate::Guard), [`StoreError`](crate::StoreError), [`Handle`](crate::Handle).
#![cfg_attr(feature = "conformance", doc = "[`Fixture`](crate::conformance::Fixture), ")]
#![cfg_attr(feature = "conformance", doc = "[`conformance_tests!`](crate::conformance_tests).")]
#![cfg_attr(
    not(feature = "conformance"),
    doc = "The feature `conformance` adds the suite and the fixture of the toy store to this page."
)]
#![cfg_attr(
    feature = "conformance",
    doc = concat!(
        "\n## The fixture of the toy store\n\n",
        "The toy store is the module `toy_store`; its code is on the page of the trait.\n\n",
        "```\n# #[path = \"",
        env!("CARGO_MANIFEST_DIR"),
        "/examples/toy_store.rs\"]\n# mod toy_store;\n# mod toy_fixture {\n",
        include_str!("../tests/toy_fixture/mod.rs"),
        "# }\n",
        "session_core::conformance_tests!(async { toy_fixture::ToyFixture::default() });\n",
        // A documentation test cannot contain tests, so it runs two checks itself.
        "# #[tokio::main]\n",
        "# async fn main() {\n",
        "#     use session_core::conformance as checks;\n",
        "#     let new = toy_fixture::ToyFixture::default;\n",
        "#     checks::c09_commit_changes_only_the_named_values(&new()).await;\n",
        "#     checks::c17_commit_never_creates_a_record(&new()).await;\n",
        "# }\n```"
    )
)]
