// A person at the console, in Chromium.
//
//   node console.mjs     one line of JSON on standard output says where the issuers are; one line of JSON on
//                        standard input says where bearerd is and what its admin token is; then what was
//                        tried, a line each, and 0 if all of it went well
//
// With SCREENSHOTS=FOLDER it takes pictures on its way.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { Person, card, tabTo, until } from './browser.mjs';
import { provider, scripted } from './issuers.mjs';

const [issuer, oidc] = await Promise.all([scripted(), provider()]);
console.log(JSON.stringify({ scripted: issuer.origin, provider: oidc.issuer }));
const [line] = await once(readline.createInterface({ input: process.stdin }), 'line');
const { admin, token } = JSON.parse(line);
const person = await Person.start(admin);

const picture = (page, name) => {
  const folder = process.env.SCREENSHOTS;
  return folder && page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
};
const text = (page, selector) => page.locator(selector).innerText();
const shows = (page, name, words) => until(`${name} shows ${words}`, async () => {
  const shown = await card(page, name).innerText();
  return shown.includes(words) ? shown : null;
});
// Cookies know no ports: those of the provider, on the same host, are among them.
const ownCookies = async (page) =>
  (await page.context().cookies(`${admin}/v1/session`)).filter(({ name }) => name.startsWith('bearerd-'));
const press = (page, name, button) => card(page, name).getByRole('button', { name: button, exact: true }).click();
const seconds = (words) => Number(words.match(/(\d+) min/)?.[1] ?? 0) * 60 + Number(words.match(/(\d+) s/)?.[1] ?? 0);

const page = await person.open({ colorScheme: 'light' });
const tries = [];
const attempt = (name, does) => tries.push({ name, does });

