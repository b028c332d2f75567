// What is shown of one span.
import { add, assert, clipboard, FILLED, openFirst, PAGE, SHOP, span, until } from './browser.mjs';

export default [
  [
    'panel: request, response, headers, bodies and the network’s phases',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      await span(page, 'POST /orders').first().click();
      const panel = page.locator('#panel');
      await panel.getByText(/POST http:\/\/127.0.0.1:\d+\/orders\?id=/).waitFor();
      const request = panel.locator('details.section', { hasText: 'Request body' });
      await request.getByText('"lantern"').waitFor();
      await request.getByText('lines', { exact: true }).waitFor();
      await panel.locator('details.section', { hasText: 'Response body' }).getByText('order', { exact: true }).waitFor();
      // Secrets are gone before a span is stored.
      assert.ok(!(await panel.innerText()).includes('Bearer secret'));
      await panel.getByText('Wait for the first byte').waitFor();
      await panel.getByRole('button', { name: 'Copy as curl' }).click();
      const command = await until('a command', async () => clipboard(page));
      assert.match(command, /^curl -X POST 'http:\/\/127\.0\.0\.1:\d+\/orders\?id=\d+'/);
      assert.ok(command.includes('--data-binary \'{"product": "lantern"'), command);
      await panel.getByRole('button', { name: 'Copy JSON' }).click();
      const json = await until('a value', async () => {
        const text = await clipboard(page);
        return text.startsWith('{') && text;
      });
      assert.equal(JSON.parse(json).attributes['http.request.method'], 'POST');
      await panel.getByRole('button', { name: 'Raw' }).first().click();
      await panel.locator('pre.text').first().waitFor();
    },
  ],
  [
    'panel: what was hidden says so',
    async (page) => {
      await fetch(`${SHOP}/big?id=303&token=hush`);
      await openFirst(page, '"id=303"');
      await page.locator('#spans .span-row').first().click();
      const panel = page.locator('#panel');
      await panel.getByText('GET /big?id=303&token=REDACTED').waitFor();
      assert.ok(!(await page.locator('body').innerText()).includes('hush'));
    },
  ],
  [
    'panel: a long text within a body is cut until asked for',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      await page.locator('#spans .span-row').first().click();
      const panel = page.locator('#panel');
      await panel.getByRole('button', { name: /… 140 more/ }).click();
      await panel.getByText('x'.repeat(300)).waitFor();
    },
  ],
  [
    'panel: a statement is set in lines, with its parameters and rows',
    async (page) => {
      await openFirst(page, 'path:/list*');
      await page.locator('.span-row.fold').getByRole('button', { name: 'Expand' }).click();
      await span(page, 'SELECT name').nth(3).click();
      const panel = page.locator('#panel');
      const text = await panel.locator('.sql pre').innerText();
      assert.match(text, /SELECT name\n\s*FROM items\n\s*WHERE id = /);
      await panel.getByText(/\d+ rows?/).first().waitFor();
      await panel.getByText('postgresql').first().waitFor();
      await panel.getByRole('button', { name: 'Copy SQL' }).click();
      await until('the statement', async () => (await clipboard(page)).startsWith('SELECT name\n'));
    },
  ],
  [
    'panel: a message with its subject, a cache’s command',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      await span(page, 'orders.placed').first().click();
      await page.locator('#panel').getByText('messaging.destination.name').waitFor();
      await span(page, 'GET cart:').first().click();
      await page.locator('#panel').getByText(/cart:/).first().waitFor();
    },
  ],
  [
    'panel: a call to object storage says what it did to which object',
    async (page) => {
      await fetch(`${SHOP}/receipt?id=302`);
      await openFirst(page, 'path:/receipt*');
      const call = span(page, 'S3/PutObject receipts/302/a receipt.txt').first();
      await call.click();
      const storage = page.locator('#panel details.section', { hasText: 'Object storage' });
      for (const text of ['receipts', '302/a receipt.txt', 'eu-west-1']) await storage.getByText(text, { exact: true }).waitFor();
      // What it was signed with is nobody's business.
      assert.ok(!(await page.locator('#panel').innerText()).includes('AKID'));
    },
  ],
  [
    'panel: when a process began, what it did first, and that events were dropped then',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      await page.locator('#spans .span-row').first().click();
      await page.locator('#panel .figures').getByText(/^began \d.* before$/).waitFor();
      await page.goto(`${FILLED}?q=${encodeURIComponent('path:/died')}`);
      await page.locator('#traces a.row', { hasText: '/died' }).click();
      await page.getByText(/7 events were dropped while it ran/).waitFor();
      const first = span(page, 'POST /died');
      await first.getByText('process start').waitFor();
      await first.click();
      await page.locator('#panel').getByText(/Its process had begun \d{3} ms before/).waitFor();
      await page.locator('#panel .figures').getByText(/^began \d{3} ms before$/).waitFor();
      assert.equal(await page.getByText('process start', { exact: true }).count(), 1);
    },
  ],
  [
    'panel: a body that was cut says so, with its size and what is missing',
    async (page) => {
      await fetch(`${SHOP}/big?id=301`);
      await openFirst(page, 'path:/big*');
      await page.locator('#spans .span-row').first().click();
      const body = page.locator('#panel details.section', { hasText: 'Response body' });
      await body.getByText('truncated', { exact: true }).waitFor();
      await body.getByText('195 KiB').waitFor();
      await body.getByText('The rest was not kept.').waitFor();
      // Its beginning is text, of which a part is shown until more is asked for.
      const more = body.getByRole('button', { name: /KiB more$/ });
      const before = (await body.locator('pre.text').innerText()).length;
      await more.click();
      await until('more of it', async () => (await body.locator('pre.text').innerText()).length > before + 10_000);
      await page.locator('.span-row.chosen .mark').waitFor();
    },
  ],
  [
    'panel: the place of a call opens in the editor that was chosen',
    async (page) => {
      await openFirst(page, 'path:/list*');
      await page.locator('.span-row.fold').getByRole('button', { name: 'Expand' }).click();
      await span(page, 'SELECT name').nth(2).click();
      const site = page.locator('#panel details.section', { hasText: 'Call site' });
      const place = site.locator('p.line a.place');
      await place.waitFor();
      assert.match(await place.getAttribute('href'), /^vscode:\/\/file\/.*\/shop\.py:\d+$/);
      assert.match(await site.locator('p.line').innerText(), /list/);
      assert.ok((await site.locator('pre.stack a.place').count()) > 0);
      await site.getByLabel('The editor that opens places').selectOption('JetBrains IDEs');
      assert.match(await place.getAttribute('href'), /^idea:\/\/open\?file=\/.*\/shop\.py&line=\d+$/);
      await page.reload();
      await place.waitFor();
      assert.match(await place.getAttribute('href'), /^idea:/);
    },
  ],
  [
    'panel: from a span to what it logged, from there to all that was logged, and back',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      await page.getByRole('button', { name: /^Logs \d/ }).click();
      const all = page.getByRole('region', { name: 'Logs of this trace' });
      await all.locator('.log-row', { hasText: 'was placed' }).first().click();
      const line = page.locator('#panel .events li.chosen', { hasText: 'was placed' });
      await line.waitFor();
      assert.match(await page.locator('.span-row.chosen').innerText(), /\/checkout/);
      await page.keyboard.press('L');
      await until('the table is gone', async () => (await all.count()) === 0);
      await line.getByRole('button').click();
      await all.locator('.log-row.chosen', { hasText: 'was placed' }).waitFor();
      // A stack that was logged leads to the editor as well.
      await openFirst(page, 'path:/refund*');
      await page.locator('#spans .span-row').first().click();
      const failed = page.locator('#panel .events li', { hasText: 'UndefinedTable' }).first();
      await failed.locator('pre.stack a.place', { hasText: 'shop.py' }).first().waitFor();
    },
  ],
  [
    'panel: a request is sent again only when asked, to where it went',
    async (page) => {
      await openFirst(page, 'path:/list*');
      const number = String(Date.now());
      const before = await (await fetch(`${PAGE}api/v1/traces?q=path:/list&limit=500`)).json();
      await page.locator('#spans .span-row').first().click();
      await page.locator('#panel').getByRole('button', { name: 'Replay' }).click();
      const sheet = page.getByRole('dialog', { name: 'Replay' });
      await sheet.getByText(/^GET \/list\?id=\d+ HTTP\/1.1/).waitFor();
      await sheet.getByText('this machine.').waitFor();
      const target = new URL(SHOP).host;
      await sheet.getByText(target, { exact: true }).first().waitFor();
      await sheet.getByRole('textbox').fill(`x-number: ${number}`);
      // Seen and closed is not sent.
      await page.keyboard.press('Escape');
      await until('the sheet is gone', async () => (await page.getByRole('dialog').count()) === 0);
      const after = await (await fetch(`${PAGE}api/v1/traces?q=path:/list&limit=500`)).json();
      assert.equal(after.traces.length, before.traces.length);
      await page.locator('#panel').getByRole('button', { name: 'Replay' }).click();
      await sheet.getByRole('button', { name: 'Send' }).click();
      await sheet.getByRole('region', { name: 'Answer' }).getByText('200', { exact: true }).waitFor();
      await until('a trace of it', async () => {
        const list = await (await fetch(`${PAGE}api/v1/traces?q=path:/list&limit=500`)).json();
        return list.traces.length > before.traces.length;
      });
      await page.keyboard.press('Escape');
      // What would go to another machine is asked for twice.
      await page.route('**/replay?span=*', async (route) => {
        const plan = await (await route.fetch()).json();
        await route.fulfill({ json: { ...plan, to: '192.0.2.7:80', own: false, method: 'POST', hidden: ['body "password":"'] } });
      });
      let posted = 0;
      await page.route('**/replay', async (route) => {
        posted += 1;
        await route.fulfill({ status: 502, json: { error: '192.0.2.7:80 does not answer' } });
      });
      await page.locator('#panel').getByRole('button', { name: 'Replay' }).click();
      await sheet.getByText('which is not this machine').waitFor();
      await sheet.getByText('POST may change something there').waitFor();
      const send = sheet.getByRole('button', { name: 'Send' });
      assert.ok(await send.isDisabled());
      await sheet.getByLabel(/Send it to 192.0.2.7:80/).check();
      // A hidden value is wanted as well.
      assert.ok(await send.isDisabled());
      await sheet.getByLabel(/Hidden: body "password"/).fill('lantern');
      await send.click();
      await sheet.getByText('does not answer').waitFor();
      assert.equal(posted, 1);
    },
  ],
  [
    'panel: a lookup, a WebSocket, a model, GraphQL, what was sent again, a panic and an exit',
    async (page) => {
      const id = '5c'.repeat(16);
      const http = { 'http.request.method': 'GET', 'url.path': '/talk' };
      await add(`${FILLED}api/v1/traces`, id, 'talker', [
        {
          attributes: { ...http, 'clew.process.exit_status': 101, 'clew.exchange.outcome': 'process_exited' },
          status: { code: 2, message: 'the process ended' },
          events: [{ name: 'exception', attributes: { 'exception.type': 'panic', 'exception.message': 'index out of bounds', 'exception.stacktrace': 'main.rs:7' } }],
        },
        { kind: 3, name: 'A bank.example', parentSpanId: '0000000000000001', attributes: { 'dns.question.name': 'bank.example', 'dns.answers': '192.0.2.1' } },
        { kind: 3, name: 'GET /chat', parentSpanId: '0000000000000001', attributes: { ...http, 'url.path': '/chat', 'clew.websocket': true, 'clew.websocket.sent.messages': 12, 'clew.network.retransmits': 3, 'clew.network.rtt_ns': 250_000 } },
        { kind: 3, name: 'chat m-1', parentSpanId: '0000000000000001', attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'm-1', 'gen_ai.usage.output_tokens': 77 } },
        { kind: 3, name: 'query Cart', parentSpanId: '0000000000000001', attributes: { 'graphql.operation.type': 'query', 'graphql.operation.name': 'Cart' } },
      ]);
      await page.goto(`${FILLED}trace/${id}`);
      const open = async (text) => await span(page, text).first().click();
      const panel = page.locator('#panel');
      const section = (title) => panel.locator('details.section').filter({ has: page.locator('summary', { hasText: title }) });
      await open('GET /talk');
      for (const text of ['clew.process.exit_status', '101', 'index out of bounds', 'main.rs:7']) await panel.getByText(text, { exact: true }).first().waitFor();
      await open('A bank.example');
      await section('DNS').getByText('192.0.2.1').waitFor();
      await open('GET /chat');
      await section('WebSocket').getByText('12', { exact: true }).waitFor();
      await section('Connection').locator('tr', { hasText: 'retransmits' }).getByText('3', { exact: true }).waitFor();
      await section('Connection').getByText('250 µs').waitFor();
      await open('chat m-1');
      await section('Model').getByText('77', { exact: true }).waitFor();
      await open('query Cart');
      await section('RPC').getByText('Cart', { exact: true }).waitFor();
    },
  ],
  [
    'panel: what else one trace can hold: a dead process, a transaction, a cache, TLS, a message, a link',
    async (page) => {
      await page.goto(`${FILLED}?q=${encodeURIComponent('died:true user.id:ann')}`);
      const row = page.locator('#traces a.row', { hasText: '/died' });
      await row.getByText('process died').waitFor();
      await row.click();
      const panel = page.locator('#panel');
      const open = async (text, at = 0) => await span(page, text).nth(at).click();
      await open('POST /died');
      await panel.getByText('SIGSEGV').waitFor();
      await panel.getByText('the process ended').waitFor();
      const times = panel.locator('details.section', { hasText: 'Time of its thread' });
      for (const part of ['on CPU', 'waiting for a CPU', 'blocked: disk']) await times.getByText(part).waitFor();
      assert.equal(await span(page, 'POST /died').locator('.times-strip i').count(), 3);
      await open('INSERT INTO orders');
      const calls = panel.getByRole('list', { name: 'Transaction' });
      assert.deepEqual(await calls.getByRole('listitem').allInnerTexts(), ['BEGIN', 'INSERT INTO orders VALUES ($1)', 'ROLLBACK']);
      await calls.getByRole('button', { name: 'ROLLBACK' }).click();
      assert.match(await page.locator('.span-row.chosen').innerText(), /ROLLBACK/);
      await open('session:5');
      await panel.getByText('hit', { exact: true }).waitFor();
      await open('session:6');
      await panel.getByText('miss', { exact: true }).waitFor();
      await open('GET /rates');
      for (const phase of ['DNS', 'Connect', 'TLS', 'Send', 'Wait for the first byte', 'Receive']) {
        await panel.locator('.phase-list li', { hasText: phase }).first().waitFor();
      }
      for (const text of ['new connection', 'Its other end was not seen']) await panel.getByText(text).first().waitFor();
      const told = async (name, value) =>
        assert.equal(await panel.locator('tr', { has: page.locator(`th[title="${name}"]`) }).locator('td').innerText(), value);
      await told('tls.protocol.version', '1.3');
      await told('tls.cipher', 'TLS_AES_128_GCM_SHA256');
      await told('tls.client.server_name', 'bank.example');
      await told('tls.next_protocol', 'http/1.1');
      await panel.getByRole('button', { name: 'Replay' }).click();
      await page.getByRole('dialog', { name: 'Replay' }).getByText(/^It cannot be sent/).waitFor();
      await page.keyboard.press('Escape');
      await open('publish orders.placed');
      await panel.getByText('m-17').waitFor();
      await open('deliver orders.failed');
      await told('clew.messaging.delivery_attempt', '3');
      await told('clew.messaging.redelivered', 'true');
      await open('POST /died');
      await panel.getByRole('link', { name: /trace eeeeeeee/ }).click();
      await until('the other trace', async () => page.url().includes('ee'.repeat(16)));
      await page.locator('.span-row.chosen').waitFor();
    },
  ],
];
