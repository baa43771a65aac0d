// faults.test - what is acknowledged survives; what is missed is caught up; what cannot be served
// says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import WebSocket from 'ws';

import { ChatmeshClient } from '../../gateway/web/client.js';
import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

/** Run `body` with a cluster of its own. */
async function withCluster(options, body) {
    const cluster = await Cluster.start(options);
    const clients = [];
    /** The real client, on all gateways beginning with `first`. */
    const client = (user, first = 1) => {
        const urls = range(1, cluster.gateways).map((i) => cluster.ws(i));
        const made = new ChatmeshClient({
            urls: [...urls.slice(first - 1), ...urls.slice(0, first - 1)],
            getToken: async () =>
                cluster.forge({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 }),
            WebSocket,
        });
        clients.push(made);
        return made;
    };
    try {
        await body(cluster, client);
    } finally {
        clients.forEach((made) => made.close());
        await cluster.stop();
    }
}

/** What a client's application saw, as "conv seq body". */
function record(client) {
    const seen = [];
    client.on('message', (entry) => seen.push(entry));
    return seen;
}

test('clients of a killed gateway resume on the other with exactly what they missed', () =>
    withCluster({}, async (cluster, client) => {
        const alice = client('alice', 2);
        const bob = client('bob', 1);
        const seen = record(bob);
        const resumes = [];
        bob.on('resumed', ({ missed }) => resumes.push({ missed, seen: seen.length }));
        await Promise.all([alice.connect(), bob.connect()]);
        let last;
        const say = async (from, to) => {
            for (let n = from; n <= to; n++) last = await alice.send({ to: 'bob' }, n);
        };
        await say(1, 100);
        await until('bob has the first', () => seen.length === 100);
        cluster.signal('g1', 'SIGKILL');
        await say(101, 200); // Bob waits at least a moment before he dials again.
        await until('bob is back', () => resumes.length === 2);
        await say(201, 300);
        await until('bob has all', () => seen.length >= 300);
        assert.deepEqual(
            seen.map((entry) => entry.body),
            range(1, 300),
        );
        assert.equal(seen.at(-1).seq, last.seq);
        // What came before `resumed` is what was missed, unless some of it was live already.
        assert.ok(resumes[1].missed > 0 && resumes[1].missed <= resumes[1].seen - 100);
    }));

test('a killed gateway is noticed at once: its connections are reset', () =>
    withCluster({}, async (cluster) => {
        const bob = await Peer.join(cluster, 'bob');
        const ended = new Promise((resolve) => bob.socket._socket.once('error', resolve));
        await cluster.kill('g1');
        assert.equal((await ended).code, 'ECONNRESET');
    }));

test('a sender whose gateway is killed loses nothing and sends nothing twice', () =>
    withCluster({}, async (cluster, client) => {
        const alice = client('alice', 1);
        const bob = client('bob', 2);
        await Promise.all([alice.connect(), bob.connect()]);
        const seen = record(bob);
        const { conv } = await alice.send({ to: 'bob' }, 0);
        const sends = range(1, 500).map((n) => alice.send(conv, n));
        await sends[100];
        await cluster.kill('g1');
        const seqs = (await Promise.all(sends)).map((sent) => sent.seq);
        assert.deepEqual(seqs, range(seqs[0], seqs[0] + 499));
        await until('bob has all', () => seen.length >= 501, 20000);
        assert.deepEqual(
            seen.map((entry) => entry.body),
            range(0, 500),
        );
    }));

/** Send without a pause until told to stop; every acknowledgement is written down. */
function load(client, conv, name) {
    const acked = new Map();
    let isStopped = false;
    const flow = async () => {
        for (let n = 0; !isStopped; n++) {
            const cid = `${name}-${n}`;
            acked.set(cid, (await client.send(conv, { name, n }, { cid })).seq);
        }
    };
    const flows = range(1, 8).map((lane) =>
        (async () => {
            for (let n = 0; !isStopped; n++) {
                const cid = `${name}-${lane}-${n}`;
                acked.set(cid, (await client.send(conv, { name, lane, n }, { cid })).seq);
            }
        })(),
    );
    flows.push(flow());
    return {
        acked,
        stop: () => {
            isStopped = true;
            return Promise.all(flows);
        },
    };
}

