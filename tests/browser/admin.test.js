// admin.test - the cluster page in a real browser: what it shows of a real cluster, and the key it
// asks for where one is needed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Cluster, until } from '../integration/cluster.js';
import { Peer } from '../integration/peer.js';
import { browser, cluster, DESK, overflow, PHONE, shot, useCluster } from './page.js';

useCluster();

/** The cluster page of `of`, in a context of its own; its complaints are collected. */
async function openAdmin(options, of = cluster) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.complaints = [];
    page.on('console', (message) => {
        if (message.type() === 'error' && !/40[13]/.test(message.text()))
            page.complaints.push(message.text());
    });
    page.on('pageerror', (error) => page.complaints.push(String(error)));
    await page.goto(`${of.http()}/admin`);
    return page;
}

const figure = (page, name) =>
    page.locator('.figure', { hasText: name }).locator('strong').textContent();

for (const [name, options] of [
    ['desk', { ...DESK, colorScheme: 'light' }],
    ['desk-dark', { ...DESK, colorScheme: 'dark' }],
    ['phone', { ...PHONE, colorScheme: 'light' }],
    ['phone-dark', { ...PHONE, colorScheme: 'dark' }],
])
    test(`the cluster page shows nodes, shards and figures: ${name}`, async () => {
        const peer = await Peer.join(cluster, 'alice');
        const page = await openAdmin(options);
        await page.getByText('all is well').waitFor();
        assert.deepEqual(await page.locator('#routers h3').allTextContents(), ['r1']);
        assert.deepEqual(await page.locator('#gateways h3').allTextContents(), ['g1', 'g2']);
        assert.equal(await page.locator('#shards button').count(), 64);
        assert.equal(await figure(page, 'Shards led'), '64 / 64');
        await until(
            'the connection is counted',
            async () => (await figure(page, 'Connections')) !== '0',
        );
        for (let i = 0; i < 30; i++) await peer.say({ to: 'bob' }, i);
        await until('messages are', async () => (await figure(page, 'Messages')) !== '0');
        await page.locator('#shards button').nth(7).click();
        assert.match(await page.locator('#shard').textContent(), /^Shard 7: led by r1 in term/);
        assert.equal(await overflow(page), 0, 'nothing is wider than the screen');
        await shot(page, `admin-${name}`);
        assert.deepEqual(page.complaints, []);
        await page.context().close();
        await peer.close();
    });

test('each router has a colour, and one that dies is shown as down', async () => {
    const three = await Cluster.start({ routers: 3, gateways: 1 });
    const page = await openAdmin(DESK, three);
    try {
        await page.getByText('all is well').waitFor();
        const isLegible = await page.locator('#shards button').evaluateAll((nodes) =>
            nodes.every((node) => {
                const rgb = getComputedStyle(node).backgroundColor.match(/\d+/g).map((v) => v / 255);
                const linear = rgb.map((v) => (v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
                return 1.05 / (light + 0.05) >= 4.5;
            }),
        );
        assert.ok(isLegible, 'white on the colour of each router can be read');
        await three.kill('r2');
        await page.getByText('1 router is down').waitFor({ timeout: 20000 });
        await page.locator('.card', { hasText: 'r2' }).getByText('down').waitFor();
        await shot(page, 'admin-router-down');
    } finally {
        await page.context().close();
        await three.stop();
    }
});

test('where a key is needed the page asks for it, says what is wrong with it, and keeps it', async () => {
    const page = await openAdmin(PHONE);
    const key = readFileSync(join(cluster.data, 'api.key'), 'utf8').trim();
    await page.route('**/v1/cluster', async (route) => {
        // As outside development: without a key nothing is shown.
        if (route.request().headers().authorization !== undefined) return route.continue();
        return route.fulfill({
            status: 401,
            json: { error: { code: 'unauthorized', message: 'send a key' } },
        });
    });
    await page.reload();
    await page.getByLabel('API key').fill('cmk_wrong');
    await page.getByRole('button', { name: 'Show the cluster' }).click();
    await page.getByText('the API key is not known').waitFor();
    await shot(page, 'admin-key');
    await page.getByLabel('API key').fill(key);
    await page.keyboard.press('Enter');
    await page.getByText('all is well').waitFor();
    await page.reload();
    await page.getByText('all is well').waitFor();
    assert.ok(await page.locator('#login').isHidden());
    await page.context().close();
});
