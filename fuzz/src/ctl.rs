//! The orders of the demo, as far as its settings know them: [`demo`](crate::demo) compiles those.

#[derive(Debug)]
#[expect(dead_code, reason = "only shown")]
pub(crate) struct Order {
    pub(crate) path: std::path::PathBuf,
    pub(crate) command: cluster::control::Command,
    pub(crate) form: Form,
}

#[derive(Debug)]
pub(crate) enum Form {
    People,
    Json,
}
