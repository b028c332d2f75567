// express.js PORT. Express, with undici's own pool; asks NEXT (PORT/path) with the same number.
'use strict';
const express = require('express');
const { Pool } = require('undici');

const [port, path] = process.env.NEXT.split('/');
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 16 });
const app = express();

app.use((request, response, next) => setTimeout(next, Math.random() * 4));

app.get('/front', async (request, response) => {
  const { statusCode, body } = await pool.request({ path: `/${path}?id=${request.query.id}`, method: 'GET' });
  await body.text();
  response.status(statusCode).send('express\n');
});

app.listen(Number(process.argv[2]), '127.0.0.1');
