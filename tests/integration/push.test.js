// push.test - the webhook: who was offline when a message came is told of, once it has waited, by a
// signed POST that is repeated until it is answered 2xx.
import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { Cluster, freePorts, run, sleep, temporaryFolder, until } from './cluster.js';
import { Peer, range } from './peer.js';

const SECRET = 'a secret that only the two know';
const TOLD_MS = 30000; // Waiting, a failover and a repetition or two.
const QUIET_MS = 6000; // What was not told by then will not be.

/** The operator's side: keeps what it answered 2xx. */
class Receiver {
    constructor(port) {
        this.port = port;
        this.told = []; // Events confirmed, in order.
        this.refused = 0;
        this.mistakes = []; // What is wrong with a request.
        this.status = 200;
    }

    listen() {
        this.server = createServer((request, response) => this.#onRequest(request, response));
        return new Promise((resolve) => this.server.listen(this.port, '127.0.0.1', resolve));
    }

    /** Gone, with all connections. */
    close() {
        this.server.closeAllConnections();
        return new Promise((resolve) => this.server.close(resolve));
    }

    async #onRequest(request, response) {
        const parts = [];
        for await (const part of request) parts.push(part);
        const body = Buffer.concat(parts).toString('utf8');
        this.#check(request, body);
        if (this.status === 200) this.told.push(...JSON.parse(body).events);
        else this.refused++;
        response.writeHead(this.status).end();
    }

    #check(request, body) {
        const fits = (isRight, what) => isRight || this.mistakes.push(what);
        const given = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(request.headers['chatmesh-signature']);
        fits(request.method === 'POST' && request.url === '/hook', 'method or path');
        fits(request.headers['content-type'] === 'application/json', 'content type');
        if (!fits(given !== null, 'no signature')) return;
        const mac = createHmac('sha256', SECRET).update(`${given[1]}.${body}`).digest();
        fits(timingSafeEqual(mac, Buffer.from(given[2], 'hex')), 'signature');
        fits(Math.abs(Date.now() / 1000 - Number(given[1])) < 60, 'time');
    }

    /** Events of a conversation, or of one message of it. */
    of(conv, seq) {
        return this.told.filter((e) => e.conv === conv && (seq === undefined || e.seq === seq));
    }

    /** Wait until this message was told. */
    tells({ conv, seq }) {
        return until(
            `${conv} ${seq} is told`,
            () => this.of(conv, seq).length > 0 && this.of(conv, seq),
            TOLD_MS,
        );
    }
}

let receiver;
let cluster;

before(async () => {
    receiver = new Receiver(await freePorts(1));
    await receiver.listen();
    cluster = await Cluster.start({
        routers: 3,
        gateways: 1,
        args: [
            ...['--no-limits', '--respawn', '--shards', '16'],
            ...['--webhook', `http://127.0.0.1:${receiver.port}/hook`, '--webhook-secret', SECRET],
        ],
    });
});

after(async () => {
    await cluster?.stop();
    await receiver?.close();
    assert.deepEqual(receiver.mistakes, []);
});

/** A client that acknowledges what it gets, as client.js does. */
async function attentive(user) {
    const peer = await Peer.open(cluster.ws(), { query: { device: 'phone' } });
    peer.user = user;
    peer.socket.on('message', (data) => {
        const { type, conv, seq } = JSON.parse(String(data));
        if (type === 'message') peer.send({ type: 'ack', conv, seq });
    });
    peer.send({ type: 'connect', id: 'c', token: await cluster.token(user) });
    await peer.next('resumed');
    return peer;
}

/** Send until it is acknowledged: `unavailable` means to try again with the same cid. */
function say(peer, where, body) {
    const cid = `cid-${Math.random()}`;
    return until(
        `${JSON.stringify(body)} is acknowledged`,
        async () => {
            const reply = await peer.ask('send', { ...where, cid, body }).catch(() => ({}));
            return reply.type === 'sent' && reply;
        },
        TOLD_MS,
    );
}

test('an offline member of a direct conversation is told of, once, with the message', async () => {
    const alice = await attentive('alice');
    const body = { text: 'hello "bob" — ünïcode' };
    const sent = await alice.say({ to: 'bob' }, body);
    await receiver.tells(sent);
    await sleep(QUIET_MS);
    assert.deepEqual(receiver.of(sent.conv), [
        {
            type: 'message.offline',
            conv: sent.conv,
            seq: sent.seq,
            from: 'alice',
            ts: sent.ts,
            body,
            users: ['bob'],
        },
    ]);
    await alice.close();
});

test('in a group those who are online, or come within 2 s, are left out', async () => {
    const alice = await attentive('alice');
    const carol = await attentive('carol');
    await alice.must('create', { conv: 'g1', kind: 'group', members: ['bob', 'carol', 'dave'] });
    const sent = await alice.say({ conv: 'g1' }, 1);
    await sleep(1500);
    const dave = await attentive('dave');
    await receiver.tells(sent);
    await sleep(QUIET_MS);
    assert.deepEqual(
        receiver.of('g1').map((event) => event.users),
        [['bob']],
    );
    for (const peer of [alice, carol, dave]) await peer.close();
});

