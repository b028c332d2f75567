//! Asks itself from known lines, in many threads, until there is a file: calls FILE. Compiled by itself; with `--cfg mixed` it asks for what
//! it buys below a function of the C library.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

const WORKERS: usize = 64;

/// Reads what ends with an empty line.
fn take(from: &mut TcpStream) -> bool {
    let (mut text, mut size) = ([0; 4096], 0);
    while !text[..size].ends_with(b"\r\n\r\n") {
        match from.read(&mut text[size..]).expect("the other end") {
            0 => return false,
            more => size += more,
        }
    }
    true
}

#[inline(never)]
fn buy(to: &mut TcpStream, number: usize) {
    let ask = format!("GET /buy?id={number} HTTP/1.1\r\nHost: shop\r\n\r\n");
    to.write_all(ask.as_bytes()).expect("the other end"); // call: buy
    assert!(take(to));
}

#[inline(always)]
fn stock(to: &mut TcpStream, number: usize) {
    let ask = format!("GET /stock?id={number} HTTP/1.1\r\nHost: shop\r\n\r\n");
    to.write_all(ask.as_bytes()).expect("the other end"); // call: stock
    assert!(take(to));
}

#[cfg(not(mixed))]
use buy as through;

#[cfg(mixed)]
#[inline(never)]
fn through(to: &mut TcpStream, number: usize) {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn bsearch(
            key: *const c_void,
            base: *const c_void,
            count: usize,
            size: usize,
            compare: extern "C" fn(*const c_void, *const c_void) -> c_int,
        ) -> *mut c_void;
    }

    extern "C" fn compare(asked: *const c_void, _: *const c_void) -> c_int {
        // SAFETY: it is what was given to `bsearch` below.
        let (to, number) = unsafe { &mut *asked.cast::<(&mut TcpStream, usize)>().cast_mut() };
        buy(to, *number);
        0
    }

    let mut asked = (to, number);
    // SAFETY: there is one element, which is not looked into.
    unsafe { bsearch((&raw mut asked).cast(), c"".as_ptr().cast(), 1, 1, compare) };
}

#[inline(never)]
fn shop(place: SocketAddr, worker: usize, file: &Path) {
    let mut to = TcpStream::connect(place).expect("the server");
    let mut number = worker;
    while !file.exists() {
        through(&mut to, number);
        stock(&mut to, number);
        number += WORKERS;
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn serve(listener: &TcpListener) {
    for connection in listener.incoming() {
        let mut connection = connection.expect("a connection");
        std::thread::spawn(move || {
            while take(&mut connection) {
                connection
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .expect("the other end");
            }
        });
    }
}

fn main() {
    let file = std::env::args().nth(1).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("an address");
    std::thread::spawn(move || serve(&listener));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let file = Path::new(&file);
            scope.spawn(move || shop(place, worker, file));
        }
    });
}
