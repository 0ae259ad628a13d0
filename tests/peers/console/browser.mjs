// A browser at the console, and what counts as a fault whatever else is looked at: an error in the
// browser's log, a violation of the page's policy, a request to anybody else.
import { packages } from './issuers.mjs';

const { chromium } = packages('playwright-core');

export class Person {
  static async start(admin) {
    const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    return new Person(browser, admin);
  }

  constructor(browser, admin) {
    Object.assign(this, { browser, admin, faults: [], tolerated: [] });
  }

  /** Opens the console in a window of its own: another set of cookies, another taste. */
  async open(taste = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 900 }, ...taste });
    context.setDefaultTimeout(10_000);
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
    });
    const page = await context.newPage();
    page.on('console', (message) => {
      const text = `${message.text()} ${message.location().url}`;
      if (message.type() === 'error' && !this.tolerated.some((known) => text.includes(known))) this.faults.push(text);
    });
    page.on('pageerror', (error) => this.faults.push(error.stack));
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(`${this.admin}/`) && !url.startsWith('data:')) this.faults.push(`a request to ${url}`);
    });
    await page.goto(`${this.admin}/`);
    return page;
  }

  /** Lets these errors of the browser pass while something is done: they are what is done. */
  async tolerating(errors, does) {
    this.tolerated = errors;
    await does();
    this.tolerated = [];
  }
}

/** The card of a credential. */
export const card = (page, name) => page.locator(`#credential-${name}`);

/** Asks until it is so. */
export async function until(what, ask, patience = 15_000) {
  const end = Date.now() + patience;
  let last;
  while (Date.now() < end) {
    last = await ask();
    if (last) return last;
    await new Promise((later) => setTimeout(later, 50));
  }
  throw new Error(`${what}: it did not come (${JSON.stringify(last)})`);
}

/** Presses Tab until what is wanted has the focus, which must be seen. */
export async function tabTo(page, wanted) {
  for (let pressed = 0; pressed < 60; pressed += 1) {
    await page.keyboard.press('Tab');
    const there = await wanted.evaluate((element) => element === document.activeElement);
    if (!there) continue;
    const outline = await wanted.evaluate((element) => getComputedStyle(element).outlineStyle);
    if (outline === 'none') throw new Error('the focus cannot be seen');
    return;
  }
  throw new Error('no number of tabs leads there');
}
