//! Asks itself from known lines, in many threads, until there is a file: calls FILE. Compiled by itself.
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

#[inline(never)]
fn shop(place: SocketAddr, worker: usize, file: &Path) {
    let mut to = TcpStream::connect(place).expect("the server");
    let mut number = worker;
    while !file.exists() {
        buy(&mut to, number);
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
