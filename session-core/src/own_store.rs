#![doc = include_str!("../OWN_STORE.md")]
#![cfg_attr(not(feature = "conformance"), doc = "(With the feature `conformance`.)")]
#![cfg_attr(
    feature = "conformance",
    doc = concat!(
        // The page of the trait shows the example store itself.
        "```\n# #[path = \"",
        env!("CARGO_MANIFEST_DIR"),
        "/examples/toy_store.rs\"]\n# mod toy_store;\n# mod toy_fixture {\n",
        include_str!("../tests/toy_fixture/mod.rs"),
        "# }\n",
        "session_core::conformance_tests!(async { toy_fixture::Toys::default() });\n",
        // A documentation test cannot contain tests, so it runs some checks itself.
        "# #[tokio::main]\n",
        "# async fn main() {\n",
        "#     use session_core::conformance::{c09_a_commit_sets_and_removes_and_leaves_the_rest, c17_a_commit_never_creates};\n",
        "#     c09_a_commit_sets_and_removes_and_leaves_the_rest(&toy_fixture::Toys::default()).await;\n",
        "#     c17_a_commit_never_creates(&toy_fixture::Toys::default()).await;\n",
        "# }\n```"
    )
)]
