//! End-to-end tests of Clew: the harness.
