//! The types of `demo-server ctl` that the settings of the demo use. [`demo`](crate::demo) compiles
//! these settings.

#[derive(Debug)]
#[expect(dead_code, reason = "the targets use only the `Debug` form")]
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