test('who never acknowledges is left out of what activity told him of in a large group', async () => {
    const alice = await attentive('alice');
    const resting = await Peer.join(cluster, 'resting');
    const crowd = range(1, 100).map((n) => `crowd-${n}`);
    const { conv } = await alice.must('create', { members: ['resting', ...crowd] });
    const large = await alice.say({ conv }, 2);
    assert.equal((await resting.next('activity')).conv, conv);
    await receiver.tells(large);
    await sleep(QUIET_MS);
    const users = receiver.of(conv).flatMap((event) => event.users);
    assert.deepEqual(users.sort(), crowd.sort());
    for (const peer of [alice, resting]) await peer.close();
});

test('who never acknowledges is left out where he reads, and told of where he does not', async () => {
    const alice = await attentive('alice');
    const reader = await Peer.join(cluster, 'reader');
    const frozen = await Peer.join(cluster, 'frozen');
    frozen.socket.pause();
    const { conv } = await alice.must('create', { members: ['reader', 'frozen', 'late'] });
    const first = await alice.say({ conv }, 1);
    await sleep(1500);
    const late = await Peer.join(cluster, 'late');
    const second = await alice.say({ conv }, 2);
    for (const message of [first, second]) await receiver.tells(message);
    await sleep(QUIET_MS);
    const users = receiver.of(conv).map((event) => event.users);
    assert.deepEqual(users, [['frozen'], ['frozen']]);
    frozen.socket.resume();
    for (const peer of [alice, reader, frozen, late]) await peer.close();
});

test('a message to people who are all online is told to nobody', async () => {
    const alice = await attentive('alice');
    const erin = await attentive('erin');
    const sent = await alice.say({ to: 'erin' }, 1);
    await erin.next((frame) => frame.type === 'message' && frame.conv === sent.conv);
    await sleep(QUIET_MS);
    assert.deepEqual(receiver.of(sent.conv), []);
    for (const peer of [alice, erin]) await peer.close();
});

test('a webhook that answers 500 gets it again, in order, and nothing twice', async () => {
    const alice = await attentive('alice');
    receiver.status = 500;
    const refused = receiver.refused;
    const sent = [];
    for (const body of range(1, 20)) sent.push(await alice.say({ to: 'frank' }, body));
    await until('it was refused', () => receiver.refused > refused, TOLD_MS);
    receiver.status = 200;
    await receiver.tells(sent.at(-1));
    await sleep(QUIET_MS);
    assert.deepEqual(
        receiver.of(sent[0].conv).map((event) => event.body),
        range(1, 20),
    );
    await alice.close();
});

test('a webhook that is down for a while misses nothing', async () => {
    const alice = await attentive('alice');
    await receiver.close();
    const sent = await alice.say({ to: 'gina' }, 1);
    await sleep(6000);
    const later = await alice.say({ to: 'gina' }, 2);
    await receiver.listen();
    await receiver.tells(later);
    assert.deepEqual(
        receiver.of(sent.conv).map((event) => event.body),
        [1, 2],
    );
    await alice.close();
});

test('what the router says of it and to whom holds no secret', async () => {
    for (const node of ['r1', 'r2', 'r3', 'g1']) {
        const pid = cluster.pid(node);
        assert.ok(!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(SECRET), node);
        assert.ok(!readFileSync(`${cluster.data}/${node}.log`, 'utf8').includes(SECRET), node);
    }
    const status = await run(['status', '--json', '--data', cluster.data]);
    assert.ok(!status.stdout.includes(SECRET));
});

test('kill -9 of a leading router: none is lost, and who came in time is not told of', async () => {
    const convs = range(1, 24).map((n) => `k${n}`); // Each router leads some.
    const alice = await attentive('alice');
    const carol = await attentive('carol');
    const silent = await Peer.join(cluster, 'silent'); // Reads, and acknowledges nothing.
    const sent = [];
    for (const conv of convs) {
        const members = ['bob', 'carol', 'dave', 'silent'];
        await alice.must('create', { conv, kind: 'group', members });
        sent.push(await say(alice, { conv }, 'before'));
    }
    const dave = await attentive('dave'); // In time.
    await sleep(1500);
    await cluster.kill('r1'); // Before anything is told, or in the midst of it.
    for (const conv of convs) sent.push(await say(alice, { conv }, 'meanwhile'));
    await until('r1 is back', () => cluster.pid('r1') !== null);
    await sleep(1000);
    await cluster.kill('r2');
    for (const conv of convs) sent.push(await say(alice, { conv }, 'after'));
    for (const message of sent) await receiver.tells(message);
    await sleep(QUIET_MS);
    for (const { conv, seq } of sent) {
        const users = receiver.of(conv, seq).flatMap((event) => event.users);
        assert.ok(users.length > 0, `${conv} ${seq} is lost`);
        assert.deepEqual([...new Set(users)], ['bob'], `${conv} ${seq}`);
    }
    const twice = receiver.told.filter((e) => convs.includes(e.conv)).length - sent.length;
    assert.ok(twice <= convs.length, `${twice} of ${sent.length} were told twice`);
    for (const peer of [alice, carol, dave, silent]) await peer.close();
});

test('a webhook without a secret, or that is no URL, is one sentence and exit code 2', async () => {
    const data = temporaryFolder();
    const bare = ['dev', '--data', data, '--webhook'];
    for (const args of [
        [...bare, 'http://127.0.0.1:1/hook'],
        [...bare, 'gopher://127.0.0.1/', '--webhook-secret', SECRET],
    ]) {
        const { code, stdout, stderr } = await run(args);
        assert.equal(code, 2);
        assert.equal(stdout, '');
        assert.match(stderr, /^chatmesh: .+\n$/);
        assert.ok(!stderr.includes(SECRET));
    }
});
