//! Everything a developer does with Clew.
fn main() {}
