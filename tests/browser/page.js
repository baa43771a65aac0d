// page - what the tests of the chat page share: a cluster, a browser, and what people do on a page.
//
// Screenshots go to $SCREENSHOTS (default: a folder in the system's temporary one), to be looked
// at.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

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
const WAIT_MS = 8000;

export const PHONE = {
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
    deviceScaleFactor: 2,
};
export const DESK = { viewport: { width: 1280, height: 800 } };

/** @type {Cluster} */
export let cluster;
/** @type {import('playwright-core').Browser} */
export let browser;
let count = 0;

/** One cluster and one browser for a file of tests. `args`: of `chatmesh dev`. */
export function useCluster(args = ['--no-limits']) {
    before(async () => {
        mkdirSync(SHOTS, { recursive: true });
        [cluster, browser] = await Promise.all([
            Cluster.start({ args }),
            chromium.launch({ executablePath: EXECUTABLE, args: ARGS }),
        ]);
    });
    after(async () => {
        await browser?.close();
        await cluster?.stop();
    });
}

/** Names of this test's own. */
export const names = (...stems) => {
    count++;
    return stems.map((stem) => `${stem}${count}`);
};

/** What the browser complained about: a test that leaves any fails. */
const complaints = [];

/** A browser of its own, logged in as `name`. */
export async function logIn(name, { gateway = 1, ...options } = {}) {
    const context = await browser.newContext({ ...DESK, locale: 'en-GB', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    page.on('pageerror', (error) => complaints.push(`${name}: ${error}`));
    page.on('console', (message) => {
        if (message.type() === 'error' && !/ERR_INTERNET_DISCONNECTED/.test(message.text()))
            complaints.push(`${name}: ${message.text()}`);
    });
    await page.goto(`${cluster.http(gateway)}/`);
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Continue' }).click();
    await isOnline(page);
    return page;
}

/** The end of a test: nothing may have been complained about. */
export async function closeAll(...pages) {
    await Promise.all(pages.map((page) => page.context().close()));
    assert.deepEqual(complaints.splice(0), []);
}

export const isOnline = (page) => page.locator('#me-state', { hasText: 'Online' }).waitFor();

export const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`) });

/* ---- What people do ---- */

export async function startChat(page, name) {
    await page.getByRole('button', { name: 'New chat' }).click();
    await page.locator('#direct-name').fill(name);
    await page.getByRole('button', { name: 'Start', exact: true }).click();
}

export async function startGroup(page, title, ...members) {
    await page.getByRole('button', { name: 'New group' }).click();
    await page.locator('#group-title').fill(title);
    await page.locator('#group-names').fill(members.join(', '));
    await page.getByRole('button', { name: 'Create' }).click();
    await page.locator('#chat-title', { hasText: title }).waitFor();
}

/** In the group's dialog. */
export async function removeMember(page, name) {
    await page.getByRole('button', { name: `Remove ${name}`, exact: true }).click();
    await page.locator('#ask-yes', { hasText: 'Remove' }).click();
}

export async function write(page, ...texts) {
    for (const text of texts) {
        await page.getByLabel('Message', { exact: true }).fill(text);
        if (page.viewportSize().width > PHONE.viewport.width) await page.keyboard.press('Enter');
        else await page.getByRole('button', { name: 'Send' }).click();
    }
}

/** "stem 0", "stem 1", … to `peer`, faster than a hand: from a second device of the same person, by
 * the page's own client. */
export async function writeMany(page, peer, stem, many) {
    await page.evaluate(
        async ([to, text, length]) => {
            const { ChatmeshClient } = await import('/client.js');
            const user = sessionStorage.getItem('chatmesh.name');
            const answer = await fetch('v1/dev/token', {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ user }),
            });
            const { token } = await answer.json();
            const url = `${location.origin.replace(/^http/, 'ws')}/ws`;
            const client = new ChatmeshClient({ url, token, device: 'bulk' });
            await client.connect();
            await Promise.all(
                Array.from({ length }, (_, n) => client.send({ to }, { text: `${text} ${n}` })),
            );
            client.close();
        },
        [peer, stem, many],
    );
}

/** "hello" to `peer` from each of them. */
export async function writeFrom(page, peer, users) {
    await page.evaluate(
        async ([to, froms]) => {
            const { ChatmeshClient } = await import('/client.js');
            const url = `${location.origin.replace(/^http/, 'ws')}/ws`;
            const say = async (user) => {
                const answer = await fetch('v1/dev/token', {
                    method: 'POST',
                    headers: { 'Content-Type': 'application/json' },
                    body: JSON.stringify({ user }),
                });
                const { token } = await answer.json();
                const client = new ChatmeshClient({ url, token, device: 'bulk' });
                await client.connect();
                await client.send({ to }, { text: 'hello' });
                client.close();
            };
            await Promise.all(froms.map(say));
        },
        [peer, users],
    );
}

/** The line of the list with this name. */
export const rowOf = (page, name) =>
    page.locator('.row', { has: page.locator('.row-name', { hasText: name }) });

export const openRow = (page, name) => rowOf(page, name).click();

export const messageOf = (page, text) => page.locator('.message', { hasText: text }).first();

/** Choose from the menu of the message with this text. */
export async function choose(page, text, choice) {
    await messageOf(page, text).click({ button: 'right' });
    await page.getByRole('menuitem', { name: choice }).click();
}

export async function react(page, text, emoji) {
    await messageOf(page, text).click({ button: 'right' });
    await page.locator('.emoji', { hasText: emoji }).click();
}

/* ---- What they see ---- */

export const bubbles = (page) => page.locator('.bubble .text').allTextContents();

export const waitForText = (page, text) =>
    page.locator('.bubble .text', { hasText: text }).first().waitFor();

/** The tick of the message with this text. */
export const tickOf = (page, text, status) =>
    messageOf(page, text).locator(`.tick-${status}`).waitFor();

/** Ask the page until it is true. */
export const sees = (page, what, arg) => page.waitForFunction(what, arg, { timeout: WAIT_MS });

/** By how much the page is wider than the screen. */
export const overflow = (page) =>
    page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
