pub(crate) use clap::Args;
#[derive(Args, Default)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options) -> anyhow::Result<()> {
    Ok(())
}
