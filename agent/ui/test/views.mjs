// What is around the list: endpoints, failures, the map, runs; and how all of it looks and sounds.
import { assert, FILLED, PAGE, rows, SHOP, until } from './browser.mjs';

export default [
  [
    'views: endpoints with rates and times lead to their traces',
    async (page) => {
      await page.goto(`${PAGE}endpoints`);
      await page.getByRole('button', { name: 'client', exact: true }).click();
      const row = page.locator('tbody tr', { hasText: 'SELECT items' }).first();
      await row.waitFor();
      assert.match(await row.innerText(), /ms|µs/);
      await row.getByRole('link').first().click();
      await page.locator('#traces a.row').first().waitFor();
      assert.ok(new URL(page.url()).searchParams.get('q').includes('name:"SELECT items"'), page.url());
    },
  ],
  [
    'views: failures in groups, each with a trace',
    async (page) => {
      await page.goto(`${PAGE}errors`);
      const group = page.locator('.groups li', { hasText: '42P01' }).first();
      await group.locator('.group-title').click();
      await page.locator('.span-row.failed').first().waitFor();
    },
  ],
  [
    'views: the map has services, the database, the cache and the queue, and leads to traces',
    async (page) => {
      await page.goto(`${PAGE}map`);
      for (const name of ['orders', 'stock', 'prices', 'postgresql', 'redis', 'nats']) {
        await page.locator('.map-node', { hasText: name }).first().waitFor();
      }
      assert.ok((await page.getByRole('region', { name: 'Calls' }).locator('tbody tr').count()) >= 6);
      await page.locator('.map-node.service', { hasText: 'orders' }).click();
      await page.locator('#traces a.row').first().waitFor();
    },
  ],
  [
    'views: each of the three questions takes one click',
    async (page) => {
      const ask = async (question) => {
        await page.goto(PAGE);
        await page.getByRole('link', { name: question }).click();
      };
      await ask('Which outside call is slow?');
      await until('the slow query first, among calls', async () => /SELECT|INSERT|CONNECT/.test(await page.locator('tbody tr').first().innerText()));
      await ask('Where does a call repeat?');
      await until('the loop first', async () => (await page.locator('#traces a.row').first().innerText()).includes('/list'));
      await ask('What changed since the last run?');
      // With what was imported there are two runs; of one alone there is nothing to compare.
      const two = page.getByRole('region', { name: 'Comparison' }).locator('tbody tr').first();
      await two.or(page.getByText('They cannot be compared')).first().waitFor();
    },
  ],
  [
    'views: requests that test cases made are grouped by test, and lead to their traces',
    async (page) => {
      const of = (name) => ({ headers: { baggage: `user=ann,test.case.name=${encodeURIComponent(name)}` } });
      for (const id of [401, 402]) await fetch(`${SHOP}/list?id=${id}`, of('cart "lists" items'));
      await fetch(`${SHOP}/refund?id=403`, of('refunds fail'));
      await page.goto(PAGE);
      await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: 'Tests' }).click();
      const group = (name) => page.getByRole('region', { name: 'Test cases' }).locator('tbody tr', { hasText: name });
      await until('both requests', async () => /\s2\s+0\s/.test((await group('cart "lists" items').innerText()).replaceAll('\t', ' ')));
      assert.match((await group('refunds fail').innerText()).replaceAll('\t', ' '), /\s1\s+1 100 %/);
      await group('cart "lists" items').getByRole('link').first().click();
      await until('its two traces', async () => {
        const all = await rows(page);
        return all.length === 2 && all.every((row) => row.includes('/list'));
      });
      // The list can be narrowed to a test as well.
      await page.goto(PAGE);
      await page.locator('section[aria-label="Test case"] .facet', { hasText: 'refunds fail' }).click();
      await until('its trace', async () => {
        const all = await rows(page);
        return all.length === 1 && all[0].includes('/refund');
      });
      await page.locator('#traces a.row').first().click();
      await page.locator('#spans .span-row', { hasText: '/refund' }).first().click();
      await page.locator('#panel details.section', { hasText: 'Test case' }).getByText('refunds fail').waitFor();
    },
  ],
  [
    'views: runs are listed',
    async (page) => {
      await page.goto(`${PAGE}runs`);
      await page.locator('tbody tr', { hasText: 'shop.py' }).getByRole('link').first().click();
      await page.locator('#traces a.row').first().waitFor();
    },
  ],
  [
    'views: two runs side by side, by kind of call',
    async (page) => {
      await page.goto(`${FILLED}runs`);
      const run = (number) => page.getByRole('region', { name: 'Runs' }).locator('tbody tr').filter({ has: page.getByRole('link', { name: String(number), exact: true }) });
      await run(1).getByRole('button', { name: 'before' }).click();
      await run(2).getByRole('button', { name: 'after' }).click();
      const table = page.getByRole('region', { name: 'Comparison' });
      const row = table.locator('tbody tr', { hasText: 'cart' }).first();
      // Texts of what is not there yet are none.
      await row.waitFor();
      const cells = await row.locator('td').allInnerTexts();
      const [calls, after] = cells.slice(1, 3).map((text) => Number(text.replaceAll(' ', '')));
      assert.ok(calls > 0 && after > calls, cells.join(' | '));
      const ns = (text) => Number(text.split(' ')[0]) * { ns: 1, 'µs': 1e3, ms: 1e6, s: 1e9 }[text.split(' ')[1]];
      const factor = Number(/^× ([\d.]+)$/.exec(cells[7])[1]);
      // Times are shown with three digits, the factor of the whole times with two after the point.
      const shown = ns(cells[6]) / ns(cells[5]);
      assert.ok(Math.abs(factor - shown) <= 0.005 + 0.011 * shown, cells.join(' | '));
      // Each took a millisecond, then the slowest some ninety.
      assert.ok(ns(cells[9]) > 10 * ns(cells[8]), cells.join(' | '));
      assert.equal(cells[3], '0');
      assert.ok(Number(cells[4]) > 0, 'some failed in the second run');
      await page.reload();
      await row.getByRole('link').click();
      await page.locator('#traces a.row').first().waitFor();
      assert.match(new URL(page.url()).searchParams.get('q'), /service:cart .*run:2/);
    },
  ],
  [
    'views: dark and light, each with text that can be read',
    async (page) => {
      await page.goto(FILLED);
      await page.locator('#traces a.row').first().waitFor();
      const contrasts = () =>
        page.evaluate(() => {
          const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
          const light = (color) => {
            const [red, green, blue] = color.match(/[\d.]+/g).map((one) => channel(Number(one) / 255));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
          };
          const style = getComputedStyle(document.documentElement);
          const probe = document.createElement('i');
          document.body.append(probe);
          const of = (name) => {
            probe.style.color = style.getPropertyValue(name);
            return light(getComputedStyle(probe).color);
          };
          const found = [];
          for (const ground of ['--bg', '--panel', '--raised', '--hover', '--chosen']) {
            for (const text of ['--text', '--muted', '--bad', '--accent', '--warn', '--good']) {
              const [one, other] = [of(text), of(ground)].sort((a, b) => b - a);
              found.push([`${text} on ${ground}`, (one + 0.05) / (other + 0.05)]);
            }
          }
          probe.remove();
          return [getComputedStyle(document.body).backgroundColor, found];
        });
      const seen = [];
      for (const theme of ['light', 'dark']) {
        await until(theme, async () => {
          if ((await page.evaluate(() => document.documentElement.dataset.theme)) === theme) return true;
          await page.getByRole('button', { name: /^Theme/ }).click();
          return false;
        });
        const [ground, found] = await contrasts();
        seen.push(ground);
        for (const [what, contrast] of found) assert.ok(contrast >= 4.5, `${theme}: ${what} has ${contrast.toFixed(2)}`);
      }
      assert.notEqual(seen[0], seen[1]);
    },
  ],
  [
    'views: everything that can be pressed has a name',
    async (page) => {
      for (const view of ['', 'endpoints', 'errors', 'map', 'runs', 'tests', `trace/${'ee'.repeat(16)}?span=0000000000000001`]) {
        await page.goto(FILLED + view);
        await page.locator('.row, .span-row, tbody tr, .groups li, .empty').first().waitFor();
        const nameless = await page.evaluate(() =>
          [...document.querySelectorAll('button, a, input, select, summary, [role=separator], [role=img]')]
            .filter((one) => {
              const label = one.closest('label')?.textContent ?? '';
              const name = one.getAttribute('aria-label') ?? '';
              return `${name}${one.textContent}${label}`.trim() === '';
            })
            .map((one) => one.outerHTML.slice(0, 200)),
        );
        assert.deepEqual(nameless, [], view);
      }
    },
  ],
];
