// Pictures for the documentation: CLEW_SCREENSHOTS names the folder they go to.
import { FILLED, openFirst, PAGE, rows, span, until } from './browser.mjs';

const FOLDER = process.env.CLEW_SCREENSHOTS;

const shot = async (page, name, prepare) => {
  for (const theme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: theme });
    await prepare(page);
    await page.screenshot({ path: `${FOLDER}/${name}-${theme}.png` });
  }
};

export default FOLDER === undefined
  ? []
  : [
      [
        'pictures',
        async (page) => {
          await page.setViewportSize({ width: 1280, height: 720 });
          await shot(page, 'list', async () => {
            await page.goto(PAGE);
            await until('rows', async () => (await rows(page)).length > 5);
            await page.waitForTimeout(500);
          });
          await shot(page, 'trace', async () => {
            await openFirst(page, 'path:/checkout* service:orders');
            await span(page, 'POST /orders').first().click();
            await page.waitForTimeout(300);
          });
          await shot(page, 'map', async () => {
            await page.goto(`${PAGE}map`);
            await page.locator('.map-node').nth(5).waitFor();
          });
          await shot(page, 'repeated', async () => {
            await openFirst(page, 'path:/list*');
            await page.getByRole('button', { name: /^Repeated/ }).click();
            await page.waitForTimeout(300);
          });
          await shot(page, 'lanes', async () => {
            await openFirst(page, 'path:/checkout* service:orders');
            await page.keyboard.press('v');
            await page.locator('#spans .lane').first().waitFor();
          });
          await shot(page, 'comparison', async () => {
            await page.goto(`${FILLED}runs?before=1&after=2`);
            await page.getByRole('region', { name: 'Comparison' }).locator('tbody tr').nth(3).waitFor();
          });
          await shot(page, 'endpoints', async () => {
            await page.goto(`${PAGE}endpoints`);
            await page.locator('tbody tr').first().waitFor();
          });
        },
      ],
    ];
