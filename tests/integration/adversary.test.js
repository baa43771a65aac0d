// adversary.test - what an enemy, a clumsy operator and a dying disk do: the others do not notice,
// and nothing false is ever said.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import { Cluster, run, sleep, temporaryFolder, until } from './cluster.js';
import { Peer, range } from './peer.js';

test('those who dawdle over a request hold up nobody else', async () => {
    const cluster = await Cluster.start({ gateways: 1 });
    const sockets = range(1, 600).map(() => {
        const socket = connect(cluster.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write('GET /ws HTT');
        return socket;
    });
    try {
        await sleep(500);
        const begun = performance.now();
        assert.equal((await cluster.health()).status, 200);
        const peer = await Peer.join(cluster, 'alice');
        await peer.say({ to: 'bob' }, 'I am not one of them');
        assert.ok(performance.now() - begun < 1500);
    } finally {
        sockets.forEach((socket) => socket.destroy());
        await cluster.stop();
    }
});

/** The whole history of these conversations; null where the cluster does not say. */
async function histories(data, convs) {
    let cluster;
    try {
        cluster = await Cluster.start({ gateways: 1, data });
    } catch (error) {
        assert.match(error.message, /r1 ended with code [12]/); // Told, not aborted.
        return null;
    }
    try {
        const reader = await Peer.join(cluster, 'alice');
        return await Promise.all(convs.map((conv) => reader.log(conv)));
    } catch {
        await until('the router has given up', () => cluster.pid('r1') === null, 10000);
        assert.match(cluster.output, /r1 ended with code 1/);
        return null;
    } finally {
        await cluster.stop({ keep: true });
    }
}

test('a damaged store is refused or read rightly, never otherwise', async () => {
    const convs = ['one', 'two'];
    const data = temporaryFolder();
    const copy = `${data}-copy`;
    for (const round of [1, 2]) {
        const cluster = await Cluster.start({ gateways: 1, data });
        const alice = await Peer.join(cluster, 'alice');
        for (const conv of convs) {
            if (round === 1) await alice.must('create', { conv, kind: 'group', members: ['bob'] });
            await alice.flood({ conv }, 1, 200);
        }
        await cluster.kill('r1');
        await cluster.stop({ keep: true });
    }
    const want = await histories(data, convs);
    const files = readdirSync(join(data, 'r1'));
    try {
        for (const kind of [/\.sst$/, /\.log$/, /^MANIFEST/, /^CURRENT$/]) {
            const file = files.find((name) => kind.test(name));
            rmSync(copy, { recursive: true, force: true });
            cpSync(data, copy, { recursive: true });
            const path = join(copy, 'r1', file);
            const bytes = readFileSync(path);
            if (bytes.length === 0) continue;
            bytes[bytes.length >> 1] ^= 1;
            writeFileSync(path, bytes);
            const got = await histories(copy, convs);
            if (got !== null) assert.deepEqual(got, want, file);
        }
    } finally {
        rmSync(data, { recursive: true, force: true });
        rmSync(copy, { recursive: true, force: true });
    }
});

test('a folder with files of others is no place for a cluster', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'bin'));
    const { code, stderr } = await run(['dev', '--data', folder]);
    assert.equal(code, 2);
    assert.match(stderr, /^chatmesh: .* holds files that are none of ours.*\n$/);
    assert.deepEqual(readdirSync(folder), ['bin']);
    rmSync(folder, { recursive: true });
});
