//! Conversations that begin with recordings of TDS: see `conversation.rs`.
#![no_main]
mod conversation;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| conversation::play_all(input));
