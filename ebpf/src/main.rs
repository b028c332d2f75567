//! The kernel side of Clew: sees operations on sockets of traced processes and writes them into the ring buffer.
//!
//! It names no protocol. A probe filters, gathers and hands over; what the verifier wants beyond that is in
//! [`verifier`]. Field offsets of kernel structures are read-only globals that the agent fills in from the kernel's BTF.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod arch;
mod assist;
mod connection;
mod context;
mod descriptor;
mod executor;
mod go_tls;
mod golang;
mod java;
mod kernel;
mod lifecycle;
mod log;
mod maps;
mod operation;
mod pipe;
mod process;
mod python;
mod ring;
mod rustls;
mod settings;
mod socket;
mod stacks;
mod syscall;
mod tasks;
mod times;
mod tls;
mod tokio;
mod turn;
mod unwind;
mod verifier;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects an endless loop, so a reachable panic shows at load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
