// What programs said is text, whatever it says.
import { assert, FILLED, SCRIPT, TOKEN_PAGE, until } from './browser.mjs';

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
  [
    'safety: elsewhere than on this machine a token opens the page, once for each tab, and leaves the address',
    async (page) => {
      const [, base, token] = /^(.*)#token=([0-9a-f]{32})$/.exec(TOKEN_PAGE);
      const wanted = page.getByText('A token is wanted: open the address that clew printed.');
      await page.goto(base);
      await wanted.waitFor();
      assert.equal(await page.locator('#traces a.row').count(), 0);
      await page.goto('about:blank');
      await page.goto(`${base}#token=${'0'.repeat(32)}`);
      await wanted.waitFor();
      await page.goto('about:blank');
      await page.goto(TOKEN_PAGE);
      await page.locator('#traces a.row').first().waitFor();
      assert.equal(page.url(), base);
      await page.getByText('Live', { exact: true }).waitFor();
      // It is kept for what follows in this tab.
      await page.locator('#traces a.row').first().click();
      await page.locator('#spans .span-row').first().waitFor();
      await page.reload();
      await page.locator('#spans .span-row').first().waitFor();
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'OTLP', exact: true }).click()]);
      assert.match(file.suggestedFilename(), /otlp\.json$/);
      const other = await page.context().newPage();
      await other.goto(base);
      await other.getByText('A token is wanted').waitFor();
      for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: `Bearer ${token.slice(1)}0` }]) {
        assert.equal((await fetch(`${base}api/v1/traces`, { headers })).status, 401);
      }
      assert.equal((await fetch(`${base}api/v1/traces`, { headers: { authorization: `Bearer ${token}` } })).status, 200);
    },
  ],
];
