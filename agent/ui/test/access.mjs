// What those need who do not see it all, or use no mouse: axe-core looks at every view, in both themes.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import { assert, FILLED, openFirst, PAGE, until } from './browser.mjs';

const RICH = `${FILLED}trace/${'dd'.repeat(16)}`;
/** By name: how to get there. */
const VIEWS = {
  list: async (page) => await page.goto(PAGE),
  'a search that finds nothing': async (page) => await page.goto(`${PAGE}?q=nobody-says-this`),
  'a search that is wrong': async (page) => await page.goto(`${PAGE}?q=duration:long`),
  endpoints: async (page) => await page.goto(`${PAGE}endpoints`),
  errors: async (page) => await page.goto(`${PAGE}errors`),
  map: async (page) => await page.goto(`${PAGE}map`),
  runs: async (page) => await page.goto(`${FILLED}runs?before=1&after=2`),
  tests: async (page) => await page.goto(`${PAGE}tests`),
  'a trace': async (page) => await openFirst(page, 'path:/checkout* service:orders'),
  'a call that is repeated': async (page) => {
    await openFirst(page, 'path:/list*');
    await page.getByRole('button', { name: /^Repeated/ }).click();
  },
  'a span': async (page) => await page.goto(`${RICH}?span=0000000000000001`),
  'a statement': async (page) => await page.goto(`${RICH}?span=0000000000000003`),
  'a call with bodies': async (page) => {
    await openFirst(page, 'path:/checkout* service:orders');
    await page.locator('#spans .span-row', { hasText: 'POST /orders' }).first().click();
  },
  operations: async (page) => {
    await page.goto(RICH);
    await page.getByRole('button', { name: 'Operations' }).click();
  },
  lanes: async (page) => {
    await page.goto(RICH);
    await page.getByRole('button', { name: 'Lanes' }).click();
  },
  logs: async (page) => {
    await openFirst(page, 'path:/checkout* service:orders');
    await page.getByRole('button', { name: /^Logs/ }).click();
  },
  menu: async (page) => {
    await page.goto(RICH);
    await page.getByText('Kinds', { exact: true }).click();
  },
  keys: async (page) => {
    await page.goto(PAGE);
    await page.getByRole('button', { name: 'Show keys' }).click();
  },
  replay: async (page) => {
    await openFirst(page, 'path:/list*');
    await page.locator('#spans .span-row').first().click();
    await page.locator('#panel').getByRole('button', { name: 'Replay' }).click();
    await page.getByRole('dialog', { name: 'Replay' }).getByRole('button', { name: 'Send' }).waitFor();
  },
};

export default [
  ...['light', 'dark'].map((theme) => [
    `access: no view has what axe-core objects to, ${theme}`,
    async (page) => {
      const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
      await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
      const wrong = [];
      for (const [name, open] of Object.entries(VIEWS)) {
        await open(page);
        await until(`there is something: ${name}`, async () => await page.locator('.row, .span-row, .lane, tbody tr, .groups li, .empty, .map-node').first().isVisible());
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme, name);
        await page.evaluate(axe);
        const { violations, passes } = await page.evaluate(async () => await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
        assert.ok(passes.length > 10, name);
        for (const { id, nodes } of violations) for (const node of nodes.slice(0, 3)) wrong.push(`${name}: ${id}: ${node.html.slice(0, 160)} ${node.any[0]?.message ?? node.all[0]?.message ?? ''}`);
      }
      assert.deepEqual(wrong, []);
    },
  ]),
  [
    'access: by the keyboard alone everything is reached, and one sees where one is',
    async (page) => {
      for (const view of [PAGE, `${PAGE}endpoints`, `${PAGE}map`, `${RICH}?span=0000000000000003`]) {
        await page.goto(view);
        await page.locator('.row, .span-row, tbody tr, .map-node').first().waitFor();
        const wanted = await page.evaluate(() => [...document.querySelectorAll('button, input, select, summary, [tabindex="0"]')].filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0).length);
        const reached = new Set();
        await page.evaluate(() => document.activeElement.blur());
        await until('round about', async () => {
          await page.keyboard.press('Tab');
          const [id, seen] = await page.evaluate(() => {
            window.stops ??= new Map();
            const one = document.activeElement;
            if (one === document.body) return ['', true];
            if (!window.stops.has(one)) window.stops.set(one, String(window.stops.size));
            // The line is around the whole field where the input itself has none.
            const field = one.closest('.find, .search-line');
            const { outlineStyle, outlineWidth } = getComputedStyle(one);
            const lined = (outlineStyle !== 'none' && outlineWidth !== '0px') || (field !== null && getComputedStyle(field).boxShadow !== 'none');
            return [window.stops.get(one), lined ? true : one.outerHTML.slice(0, 120)];
          });
          assert.equal(seen, true, `${view}: nothing shows that it has the focus`);
          // Behind the last comes the browser's own, and then the first.
          if (id === '') return false;
          const again = reached.has(id);
          reached.add(id);
          return again;
        });
        assert.ok(reached.size >= 0.9 * wanted, `${view}: ${reached.size} of ${wanted}`);
      }
    },
  ],
];
