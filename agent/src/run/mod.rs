//! Starts a command so that it is traced from its first instruction, and leaves it as it is.
//!
//! In: a command line and who shall run it. Out: a [`Child`] that waits before its program until
//! [`release`](Child::release), and [`Signals`] to pass on. The command keeps Clew's standard streams, process group and
//! signal state, so the terminal reaches it as if Clew were not there. If Clew is killed the command goes on.
mod assist;
mod child;
mod identity;
mod signals;

pub use assist::{Assist, has_java_hook, has_node_hook, no_java_hook};
pub use child::{Child, Exit, NotStarted, SpawnError};
pub use identity::{Identity, IdentityError};
pub use signals::{Caught, Origin, Signals};
