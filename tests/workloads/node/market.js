// Asks itself from known lines, by 64 at once, until there is a file: node market.js FILE.
'use strict';
const fs = require('fs');
const net = require('net');

const WORKERS = 64;
const file = process.argv[2];

function answered(connection, done) {
  let text = '';
  connection.on('data', function take(more) {
    text += more;
    if (!text.endsWith('\r\n\r\n')) return;
    connection.removeListener('data', take);
    done();
  });
}

function buy(connection, number, done) {
  answered(connection, done);
  connection.write(`GET /buy?id=${number} HTTP/1.1\r\nHost: shop\r\n\r\n`, 'latin1');
}

function stock(connection, number, done) {
  answered(connection, done);
  connection.write(`GET /stock?id=${number} HTTP/1.1\r\nHost: shop\r\n\r\n`, 'latin1');
}

function shop(connection, number) {
  if (fs.existsSync(file)) return connection.end();
  const ask = number % 2 ? buy : stock;
  ask(connection, number, () => setTimeout(shop, 100, connection, number + WORKERS + 1));
}

const server = net.createServer((connection) => {
  connection.setNoDelay();
  connection.on('data', (ask) => {
    if (ask.toString('latin1').endsWith('\r\n\r\n')) connection.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'latin1');
  });
  connection.on('end', () => connection.end());
});

function end() {
  server.close();
  fs.rmSync(`/tmp/perf-${process.pid}.map`, { force: true });
}

server.listen({ port: 0, host: '127.0.0.1', backlog: 256 }, () => {
  let open = WORKERS;
  for (let worker = 0; worker < WORKERS; worker++) {
    const connection = net.connect(server.address().port, '127.0.0.1', () => shop(connection, worker));
    connection.on('close', () => { if (--open === 0) end(); });
  }
});
