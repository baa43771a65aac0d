// chat.test - the chat page in a real browser, two people on two gateways.
//
// Screenshots go to $SCREENSHOTS (default: a folder in the system's temporary one), to be looked
// at.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { Cluster } from '../integration/cluster.js';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
];
const SHOTS = process.env.SCREENSHOTS ?? join(tmpdir(), 'chatmesh-screenshots');
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1200, height: 800 };

let cluster;
let browser;
let count = 0;

before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    [cluster, browser] = await Promise.all([
        Cluster.start(),
        chromium.launch({ executablePath: EXECUTABLE, args: ARGS }),
    ]);
});
after(async () => {
    await browser?.close();
    await cluster?.stop();
});

const names = (...stems) => {
    count++;
    return stems.map((stem) => `${stem}${count}`);
};

/** What the browser complained about: a test that leaves any fails. */
const complaints = [];

/** A browser of its own, logged in as `name`. */
async function logIn(name, { gateway = 1, viewport = DESK, ...options } = {}) {
    const context = await browser.newContext({ viewport, locale: 'en-GB', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(8000);
    page.on('pageerror', (error) => complaints.push(`${name}: ${error}`));
    page.on('console', (message) => {
        if (message.type() === 'error' && !/ERR_INTERNET_DISCONNECTED/.test(message.text()))
            complaints.push(`${name}: ${message.text()}`);
    });
    await page.goto(`${cluster.http(gateway)}/`);
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.locator('#me-state', { hasText: 'Online' }).waitFor();
    return page;
}

async function startChat(page, name) {
    await page.getByRole('button', { name: 'New chat' }).click();
    await page.locator('#direct-name').fill(name);
    await page.getByRole('button', { name: 'Start', exact: true }).click();
}

async function write(page, ...texts) {
    for (const text of texts) {
        await page.getByLabel('Message', { exact: true }).fill(text);
        await page.keyboard.press('Enter');
    }
}

const openRow = (page, name) => page.locator('.row', { hasText: name }).click();
const bubbles = (page) => page.locator('.bubble .text').allTextContents();
const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`) });
const waitForText = (page, text) =>
    page.locator('.bubble .text', { hasText: text }).first().waitFor();

/** The tick of the message with this text. */
const tickOf = (page, text, status) =>
    page.locator('.message', { hasText: text }).locator(`.tick-${status}`).waitFor();

async function closeAll(...pages) {
    await Promise.all(pages.map((page) => page.context().close()));
    assert.deepEqual(complaints.splice(0), []);
}

test('two people chat: unread counts, ticks up to read', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, { gateway: 1 });
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello there', 'How are you?');
    const badge = b.locator('.badge');
    await b.locator('.badge', { hasText: '2' }).waitFor();
    assert.equal(await b.title(), '(2) Chatmesh');
    await tickOf(a, 'How are you?', 'delivered');
    await shot(b, 'desk-unread');
    await openRow(b, alice);
    await waitForText(b, 'How are you?');
    await tickOf(a, 'Hello there', 'read');
    await tickOf(a, 'How are you?', 'read');
    assert.equal(await badge.count(), 0);
    await write(b, 'Very well, thank you.\nAnd you?'.split('\n')[0]);
    await waitForText(a, 'Very well');
    await tickOf(b, 'Very well', 'read');
    await shot(a, 'desk-chat');
    await closeAll(a, b);
});

test('what is written is shown as text, never as markup', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    const text = '<img src=x onerror="document.title=1"><b>bold</b> &amp; 😀';
    await startChat(a, bob);
    await write(a, text);
    await openRow(b, alice);
    await waitForText(b, 'bold');
    assert.deepEqual(await bubbles(b), [text]);
    assert.equal(await b.locator('.bubble b, .bubble img').count(), 0);
    await closeAll(a, b);
});

test('Enter sends, Shift+Enter makes a line, Escape goes back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await a.keyboard.type('first');
    await a.keyboard.press('Shift+Enter');
    await a.keyboard.type('second');
    await a.keyboard.press('Enter');
    await tickOf(a, 'first', 'sent');
    assert.deepEqual(await bubbles(a), ['first\nsecond']);
    await a.keyboard.press('Escape');
    await a.locator('#chat-empty').waitFor();
    await closeAll(a);
});

test('written offline, messages wait, are counted, and arrive once and in order', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'before');
    await openRow(b, alice);
    await waitForText(b, 'before');
    await a.context().setOffline(true);
    await a.locator('#banner', { hasText: 'offline' }).waitFor();
    await write(a, 'one', 'two', 'three');
    await a.locator('#banner', { hasText: '3 messages wait' }).waitFor();
    assert.equal(await a.locator('.tick-sending').count(), 3);
    await shot(a, 'desk-offline');
    await write(b, 'meanwhile');
    await a.context().setOffline(false);
    await waitForText(b, 'three');
    await waitForText(a, 'meanwhile');
    await a.locator('#banner').waitFor({ state: 'hidden' });
    await tickOf(a, 'three', 'read');
    const expected = ['before', 'meanwhile', 'one', 'two', 'three'];
    assert.deepEqual(await bubbles(b), expected);
    assert.deepEqual(await bubbles(a), expected);
    await closeAll(a, b);
});

test('a reload shows the same conversation again and goes on', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'one', 'two');
    await openRow(b, alice);
    await tickOf(a, 'two', 'read');
    await a.reload();
    await waitForText(a, 'two');
    await write(b, 'three');
    await waitForText(a, 'three');
    assert.deepEqual(await bubbles(a), ['one', 'two', 'three']);
    await tickOf(a, 'two', 'read');
    await closeAll(a, b);
});

test('scrolling back loads earlier messages without moving what is in view', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    for (let n = 0; n < 160; n += 40)
        await write(a, ...Array.from({ length: 40 }, (_, i) => `line ${n + i}`));
    await tickOf(a, 'line 159', 'sent');
    const b = await logIn(bob, { gateway: 2 });
    await openRow(b, alice);
    await waitForText(b, 'line 159');
    for (let n = 0; n < 20 && (n === 0 || !(await bubbles(b)).includes('line 0')); n++) {
        await b.locator('#scroller').evaluate((scroller) => {
            scroller.scrollTop = 0;
        });
        await b.waitForTimeout(150);
    }
    assert.deepEqual(
        await bubbles(b),
        Array.from({ length: 160 }, (_, i) => `line ${i}`),
    );
    await b.locator('#to-bottom').click();
    await b.locator('#to-bottom').waitFor({ state: 'hidden' });
    await closeAll(a, b);
});

test('a group is made, talks, grows and shrinks', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await a.getByRole('button', { name: 'New group' }).click();
    await a.getByLabel('Title').fill('Weekend trip');
    await a.getByLabel('Names, separated by commas').fill(bob);
    await shot(a, 'desk-new-group');
    await a.getByRole('button', { name: 'Create' }).click();
    await write(a, 'Where shall we go?');
    await openRow(b, 'Weekend trip');
    await waitForText(b, 'Where shall we go?');
    await write(b, 'To the sea.', 'Or the mountains, I cannot decide at all today.');
    await waitForText(a, 'mountains');
    await a.getByRole('button', { name: 'Members' }).click();
    await a.locator('.member', { hasText: bob }).waitFor();
    await a.getByLabel('Add people').fill(carol);
    await a.getByRole('button', { name: 'Add', exact: true }).click();
    await a.locator('.member', { hasText: carol }).waitFor();
    await shot(a, 'desk-members');
    const c = await logIn(carol, { gateway: 2 });
    await openRow(c, 'Weekend trip');
    await write(c, 'Hi!');
    await waitForText(b, 'Hi!');
    await a.getByRole('button', { name: `Remove ${bob}` }).click();
    await b.locator('.row', { hasText: 'Weekend trip' }).waitFor({ state: 'detached' });
    await a.getByRole('button', { name: 'Done' }).click();
    await shot(a, 'desk-group');
    await c.getByRole('button', { name: 'Members' }).click();
    await c.getByRole('button', { name: 'Leave group' }).click();
    await c.locator('.row', { hasText: 'Weekend trip' }).waitFor({ state: 'detached' });
    await a.locator('.event', { hasText: `${carol} left` }).waitFor();
    await closeAll(a, b, c);
});

test('two tabs of one name both get everything, and what one has read the other knows', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const one = await logIn(bob, { gateway: 1 });
    const two = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'to both');
    await Promise.all([one, two].map((page) => page.locator('.badge', { hasText: '1' }).waitFor()));
    await openRow(one, alice);
    await two.locator('.badge').waitFor({ state: 'detached' });
    await closeAll(a, one, two);
});

test('a copied tab takes over, and the first offers to take it back', async () => {
    const [alice] = names('alice');
    const a = await logIn(alice);
    const stored = await a.evaluate(() => ({ ...sessionStorage }));
    const copy = await a.context().newPage();
    await copy.addInitScript(
        (items) =>
            Object.entries(items).forEach(([key, value]) => sessionStorage.setItem(key, value)),
        stored,
    );
    await copy.goto(`${cluster.http(1)}/`);
    await a.getByRole('button', { name: 'Use here' }).waitFor();
    await shot(a, 'desk-replaced');
    await a.getByRole('button', { name: 'Use here' }).click();
    await a.locator('#fatal').waitFor({ state: 'hidden' });
    await a.locator('#me-state', { hasText: 'Online' }).waitFor();
    await copy.getByRole('button', { name: 'Use here' }).waitFor();
    await closeAll(a);
});

test('on a phone there is one column with a way back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const phone = { viewport: PHONE, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
    const a = await logIn(alice, phone);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(b, alice);
    await write(
        b,
        'Are you on your way?',
        'The train leaves at ten past nine, do not be late this time please!',
    );
    await a.locator('.badge', { hasText: '2' }).waitFor();
    assert.equal(await a.locator('.chat').isVisible(), false);
    await shot(a, 'phone-list');
    await openRow(a, bob);
    await waitForText(a, 'ten past nine');
    await write(a, 'Yes, five minutes.');
    await tickOf(a, 'five minutes', 'read');
    assert.equal(await a.locator('.side').isVisible(), false);
    const overflow = await a.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, 'nothing is wider than the screen');
    await shot(a, 'phone-chat');
    await a.getByRole('button', { name: 'Back to conversations' }).click();
    await a.locator('.conversations').waitFor();
    await closeAll(a, b);
});

test('dark where the system is dark', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, { colorScheme: 'dark' });
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Good evening');
    await openRow(b, alice);
    await write(b, 'Good evening to you too');
    await waitForText(a, 'to you too');
    await tickOf(a, 'Good evening', 'read');
    const background = await a.evaluate(
        () => getComputedStyle(document.querySelector('.app')).backgroundColor,
    );
    assert.ok(Math.max(...background.match(/\d+/g).map(Number)) < 60, background);
    await shot(a, 'desk-dark');
    await closeAll(a, b);
});

test('the login page is kind about a server that is away', async () => {
    const page = await (await browser.newContext({ viewport: DESK })).newPage();
    await page.goto(`${cluster.http(1)}/`);
    await page.getByLabel('Your name').fill('alice');
    await shot(page, 'desk-login');
    await page.context().setOffline(true);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('The server cannot be reached.').waitFor();
    await page.context().close();
});
