// A browser, and what tests of a page need beside it.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

export const PAGE = process.env.CLEW_PAGE;
export const FILLED = process.env.CLEW_FILLED;
/** The same store as FILLED, on an address for which a token is wanted; it has one. */
export const TOKEN_PAGE = process.env.CLEW_TOKEN_PAGE;
export const SHOP = process.env.CLEW_SHOP;
export const SPANS = Number(process.env.CLEW_SPANS);
/** A name of somebody else's that leads to this machine. */
export const FOREIGN = 'evil.example';
export const LARGE = `${FILLED}trace/${'bb'.repeat(16)}`;
export const SCRIPT = `${FILLED}trace/${'ee'.repeat(16)}`;

const LIMIT_MS = 20_000;

export async function launch() {
  return await chromium.launch({
    executablePath: process.env.CLEW_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', `--host-resolver-rules=MAP ${FOREIGN} 127.0.0.1`],
  });
}

/** Runs tests one after the other, all or those whose names have a part that was asked for (`CLEW_ONLY=list|panel`), each in a page of its own, and says how each ended. */
export async function run(tests) {
  const browser = await launch();
  const only = (process.argv[2] ?? process.env.CLEW_ONLY ?? '').split('|');
  let failed = 0;
  for (const [name, test] of tests) {
    if (!only.some((part) => name.includes(part))) continue;
    const context = await browser.newContext({ viewport: { width: 1440, height: 860 } });
    context.setDefaultTimeout(LIMIT_MS);
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    const page = await context.newPage();
    const wrong = [];
    page.on('pageerror', (error) => wrong.push(error.message));
    page.on('console', (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) wrong.push(message.text());
    });
    page.on('request', (request) => {
      if (![PAGE, FILLED, new URL('/', TOKEN_PAGE).href, 'blob:'].some((own) => request.url().startsWith(own))) wrong.push(`asked ${request.url()}`);
    });
    const begun = Date.now();
    try {
      await within(test(page));
      assert.deepEqual(wrong, []);
      console.log(`ok ${name} (${Date.now() - begun} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${error.message}\n${error.stack}\n${wrong.join('\n')}`);
      if (process.env.CLEW_SCREENSHOTS !== undefined) await page.screenshot({ path: `${process.env.CLEW_SCREENSHOTS}/failed.png` });
    }
    await context.close();
  }
  await browser.close();
  if (failed > 0) process.exitCode = 1;
}

/** A test that never ends has failed. */
async function within(test) {
  const limit = 6 * LIMIT_MS;
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error(`it takes longer than ${limit} ms`)), limit)));
  await Promise.race([test, late]).finally(() => clearTimeout(timer));
}

/** Waits until what a function finds in the page is so. */
export async function until(what, condition) {
  const end = Date.now() + LIMIT_MS;
  let last;
  while (Date.now() < end) {
    last = await condition();
    if (last) return last;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`never came true: ${what}`);
}

export async function clipboard(page) {
  return await page.evaluate(() => navigator.clipboard.readText());
}

/** The rows of the list that are in sight, as texts. */
export async function rows(page) {
  return await page.locator('#traces a.row').allInnerTexts();
}

/** Opens the list, asks for something, and opens the first trace that is found. */
export async function openFirst(page, query) {
  await page.goto(`${PAGE}?q=${encodeURIComponent(query)}`);
  await page.locator('#traces a.row').first().click();
  await page.locator('#spans .span-row').first().waitFor();
  // A request that was answered a moment ago may still get spans, of those who read its messages.
  let before = '';
  await until('no more spans come', async () => {
    const now = await page.locator('.ruler-left').innerText();
    if (now === before) return true;
    before = now;
    await new Promise((done) => setTimeout(done, 300));
    return false;
  });
}

/** The rows of a trace that are in sight. */
export function span(page, text) {
  return page.locator('#spans .span-row', { hasText: text });
}

export { assert };