test('a router killed under load three times keeps all it acknowledged, each once', () =>
    withCluster({ args: ['--no-limits', '--respawn'] }, async (cluster, client) => {
        const users = ['alice', 'bob', 'carol'];
        const clients = users.map((user, i) => client(user, 1 + (i % 2)));
        await Promise.all(clients.map((one) => one.connect()));
        const convs = [];
        for (const title of ['one', 'two', 'three'])
            convs.push(
                (await clients[0].create({ kind: 'group', title, members: users.slice(1) })).conv,
            );
        const seen = clients.map(record);
        const loads = clients.flatMap((one, i) =>
            convs.map((conv, k) => ({ conv, i, ...load(one, conv, `${users[i]}-${k}`) })),
        );
        for (let kill = 0; kill < 3; kill++) {
            await sleep(1200);
            const pid = await cluster.kill('r1');
            await until(
                'r1 is back',
                () => cluster.pid('r1') !== null && cluster.pid('r1') !== pid,
                10000,
            );
            await until('it serves', async () => (await cluster.health(1))?.status === 200, 15000);
        }
        await sleep(500);
        await Promise.all(loads.map((one) => one.stop()));
        const reader = await Peer.join(cluster, 'alice');
        for (const [k, conv] of convs.entries())
            await checkLog(
                reader,
                conv,
                loads.filter((one) => one.conv === conv),
                seen,
                k,
            );
        // A retry long after gets the first answer.
        const [cid, seq] = [...loads[0].acked].at(0);
        const again = await reader.say({ conv: loads[0].conv }, 'whatever', cid);
        assert.deepEqual([again.seq, again.dup], [seq, true]);
        await reader.close();
    }));

async function checkLog(reader, conv, loads, seen) {
    const log = await reader.log(conv);
    assert.deepEqual(
        log.map((entry) => entry.seq),
        range(1, log.length),
        'contiguous from 1',
    );
    const byCid = new Map();
    for (const { type, from, cid, seq } of log) {
        if (type !== 'message') continue;
        assert.ok(!byCid.has(`${from} ${cid}`), `${cid} is in the log twice`);
        byCid.set(`${from} ${cid}`, seq);
    }
    for (const { acked, i } of loads) {
        assert.ok(acked.size > 0);
        for (const [cid, seq] of acked)
            assert.equal(
                byCid.get(`${['alice', 'bob', 'carol'][i]} ${cid}`),
                seq,
                `${cid} was acknowledged at ${seq}`,
            );
    }
    const messages = log.filter((entry) => entry.type === 'message').map((entry) => entry.seq);
    for (const one of seen) {
        await until(
            'everybody has all of it',
            () => one.filter((entry) => entry.conv === conv).length >= messages.length,
            15000,
        );
        assert.deepEqual(
            one.filter((entry) => entry.conv === conv).map((entry) => entry.seq),
            messages,
        );
    }
}

test('the order of one device’s sends survives a killed router', () =>
    withCluster({ args: ['--no-limits', '--respawn'] }, async (cluster, client) => {
        const alice = client('alice');
        await alice.connect();
        const { conv } = await alice.send({ to: 'bob' }, -1);
        const sends = [];
        for (let n = 0; n < 1500; n++) sends.push(alice.send(conv, n));
        await sends[200];
        await cluster.kill('r1');
        await Promise.all(sends);
        const reader = await Peer.join(cluster, 'alice');
        const bodies = (await reader.log(conv))
            .filter((entry) => entry.type === 'message')
            .map((entry) => entry.body);
        assert.deepEqual(bodies, range(-1, 1499));
        await reader.close();
    }));

