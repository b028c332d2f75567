//! Serves a client of its own in a process that ends in the middle of a request: crash KIND FILE. The client asks for /fine until there is
//! the file, then for /KIND, and exits with 0 if nothing was answered.
//!
//! It is compiled by itself, with the standard library alone. The process that serves is given the socket as its standard input.
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

#[inline(never)]
fn touch() {
    // SAFETY: there is nothing, which is what this is for.
    unsafe { std::ptr::without_provenance_mut::<u32>(16).write_volatile(1) }; // ends: touch
}

#[inline(never)]
fn give_up() {
    std::process::abort(); // ends: give_up
}

#[inline(never)]
fn handle(head: &str) {
    if head.starts_with("GET /touch") {
        touch();
    } else if head.starts_with("GET /give_up") {
        give_up();
    }
    // Not as the last thing, or this function would leave the stack before.
    std::hint::black_box(head);
}

#[inline(never)]
fn serve(mut from: TcpStream) {
    let mut head = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut head) {
        handle(&String::from_utf8_lossy(&head[..size]));
        from.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("answer");
    }
}

/// Whether it was answered.
fn ask(to: &mut TcpStream, kind: &str) -> bool {
    let asked = to.write_all(format!("GET /{kind} HTTP/1.1\r\nHost: crash.test\r\n\r\n").as_bytes());
    asked.is_ok() && matches!(to.read(&mut [0; 4096]), Ok(1..))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [own, kind, file] = arguments.as_slice() else {
        // SAFETY: nobody else has the standard input.
        let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(0) });
        let (from, _) = listener.accept().expect("a client");
        std::thread::spawn(|| serve(from)).join().expect("a thread that serves");
        return ExitCode::SUCCESS;
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let place = listener.local_addr().expect("its address");
    let mut server = Command::new(own);
    let mut server = server.stdin(OwnedFd::from(listener)).spawn().expect("a process");
    let mut to = TcpStream::connect(place).expect("connect");
    while !Path::new(file).exists() {
        if !ask(&mut to, "fine") {
            return ExitCode::from(5);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let answered = ask(&mut to, kind);
    let ended = server.wait().expect("its end").code();
    ExitCode::from(u8::from(answered || ended.is_some()))
}
