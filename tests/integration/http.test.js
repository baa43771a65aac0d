// http.test - what a gateway answers to plain HTTP.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Cluster, readMetrics, temporaryFolder } from './cluster.js';
import { Peer } from './peer.js';

let cluster;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

const get = (path, options) => fetch(cluster.http() + path, options);

test('/health says UP, who it is and how much is going on', async () => {
    const peer = await Peer.join(cluster, 'alice');
    const { status, body } = await cluster.health();
    assert.equal(status, 200);
    assert.deepEqual([body.status, body.node, body.role], ['UP', 'g1', 'gateway']);
    assert.ok(body.active_connections >= 1 && body.online_users >= 1);
    assert.ok(body.shards.total > 0);
    assert.equal(body.shards.led, body.shards.total);
    assert.ok(Math.abs(body.timestamp - Date.now()) < 5000);
    await peer.close();
});

test('/metrics is Prometheus text', async () => {
    const metrics = await readMetrics(await get('/metrics'), 'g1', 'gateway');
    assert.equal(metrics.get('chatmesh_up'), 1);
    assert.equal(metrics.get('chatmesh_routers_up'), 1);
    assert.ok(metrics.get('chatmesh_packets_in_total') > 0);
    assert.ok(!metrics.has('chatmesh_shards_led')); // A router's.
});

test('/ is the chat page, with a policy that lets nothing in from elsewhere', async () => {
    const response = await get('/');
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/html/);
    assert.match(response.headers.get('content-security-policy'), /default-src 'self'/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    const html = await response.text();
    assert.match(html, /<title>Chatmesh<\/title>/);
    assert.doesNotMatch(html, /https?:\/\//, 'nothing is loaded from elsewhere');
});

test('everything the page refers to is there', async () => {
    const html = await (await get('/')).text();
    const paths = new Set(
        [...html.matchAll(/(?:src|href)="([a-z][^":#]*)"/g)].map((match) => match[1]),
    );
    assert.ok(paths.has('chat.js') && paths.has('chat.css'));
    for (const path of paths) assert.equal((await get(`/${path}`)).status, 200, path);
});

test('/client.js is the client, an ES module that works as it is', async () => {
    const response = await get('/client.js');
    assert.match(response.headers.get('content-type'), /javascript/);
    const source = await response.text();
    const { ChatmeshClient } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
    assert.equal(typeof ChatmeshClient, 'function');
});

test('/client.js bears its types, strictly: who downloads it has them without another file', async () => {
    const here = (path) => fileURLToPath(new URL(path, import.meta.url));
    const folder = temporaryFolder();
    const { compilerOptions } = JSON.parse(readFileSync(here('tsconfig.json'), 'utf8'));
    const usage = readFileSync(here('client_usage.js'), 'utf8');
    for (const [name, text] of [
        ['client.js', await (await get('/client.js')).text()],
        ['usage.js', usage.replaceAll('../../gateway/web/client.js', './client.js')],
        ['tsconfig.json', JSON.stringify({ compilerOptions, include: ['*.js'] })],
    ])
        writeFileSync(join(folder, name), text);
    const tsc = [here('node_modules/typescript/bin/tsc'), '-p', folder];
    // Not at a standstill: what fetch keeps open would be closed by the server without its notice.
    const execute = promisify(execFile);
    const { code = 0, stdout } = await execute(process.execPath, tsc).catch((error) => error);
    assert.equal(code, 0, stdout);
    rmSync(folder, { recursive: true });
});

test('an ETag saves the second transfer', async () => {
    const first = await get('/client.js');
    const etag = first.headers.get('etag');
    assert.ok(etag);
    await first.text();
    for (const known of [etag, `"other", W/${etag}`, '*']) {
        const again = await get('/client.js', { headers: { 'If-None-Match': known } });
        assert.equal(again.status, 304);
        assert.equal(again.headers.get('content-length'), null);
        assert.ok(Math.abs(Date.parse(again.headers.get('date')) - Date.now()) < 5000);
    }
});

const post = (body, headers = {}) =>
    get('/v1/dev/token', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body,
    });

test('POST /v1/dev/token gives a token that connects', async () => {
    const response = await post('{"user":"zoë"}');
    assert.equal(response.status, 200);
    const peer = await Peer.join(cluster, 'zoë', { token: (await response.json()).token });
    assert.equal(peer.welcome.user, 'zoë');
    await peer.close();
});

test('a body may come in chunks', async () => {
    const chunks = ['{"user":', '"zo', 'ë"}'].map((text) => new TextEncoder().encode(text));
    const response = await fetch(`${cluster.http()}/v1/dev/token`, {
        method: 'POST',
        body: ReadableStream.from(chunks),
        duplex: 'half',
    });
    assert.equal(response.status, 200);
    assert.equal(typeof (await response.json()).token, 'string');
});

test('POST /v1/dev/token refuses what names no user', async () => {
    for (const body of [
        '',
        '{}',
        '{"user":""}',
        '{"user":1}',
        '{"user":"a\\u0000"}',
        'x',
        `{"user":"${'x'.repeat(129)}"}`,
    ]) {
        const response = await post(body);
        assert.equal(response.status, 400, body);
        const { error } = await response.json();
        assert.equal(error.code, 'bad_request');
        assert.equal(typeof error.message, 'string');
    }
    assert.equal((await post(`{"user":"${'x'.repeat(5000)}"}`)).status, 413);
});

test('POST /v1/dev/token refuses another site’s page', async () => {
    assert.equal((await post('{"user":"eve"}', { Origin: 'http://evil.example' })).status, 403);
});

test('an unknown path is 404', async () => {
    for (const path of [
        '/no-such-page',
        '/v1/none',
        '/../etc/passwd',
        '/client.js/',
        '/.git/config',
    ]) {
        const response = await get(path);
        assert.equal(response.status, 404, path);
        assert.equal((await response.json()).error.code, 'not_found');
    }
});

test('a method that is not allowed is 405, and says which is', async () => {
    for (const [path, method] of [
        ['/health', 'POST'],
        ['/', 'DELETE'],
        ['/client.js', 'PUT'],
        ['/v1/dev/token', 'GET'],
    ]) {
        const response = await get(path, { method, ...(method !== 'GET' && { body: '' }) });
        assert.equal(response.status, 405, `${method} ${path}`);
        assert.ok(response.headers.get('allow'));
        await response.text();
    }
});

test('HEAD is answered like GET, without a body', async () => {
    const response = await get('/client.js', { method: 'HEAD' });
    assert.equal(response.status, 200);
    assert.ok(Number(response.headers.get('content-length')) > 1000);
    assert.equal(await response.text(), '');
});

test('/ws without an upgrade is 426', async () => {
    assert.equal((await get('/ws')).status, 426);
});

test('a WebSocket on another path is refused', async () => {
    const token = await cluster.token('alice');
    await assert.rejects(
        Peer.open(`${cluster.ws()}x`, { query: { token } }),
        (error) => error.status >= 400 || error.status === undefined,
    );
});