test('without its router a gateway says unavailable and DOWN, and heals by itself', () =>
    withCluster({}, async (cluster) => {
        const alice = await Peer.join(cluster, 'alice');
        const before = await alice.say({ to: 'bob' }, 'before');
        cluster.signal('r1', 'SIGSTOP');
        try {
            const refused = await alice.ask(
                'send',
                { conv: before.conv, cid: 'during', body: 'x' },
                10000,
            );
            assert.deepEqual([refused.type, refused.code], ['error', 'unavailable']);
            assert.ok(refused.retry_after_ms > 0);
            const health = await until('it is DOWN', async () => {
                const answer = await cluster.health();
                return answer?.status === 503 && answer;
            });
            assert.equal(health.body.status, 'DOWN');
            assert.equal(
                (await alice.ask('history', { conv: before.conv, after: 0, limit: 1 }, 10000)).code,
                'unavailable',
            );
        } finally {
            cluster.signal('r1', 'SIGCONT');
        }
        await until('it is UP again', async () => (await cluster.health())?.status === 200, 15000);
        const after = await until(
            'a retry passes',
            async () => {
                const reply = await alice.ask(
                    'send',
                    { conv: before.conv, cid: 'during', body: 'x' },
                    10000,
                );
                return reply.type === 'sent' && reply;
            },
            15000,
        );
        const log = await alice.log(before.conv);
        assert.equal(log.filter((entry) => entry.cid === 'during').length, 1);
        assert.equal(log.find((entry) => entry.cid === 'during').seq, after.seq);
        await alice.close();
    }));

test('a live client gets what happened around a router’s death without reconnecting', () =>
    withCluster({ args: ['--no-limits', '--respawn'] }, async (cluster) => {
        const alice = await Peer.join(cluster, 'alice', { gateway: 1 });
        const bob = await Peer.join(cluster, 'bob', { gateway: 2 });
        const { conv } = await alice.say({ to: 'bob' }, 0);
        await cluster.kill('r1');
        let last;
        for (let n = 1; n <= 20; n++)
            last = await until(
                'it is sent',
                async () => {
                    const reply = await alice.ask('send', { conv, cid: `c${n}`, body: n }, 10000);
                    return reply.type === 'sent' && reply;
                },
                20000,
            );
        await until('bob has it', () => bob.seqs(conv).includes(last.seq));
        const bodies = bob.frames
            .filter((frame) => frame.type === 'message')
            .map((frame) => frame.body);
        assert.deepEqual([...new Set(bodies)], range(0, 20));
        await Promise.all([alice.close(), bob.close()]);
    }));

test('the same folder continues the same cluster', async () => {
    const first = await Cluster.start();
    const alice = await Peer.join(first, 'alice', { device: 'phone' });
    const sent = await alice.say({ to: 'bob' }, 'kept', 'k');
    const { epoch } = alice.welcome;
    await alice.close();
    await first.stop({ keep: true });
    const second = await Cluster.start({ data: first.data, port: first.port });
    try {
        const again = await Peer.join(second, 'alice', { device: 'phone' });
        assert.equal(again.welcome.epoch, epoch);
        assert.equal((await again.log(sent.conv)).at(-1).body, 'kept');
        const repeated = await again.say({ to: 'bob' }, 'kept', 'k');
        assert.deepEqual([repeated.seq, repeated.dup], [sent.seq, true]);
        await again.close();
    } finally {
        await second.stop();
    }
});

test('a gateway that is stopped sends its clients away with a delay, then 1012, and the client comes back', () =>
    withCluster({ args: ['--no-limits', '--drain-ms', '1500'] }, async (cluster, client) => {
        const raw = await Peer.join(cluster, 'alice', { gateway: 1 });
        const bob = client('bob', 1);
        await bob.connect();
        cluster.signal('g1', 'SIGTERM');
        const restart = await raw.next('server_restart');
        assert.ok(restart.reconnect_after_ms >= 0 && restart.reconnect_after_ms <= 1500);
        assert.equal((await raw.closed).code, 1012);
        await until(
            'bob is on g2',
            () => bob.state === 'online' && cluster.pid('g1') === null,
            10000,
        );
        assert.ok((await bob.send({ to: 'alice' }, 'x')).seq > 0);
    }));
