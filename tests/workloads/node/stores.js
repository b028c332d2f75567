// stores.js PORT DSN REDIS: one thread, many requests at once, a pool of connections to PostgreSQL (pg) and one connection to Redis
// (ioredis). What it does for a request tests/workloads/python/stores_asyncio.py tells. The pool has fewer connections than there
// are requests.
const http = require('http');
const Redis = require('ioredis');
const { Pool } = require('pg');

const [port, dsn, redisPort] = process.argv.slice(2);
const words = Object.fromEntries(dsn.split(' ').map((word) => word.split('=')));
const pool = new Pool({
  host: words.host, port: Number(words.port), user: words.user, database: words.dbname, ssl: words.sslmode === 'require', max: 6,
});
const cache = new Redis(Number(redisPort), '127.0.0.1');
const nap = () => new Promise((done) => setTimeout(done, Math.random() * 4));

async function change(name) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('INSERT INTO items (name) VALUES ($1)', [name]);
    await nap();
    const { rows } = await client.query('SELECT name FROM items WHERE name = $1', [name]);
    if (rows.length !== 1 || rows[0].name !== name) throw new Error(`rows: ${JSON.stringify(rows)}`);
    await client.query('UPDATE items SET name = name WHERE name = $1', [name]);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
}

async function front(name) {
  if ((await cache.get(name)) !== null) throw new Error(`${name} is there`);
  await nap();
  await change(name);
  await Promise.all([
    pool.query('SELECT id FROM orders WHERE name = $1', [name]),
    pool.query('SELECT id FROM parts WHERE name = $1', [name]),
    cache.incr(`count:${name}`),
  ]);
  await nap();
  await cache.pipeline().set(name, '1').expire(name, 600).exec();
  await pool.query('DELETE FROM items WHERE name = $1', [name]);
}

const server = http.createServer(async (request, response) => {
  const number = new URL(request.url, 'http://localhost').searchParams.get('id');
  try {
    await front(`id=${number}`);
    response.end(`stores ${number}\n`);
  } catch (error) {
    console.error(`stores: ${error.stack}`);
    response.writeHead(500).end();
  }
});

(async () => {
  for (const table of ['orders', 'parts']) {
    await pool.query(`CREATE TABLE IF NOT EXISTS ${table} (id serial, name text)`);
  }
  server.listen(Number(port), '127.0.0.1', 512);
})();
