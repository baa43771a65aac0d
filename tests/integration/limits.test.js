// limits.test - what one client may ask of a gateway, with the limits as they are by default.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, until } from './cluster.js';
import { Peer, range } from './peer.js';

const CONNECTIONS_PER_USER = 5;
const RECONNECTS_PER_MINUTE = 10;
const REQUESTS_IN_FLIGHT = 4096;

let cluster;

before(async () => {
    cluster = await Cluster.start({ args: [] });
});
after(async () => {
    await cluster?.stop();
});

/** Try to connect; resolves with the peer, or with the code it was closed with. */
async function attempt(user, device) {
    const peer = await Peer.open(cluster.ws());
    peer.send({ type: 'connect', id: 'c', token: await cluster.token(user), device });
    const outcome = await Promise.race([peer.next('resumed'), peer.closed]);
    return outcome.code ?? peer;
}

test('a user has five connections to a gateway, and a sixth is closed with 4029', async () => {
    const peers = [];
    for (const n of range(1, CONNECTIONS_PER_USER)) peers.push(await attempt('alice', `d${n}`));
    assert.ok(peers.every((peer) => peer instanceof Peer));
    assert.equal(await attempt('alice', 'one-too-many'), 4029);
    await Promise.all(peers.map((peer) => peer.must('ping')));
    await Promise.all(peers.map((peer) => peer.close()));
});

test('who reconnects more than ten times a minute is closed with 4029', async () => {
    for (let n = 0; n < RECONNECTS_PER_MINUTE; n++) {
        const peer = await attempt('bob', 'd');
        assert.ok(peer instanceof Peer, `attempt ${n}: ${peer}`);
        await peer.close();
    }
    const codes = [];
    for (let n = 0; n < 2; n++) codes.push(await attempt('bob', 'd'));
    assert.ok(codes.includes(4029));
});

test('too many frames a second are refused with rate_limited, and the connection stays', async () => {
    const peer = await attempt('carol', 'd');
    for (let n = 0; n < 5000; n++) peer.send({ type: 'ping', id: n });
    await until('all are answered', () => peer.frames.filter(({ id }) => id >= 0).length >= 5000);
    const refused = peer.frames.filter(({ type }) => type === 'error');
    assert.ok(refused.length > 0);
    for (const error of refused) {
        assert.equal(error.code, 'rate_limited');
        assert.ok(error.retry_after_ms > 0 && error.retry_after_ms <= 1000);
    }
    await until('it is served again', async () => (await peer.ask('ping')).type === 'pong');
    await peer.close();
});

test('what a session asks beyond 4,096 unanswered requests is refused, the rest is served', async () => {
    const free = await Cluster.start();
    try {
        const peer = await Peer.join(free, 'alice');
        free.signal('r1', 'SIGSTOP');
        const total = REQUESTS_IN_FLIGHT + 100;
        for (let n = 0; n < total; n++)
            peer.send({ type: 'send', id: n, to: 'bob', cid: `c${n}`, body: n });
        const refused = () => peer.frames.filter(({ code }) => code === 'rate_limited').length;
        await until('the rest is refused', () => refused() === 100);
        free.signal('r1', 'SIGCONT');
        await until(
            'all are answered',
            () => peer.frames.filter(({ id }) => id >= 0).length === total,
        );
        const log = await until('it is in the log', async () => {
            const sent = peer.frames.find(({ type }) => type === 'sent');
            return sent !== undefined && (await peer.log(sent.conv));
        });
        const bodies = log.filter(({ type }) => type === 'message').map(({ body }) => body);
        assert.deepEqual(bodies, range(0, REQUESTS_IN_FLIGHT - 1));
        await peer.close();
    } finally {
        await free.stop();
    }
});

test('a conversation takes so many messages a second; beyond, a send is told when to come again', async () => {
    const small = await Cluster.start({ args: ['--messages-per-second', '20'] });
    try {
        const peer = await Peer.join(small, 'alice');
        for (let n = 0; n < 50; n++)
            peer.send({ type: 'send', id: n, to: 'bob', cid: `c${n}`, body: n });
        const answers = () => peer.frames.filter(({ id }) => id >= 0);
        await until('all are answered', () => answers().length === 50);
        const refused = answers().filter(({ type }) => type === 'error');
        assert.ok(refused.length >= 10 && refused.length <= 30, `${refused.length} of 50 refused`);
        for (const error of refused) {
            assert.equal(error.code, 'rate_limited');
            assert.ok(error.retry_after_ms > 0 && error.retry_after_ms <= 1000);
        }
        const other = await peer.ask('send', { to: 'carol', cid: 'x', body: 'elsewhere' });
        assert.equal(other.type, 'sent'); // Each conversation has its own share.
        await until('it is taken again', async () => {
            const { id } = refused[0];
            const answer = await peer.ask('send', { to: 'bob', cid: `c${id}`, body: id });
            return answer.type === 'sent';
        });
        const { conv } = answers().find(({ type }) => type === 'sent');
        const bodies = (await peer.log(conv)).filter(({ type }) => type === 'message');
        assert.deepEqual(
            bodies.map(({ body }) => body),
            range(0, refused[0].id), // In order, without a hole.
        );
        await peer.close();
    } finally {
        await small.stop();
    }
});

test('a session sends so many bytes a second, and a gateway takes so many connections', async () => {
    const small = await Cluster.start({
        args: ['--bytes-per-second', '50000', '--connections', '3'],
    });
    try {
        const peer = await Peer.join(small, 'alice');
        const body = 'x'.repeat(20000);
        for (let n = 0; n < 4; n++)
            peer.send({ type: 'send', id: n, to: 'bob', cid: `c${n}`, body });
        const answers = () => peer.frames.filter(({ id }) => id >= 0);
        await until('all are answered', () => answers().length === 4);
        assert.deepEqual(
            answers()
                .map(({ id, type, code }) => [id, code ?? type])
                .sort(),
            [
                [0, 'sent'],
                [1, 'sent'],
                [2, 'rate_limited'],
                [3, 'rate_limited'],
            ],
        );
        const others = [await Peer.join(small, 'bob'), await Peer.join(small, 'carol')];
        const fourth = await Peer.open(small.ws());
        assert.equal((await fourth.closed).code, 4029);
        const elsewhere = await Peer.join(small, 'dave', { gateway: 2 });
        await Promise.all([peer, ...others, elsewhere].map((each) => each.close()));
    } finally {
        await small.stop();
    }
});

test('an address has so many connections to a gateway', async () => {
    const many = await Cluster.start({
        args: ['--no-limits', '--connections-per-ip', '20'],
    });
    try {
        const peers = [];
        const token = await many.token('alice'); // Its connection counts too while it is kept.
        /** Its close code, where it is not let in. */
        const enter = async (n) => {
            const peer = await Peer.open(many.ws(), { query: { token, device: `d${n}` } });
            const entered = peer.next('welcome').then(() => null);
            const code = await Promise.race([entered, peer.closed.then((close) => close.code)]);
            if (code === null) peers.push(peer);
            entered.catch(() => {}); // No welcome comes any more.
            return code;
        };
        let code = null;
        for (let n = 0; n <= 20 && code === null; n++) code = await enter(n);
        assert.equal(code, 4029);
        assert.ok(peers.length >= 15, `${peers.length} came in`);
        assert.equal((await fetch(`${many.http()}/health`)).status, 200); // It keeps its connection.
        await peers.pop().close();
        await until('there is room again', async () => (await enter('late')) === null);
        await Promise.all(peers.map((peer) => peer.close()));
    } finally {
        await many.stop();
    }
});