attempt('states are words, chains are links, and nothing is a value', async () => {
  const user = await shows(page, 'user', 'Ready');
  assert.match(user, /used by entity/);
  assert.match(await shows(page, 'entity', 'Ready'), /made from user/);
  await shows(page, 'person', 'Login required');
  await until('live', async () => (await text(page, '#link')) === 'live');
  assert.equal(await text(page, 'h1'), '2 credentials need attention');
  await card(page, 'entity').getByRole('link', { name: 'user' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'credential-user');
  await picture(page, 'light');
});

attempt('countdowns move', async () => {
  const renews = () => card(page, 'user').locator('[data-is=renews]').innerText();
  const first = seconds(await renews());
  assert.ok(first > 30 && first < 100, `${first} s to the renewal of a token that lives 120 s`);
  await until('less time', async () => seconds(await renews()) < first);
});

attempt('with the keyboard alone, a person signs in and renews', async () => {
  await page.locator('#search').focus();
  await tabTo(page, card(page, 'entity').locator('[data-action=renew]'));
  await page.keyboard.press('Enter');
  await page.locator('#sign-in-dialog[open]').waitFor();
  await person.tolerating(['401'], async () => {
    await page.keyboard.type('wrong');
    await page.keyboard.press('Enter');
    await until('a refusal', async () => (await text(page, '#sign-in-error')) === 'That is not the admin token.');
  });
  await picture(page, 'sign-in');
  await page.keyboard.type(token);
  await page.keyboard.press('Enter');
  await shows(page, 'entity', 'Renewed.');
  await shows(page, 'entity', 'generation 2');
  const focused = await page.evaluate(() => document.activeElement.dataset.action);
  assert.equal(focused, 'renew', 'the focus is where it was');
  await until('it is told', async () => (await text(page, '#announcer')) !== '');
});

attempt('a session outlives a reload, and is worth nothing without what the page alone knows', async () => {
  await page.reload();
  await until('signed in', async () => (await text(page, '#access')).includes('Signed in'));
  const cookies = await ownCookies(page);
  assert.deepEqual(cookies.map(({ httpOnly, sameSite, path }) => ({ httpOnly, sameSite, path })), [{ httpOnly: true, sameSite: 'Strict', path: '/v1' }]);
  await person.tolerating(['403'], async () => {
    const status = await page.evaluate(async () => (await fetch('/v1/credentials/user/refresh', { method: 'POST' })).status);
    assert.equal(status, 403);
  });
});

attempt('an issuer that breaks is told in words, with what to do', async () => {
  issuer.answers.user = [503, { error: 'temporarily_unavailable' }];
  await press(page, 'user', 'Renew');
  const failing = await shows(page, 'user', 'Failing');
  assert.match(failing, /503/);
  assert.match(failing, /Nothing yet: the token is good until its end/);
  issuer.answers.user = [401, { error: 'invalid_client' }];
  await press(page, 'user', 'Renew');
  assert.match(await shows(page, 'user', 'Refused by the issuer'), /Correct the password/);
  await picture(page, 'failing');
  await page.getByRole('button', { name: 'Need attention' }).click();
  await until('one card less', async () => (await card(page, 'entity').count()) === 0);
  await page.getByRole('button', { name: /^All/ }).click();
  delete issuer.answers.user;
  await press(page, 'user', 'Renew');
  await until('it is well again', async () => (await card(page, 'user').locator('.state').innerText()) === 'Ready');
});

attempt('a person logs in at an OpenID provider, sees a renewal, and logs out', async () => {
  await press(page, 'person', 'Log in');
  await page.getByRole('link', { name: /^Go to/ }).waitFor();
  await picture(page, 'log-in');
  const [tab] = await Promise.all([
    page.context().waitForEvent('page'),
    page.getByRole('link', { name: /^Go to/ }).click(),
  ]);
  await consent(tab);
  await tab.getByText('You are logged in').waitFor();
  await tab.close();
  const ready = await shows(page, 'person', 'Ready');
  assert.match(ready, /renews\s+in \d s/);
  assert.equal(await page.locator('#log-in-dialog').isVisible(), false, 'the dialog is gone by itself');
  await shows(page, 'person', 'generation 2');
  await picture(page, 'logged-in');
  await press(page, 'person', 'Log out');
  await page.locator('#log-out-dialog').getByRole('button', { name: 'Log out' }).click();
  await until('it is logged out', async () => (await card(page, 'person').locator('.state').innerText()) === 'Logged out');
});

attempt('a person logs in on another device by the code that the page shows', async () => {
  await press(page, 'device', 'Log in');
  const code = await text(page, '.user-code');
  assert.match(code, /^[A-Z]{4}-[A-Z]{4}$/);
  await picture(page, 'device');
  const other = await person.browser.newContext();
  const tab = await other.newPage();
  await tab.goto(await page.getByRole('link', { name: /^Go to/ }).getAttribute('href'));
  await tab.getByRole('button', { name: /continue/i }).click();
  await consent(tab);
  await tab.getByText('Sign-in Success').waitFor();
  await other.close();
  await shows(page, 'device', 'Ready');
});

attempt('subjects log in by one-time passwords, are looked for and log out', async () => {
  assert.match(await card(page, 'people').innerText(), /By subject/);
  assert.doesNotMatch(await text(page, 'h1'), /attention/, 'a credential of subjects misses nothing');
  await press(page, 'people', '0 subjects');
  const subjects = page.locator('#subjects-dialog');
  const search = subjects.getByRole('searchbox');
  for (const subject of ['alice', '<b>bob</b>']) {
    await search.fill(subject);
    await subjects.getByRole('button', { name: 'Log in a subject' }).click();
    await page.getByLabel('Known by').selectOption('mobile');
    await page.getByLabel('Which is').fill('9876543210');
    await page.keyboard.press('Enter');
    await page.getByText('A one-time password was sent to ******42.').waitFor();
    if (subject === 'alice') {
      issuer.answers.people = [400, { error: 'invalid_grant' }];
      await page.getByLabel('One-time password').fill('000000');
      await person.tolerating(['/callback'], async () => {
        await page.keyboard.press('Enter');
        await until('a refusal', async () => (await text(page, '#log-in-error')) !== '');
      });
      await picture(page, 'password');
      delete issuer.answers.people;
    }
    await page.getByLabel('One-time password').fill('123456');
    await page.keyboard.press('Enter');
    await subjects.getByRole('listitem').filter({ hasText: subject }).getByText('Ready').waitFor();
  }
  await search.fill('');
  await until('both', async () => (await subjects.getByRole('listitem').count()) === 2);
  await picture(page, 'subjects');
  await search.fill('al');
  await until('one', async () => (await subjects.getByRole('listitem').count()) === 1);
  await subjects.getByRole('button', { name: 'Log out alice' }).click();
  await page.locator('#log-out-dialog').getByRole('button', { name: 'Log out' }).click();
  await until('none', async () => (await subjects.getByRole('listitem').count()) === 0);
  await subjects.getByRole('button', { name: 'Close' }).click();
  await shows(page, 'people', '1 subject');
});

attempt('requests are counted by route', async () => {
  const row = page.locator('#routes tr').filter({ hasText: 'entity' });
  await until('the request of the app', async () => (await row.locator('td.number').first().innerText()) !== '0');
});

attempt('without events the page asks, and offline it says so', async () => {
  const other = await person.open();
  await until('live', async () => (await text(other, '#link')) === 'live');
  await person.tolerating(['/v1/', 'ERR_INTERNET_DISCONNECTED', 'ERR_FAILED'], async () => {
    await other.route('**/v1/events', (route) => route.fulfill({ status: 503, body: '' }));
    await other.reload();
    await until('asking', async () => (await text(other, '#link')) === 'asking every 5 s');
    await shows(other, 'user', 'Ready');
    await other.context().setOffline(true);
    await until('lost', async () => (await text(other, '#link')) === 'bearerd cannot be reached');
    await other.unroute('**/v1/events');
    await other.context().setOffline(false);
    await until('back', async () => (await text(other, '#link')) !== 'bearerd cannot be reached');
  });
  await other.context().close();
});

attempt('it is readable in the dark and on a phone', async () => {
  for (const [name, taste] of [['dark', { colorScheme: 'dark' }], ['phone', { viewport: { width: 320, height: 640 } }]]) {
    const other = await person.open(taste);
    await shows(other, 'user', 'Ready');
    assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}: it is too wide`);
    const dark = await other.evaluate(() => Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]) < 64);
    assert.equal(dark, name === 'dark');
    await picture(other, name);
    await other.context().close();
  }
});

attempt('where changes are off, no button promises one', async () => {
  const other = await person.open();
  await other.route('**/v1/session', (route) => route.fulfill({ json: { access: 'off', expires_in: null } }));
  await other.reload();
  await shows(other, 'user', 'Ready');
  await until('it is said', async () => (await text(other, '#access')).startsWith('Reading only'));
  assert.equal(await other.locator('.actions button:visible').count(), 0);
  await other.context().close();
});

attempt('signing out ends it', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await until('signed out', async () => (await text(page, '#access')).includes('Sign in'));
  assert.deepEqual(await ownCookies(page), []);
});

attempt('no token was ever in the page', async () => {
  const content = await page.content();
  assert.ok(issuer.tokens.length > 2);
  for (const value of [...issuer.tokens, token]) assert.ok(!content.includes(value));
});

/** Logs in and consents, on the pages of oidc-provider. */
async function consent(tab) {
  await tab.locator('[name=login]').fill('alice');
  await tab.locator('[name=password]').fill('any');
  await tab.locator('[type=submit]').click();
  await tab.getByRole('button', { name: 'Continue' }).click();
}

let failed = 0;
for (const { name, does } of tries) {
  const began = Date.now();
  let fault = null;
  try {
    await does();
  } catch (error) {
    fault = error.stack;
    await picture(page, 'failed');
  }
  fault ??= person.faults.length ? person.faults.join('\n') : null;
  person.faults.length = 0;
  failed += fault ? 1 : 0;
  console.log(`${fault ? 'FAILED' : 'ok'} ${name} (${Date.now() - began} ms)${fault ? `\n${fault}` : ''}`);
  if (fault) break;
}
await person.browser.close();
process.exit(failed ? 1 : 0);
