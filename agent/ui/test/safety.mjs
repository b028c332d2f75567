// What programs said is text, whatever it says.
import { assert, FILLED, SCRIPT, until } from './browser.mjs';

const SAID = '<img src=x onerror="window.taken=1"><script>window.taken=1</script>';

export default [
  [
    'safety: a script that is stored in every field is shown as text, in every view',
    async (page) => {
      const check = async (where) => {
        await until(`it is shown: ${where}`, async () => (await page.locator('body').innerText()).includes('<img src=x onerror='));
        assert.equal(await page.evaluate(() => window.taken), undefined, where);
        assert.equal(await page.locator('img[src="x"], main script').count(), 0, where);
      };
      await page.goto(`${SCRIPT}?span=0000000000000001`);
      await page.locator('#panel').waitFor();
      await check('trace');
      const shown = await page.locator('#panel').innerText();
      // Name, error, request line, headers, bodies, statement, parameters and all the rest.
      assert.ok(shown.split('<img src=x onerror=').length > 15, shown);
      await page.getByRole('button', { name: 'Operations' }).click();
      await check('operations');
      for (const view of ['', 'endpoints', 'errors', 'map', 'runs']) {
        await page.goto(`${FILLED}${view}`);
        await check(view);
      }
      await page.goto(`${FILLED}?q=${encodeURIComponent(`"${SAID.replaceAll('"', '\\"')}"`)}`);
      await until('the search has it', async () => (await page.locator('#query').inputValue()).includes('<img'));
      assert.equal(await page.evaluate(() => window.taken), undefined);
    },
  ],
];
