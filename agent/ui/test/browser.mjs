// A browser, and what tests of a page need beside it.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

export const PAGE = process.env.CLEW_PAGE;
export const FILLED = process.env.CLEW_FILLED;
/** The same store as FILLED, on an address for which a token is wanted; it has one. */
export const TOKEN_PAGE = process.env.CLEW_TOKEN_PAGE;
/** Shows the store that the agent behind PAGE writes. */
export const BESIDE = process.env.CLEW_BESIDE;
/** Where SDKs send spans to. */
export const OTLP = process.env.CLEW_OTLP;
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
      if (![PAGE, FILLED, BESIDE, new URL('/', TOKEN_PAGE).href, 'blob:'].some((own) => request.url().startsWith(own))) wrong.push(`asked ${request.url()}`);
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

/** Adds a trace of one service to an address that takes OTLP JSON; whatever is not said of its spans is made up. */
export async function add(url, traceId, service, spans) {
  const now = BigInt(Date.now()) * 1_000_000n;
  const valued = (value) => (typeof value === 'number' ? { intValue: String(value) } : typeof value === 'boolean' ? { boolValue: value } : { stringValue: value });
  const listed = (attributes) => Object.entries(attributes ?? {}).map(([key, value]) => ({ key, value: valued(value) }));
  const told = spans.map(({ attributes, events, ...span }, at) => ({
    traceId,
    spanId: (at + 1).toString(16).padStart(16, '0'),
    name: 'GET',
    kind: 2,
    startTimeUnixNano: String(now + BigInt(at) * 1_000_000n),
    endTimeUnixNano: String(now + BigInt(at + 1) * 1_000_000n),
    ...span,
    attributes: listed(attributes),
    events: (events ?? []).map((event) => ({ timeUnixNano: String(now), ...event, attributes: listed(event.attributes) })),
  }));
  const resource = { attributes: listed({ 'service.name': service }) };
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: told }] }] }),
  });
  assert.equal(answer.status, 200);
}

/** The rows of a trace that are in sight. */
export function span(page, text) {
  return page.locator('#spans .span-row', { hasText: text });
}

export { assert };
