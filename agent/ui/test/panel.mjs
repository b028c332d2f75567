// What is shown of one span.
import { assert, clipboard, openFirst, span, until } from './browser.mjs';

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
];
