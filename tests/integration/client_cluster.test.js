// client_cluster.test - the JavaScript client against a real cluster: every method and event once,
// and what a lost gateway makes of them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import WebSocket from 'ws';

import { ChatmeshClient } from '../../gateway/web/client.js';
import { Cluster, sleep, until } from './cluster.js';

let cluster;
let nextUser = 1;
const clients = [];

before(async () => {
    cluster = await Cluster.start({ args: ['--no-limits', '--respawn', '--fanout-members', '3'] });
});
after(async () => {
    for (const client of clients) void client.close();
    await cluster?.stop();
});

/** A name nobody had before. */
const someone = (name) => `${name}-${nextUser++}`;

/** One device online; what its events bring is in `heard`. */
async function join(user, { gateways = [1], ...options } = {}) {
    const client = new ChatmeshClient({
        urls: gateways.map((i) => cluster.ws(i)),
        getToken: () => cluster.token(user),
        device: 'test',
        WebSocket,
        ...options,
    });
    clients.push(client);
    client.heard = [];
    for (const event of [
        ...['message', 'edit', 'delete', 'reaction', 'member', 'info', 'receipt', 'typing'],
        ...['presence', 'activity', 'conversation', 'gap', 'server_restart', 'sent', 'refused'],
        ...['state', 'resumed'],
    ])
        client.on(event, (value) => client.heard.push([event, value]));
    await client.connect();
    await hears(client, 'resumed');
    return client;
}

/** The first event of this name for which `matches` holds. */
function hears(client, event, matches = () => true, timeoutMs) {
    const find = () => client.heard.find(([name, value]) => name === event && matches(value))?.[1];
    return until(`${client.user}: ${event}`, find, timeoutMs);
}

/** Alice and Bob, each with a gateway, and their direct conversation. */
async function twoWhoTalk() {
    const [alice, bob] = [someone('alice'), someone('bob')];
    const [a, b] = [await join(alice), await join(bob, { gateways: [2] })];
    const { conv, seq } = await a.send({ to: bob }, 'hello');
    await hears(b, 'message');
    return { alice, bob, a, b, conv, seq };
}

test('edit, delete and react reach the other side, and history shows the text as it is now', async () => {
    const { alice, bob, a, b, conv, seq } = await twoWhoTalk();
    const second = await a.send(conv, 'second');
    const edited = await a.edit(conv, seq, 'hello!');
    await b.react(conv, seq, '👍');
    await a.delete(conv, second.seq);
    const edit = await hears(b, 'edit');
    assert.deepEqual(
        [edit.from, edit.target, edit.body, edit.seq],
        [alice, seq, 'hello!', edited.seq],
    );
    const reaction = await hears(a, 'reaction');
    assert.deepEqual(
        [reaction.from, reaction.target, reaction.emoji, reaction.on],
        [bob, seq, '👍', true],
    );
    assert.equal((await hears(b, 'delete')).target, second.seq);
    const { entries } = await b.history(conv);
    const [first, gone] = entries.filter(({ type }) => type === 'message');
    assert.equal(first.body, 'hello!');
    assert.equal(first.edited.seq, edited.seq);
    assert.deepEqual(first.reactions, [{ emoji: '👍', count: 1 }]);
    assert.deepEqual([gone.body, gone.deleted], [null, true]);
});

test('an edit of what is not ours rejects with forbidden, of what is not there with not_found', async () => {
    const { b, conv, seq } = await twoWhoTalk();
    await assert.rejects(b.edit(conv, seq, 'mine'), { code: 'forbidden' });
    await assert.rejects(b.edit(conv, 4711, 'x'), { code: 'not_found' });
    assert.equal((await hears(b, 'refused')).request, 'edit');
});

test('a reply says what it replies to', async () => {
    const { a, b, conv, seq } = await twoWhoTalk();
    await b.send(conv, 'yes', { replyTo: seq });
    assert.equal((await hears(a, 'message', ({ body }) => body === 'yes')).reply_to, seq);
});

test('sends, edits and reactions made while offline go out in order after the reconnect', async () => {
    const { a, b, conv, seq } = await twoWhoTalk();
    await a.close();
    const writes = [
        a.send(conv, 'one'),
        a.edit(conv, seq, 'hello, changed'),
        a.react(conv, seq, '🎉'),
        a.send(conv, 'two'),
    ];
    assert.deepEqual([a.pending.length, a.pendingChanges.length], [2, 2]);
    await a.connect();
    const seqs = (await Promise.all(writes)).map((sent) => sent.seq);
    assert.deepEqual(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2, seqs[0] + 3]);
    await hears(b, 'message', ({ body }) => body === 'two');
    assert.deepEqual([a.pending.length, a.pendingChanges.length], [0, 0]);
});

test('a message to one user goes from sent to delivered to read', async () => {
    const { a, b, conv, seq } = await twoWhoTalk();
    await until('delivered', () => a.statusOf(conv, seq).status === 'delivered');
    b.markRead(conv, seq);
    await until('read', () => a.statusOf(conv, seq).status === 'read');
    const { delivered, read, total } = await a.receipts(conv, seq);
    assert.deepEqual(
        [delivered, read].map((list) => list.map(({ user }) => user)),
        [[b.user], [b.user]],
    );
    assert.equal(total, 1);
});

test('a message to a group of more than ten is counted, and read once all have read it', async () => {
    const owner = await join(someone('owner'));
    const members = await Promise.all(
        Array.from({ length: 11 }, (_, n) => join(someone(`m${n}`), { gateways: [1 + (n % 2)] })),
    );
    const { conv } = await owner.create({ members: members.map(({ user }) => user) });
    // It is large here as well: counts, too, go to who has it open.
    await Promise.all([owner, ...members].map((member) => member.open(conv)));
    const { seq } = await owner.send(conv, 'all of you');
    for (const member of members) {
        await hears(member, 'message', (entry) => entry.seq === seq);
        member.markRead(conv, seq);
    }
    const tally = await hears(owner, 'receipt', ({ read_count }) => read_count === 11);
    assert.deepEqual([tally.seq, tally.delivered_count, tally.total], [seq, 11, 11]);
    assert.deepEqual(owner.statusOf(conv, seq), {
        status: 'read',
        delivered: 11,
        read: 11,
        total: 11,
    });
});

test('typing is told to the other side, also to one who opens the conversation, and ends with the message', async () => {
    const { alice, a, b, conv } = await twoWhoTalk();
    a.typing(conv);
    assert.deepEqual((await hears(b, 'typing')).on, true);
    assert.deepEqual(b.typists(conv), [alice]);
    const late = await join(b.user, { device: 'late' });
    await late.open(conv);
    await hears(late, 'typing', ({ user, on }) => user === alice && on);
    await a.send(conv, 'there');
    await hears(b, 'typing', ({ on }) => !on);
    assert.deepEqual(b.typists(conv), []);
});

test('typing that nobody ends is over after five seconds', async () => {
    const { a, b, conv } = await twoWhoTalk();
    a.typing(conv);
    await hears(b, 'typing', ({ on }) => on);
    await sleep(3000);
    assert.equal(b.typists(conv).length, 1);
    await hears(b, 'typing', ({ on }) => !on, 4000);
});

test('presence says who is online and how, and watch tells when it changes, until unwatch', async () => {
    const { alice, bob, a, b } = await twoWhoTalk();
    await b.watch([alice]);
    await hears(b, 'presence', ({ user, status }) => user === alice && status === 'online');
    await a.setStatus('busy');
    await hears(b, 'presence', ({ user, status }) => user === alice && status === 'busy');
    const nobody = someone('nobody');
    const list = await a.presence([bob, alice, nobody]);
    assert.deepEqual(
        list.map(({ user, status }) => [user, status]),
        [
            [bob, 'online'],
            [alice, 'busy'],
            [nobody, 'offline'],
        ],
    );
    await b.unwatch([alice]);
    b.heard.length = 0;
    await a.setStatus('away');
    await sleep(1500);
    assert.equal(b.heard.filter(([event]) => event === 'presence').length, 0);
});

test('who goes offline is told so, with when he was last seen', async () => {
    const { alice, a, b } = await twoWhoTalk();
    await b.watch([alice]);
    await a.close();
    const presence = await hears(b, 'presence', ({ status }) => status === 'offline', 15000);
    assert.ok(Math.abs(presence.last_seen - Date.now()) < 30000);
});

test('a large conversation tells of activity, streams once it is open, and stops with close', async () => {
    const owner = await join(someone('owner'));
    const names = Array.from({ length: 4 }, () => someone('m'));
    const reader = await join(names[0], { gateways: [2] });
    const { conv } = await owner.create({ members: names });
    await hears(reader, 'conversation', (value) => value.conv === conv);
    await owner.send(conv, 'one');
    await hears(reader, 'activity', (value) => value.conv === conv && value.unread === 1);
    await reader.open(conv);
    await hears(reader, 'message', ({ body }) => body === 'one');
    await owner.send(conv, 'two');
    await hears(reader, 'message', ({ body }) => body === 'two');
    await reader.close(conv);
    const three = await owner.send(conv, 'three');
    await hears(reader, 'activity', ({ head }) => head >= three.seq);
    assert.equal(reader.heard.filter(([, value]) => value.body === 'three').length, 0);
    await reader.open(conv);
    await hears(reader, 'message', ({ body }) => body === 'three');
    const seqs = reader.heard.filter(([event]) => event === 'message').map(([, { seq }]) => seq);
    assert.deepEqual(
        seqs,
        [...new Set(seqs)].sort((x, y) => x - y),
    );
});

test('groups: create with a first message, add, role, info, members, remove and leave', async () => {
    const [alice, bob, carol] = ['alice', 'bob', 'carol'].map(someone);
    const [a, b, c] = await Promise.all([alice, bob, carol].map((user) => join(user)));
    const { conv } = await a.create({ members: [bob], title: 'Plans', body: 'welcome' });
    await hears(b, 'message', ({ body }) => body === 'welcome');
    await a.add(conv, [carol]);
    await hears(c, 'conversation', (value) => value.conv === conv && !value.gone);
    await a.role(conv, bob, 'admin');
    await b.info(conv, { title: 'Better plans' });
    await hears(a, 'info', ({ title }) => title === 'Better plans');
    const { members, total } = await c.members(conv);
    assert.equal(total, 3);
    assert.deepEqual(
        new Map(members.map(({ user, role }) => [user, role])),
        new Map([
            [alice, 'owner'],
            [bob, 'admin'],
            [carol, 'member'],
        ]),
    );
    const { conversations } = await c.conversations();
    assert.deepEqual(
        conversations.map((item) => [item.conv, item.title, item.members]),
        [[conv, 'Better plans', 3]],
    );
    await b.remove(conv, [carol]);
    await hears(c, 'conversation', ({ gone }) => gone);
    await b.leave(conv);
    await hears(a, 'member', ({ user, change }) => user === bob && change === 'left');
    assert.equal(a.statusOf(conv, 1).total, 0);
});

test('a newcomer to a conversation with history from joining on sees nothing of before', async () => {
    const [bob, carol] = [someone('bob'), someone('carol')];
    const a = await join(someone('alice'));
    const c = await join(carol);
    const { conv } = await a.create({ members: [bob], history: 'joined', body: 'before' });
    await a.add(conv, [carol]);
    await a.send(conv, 'after');
    await hears(c, 'message', ({ body }) => body === 'after');
    const { entries } = await c.history(conv);
    assert.ok(entries.every(({ body }) => body !== 'before'));
});

test('what retention removed is told as a trimmed gap, and the rest is delivered', async () => {
    const bob = someone('bob');
    const a = await join(someone('alice'));
    const { conv } = await a.create({ members: [bob], retain_count: 5 });
    for (let n = 1; n <= 20; n++) await a.send(conv, n);
    await until(
        'the log is trimmed',
        async () => (await a.history(conv, { after: 0 })).entries[0].seq > 1,
        20000,
    );
    const b = await join(bob);
    const gap = await hears(b, 'gap');
    assert.equal(gap.trimmed, true);
    await hears(b, 'message', ({ body }) => body === 20);
    const first = b.heard.find(([event]) => event === 'message')[1];
    assert.equal(first.seq, gap.to + 1);
});

test('opens, watches and the status are asked for again after a killed gateway, and nothing is missed or doubled', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')];
    const a = await join(alice, { gateways: [1] });
    const b = await join(bob, { gateways: [2, 1] });
    const { conv } = await a.create({ members: [bob, someone('m'), someone('m'), someone('m')] });
    await hears(b, 'conversation');
    await b.open(conv);
    await b.watch([alice]);
    await b.setStatus('busy');
    await a.send(conv, 1);
    await hears(b, 'message', ({ body }) => body === 1);
    b.heard.length = 0;
    await cluster.kill('g2');
    await a.send(conv, 2);
    await hears(b, 'message', ({ body }) => body === 2, 20000);
    await hears(b, 'presence', ({ user }) => user === alice);
    await a.send(conv, 3);
    await hears(b, 'message', ({ body }) => body === 3);
    const bodies = b.heard.filter(([event]) => event === 'message').map(([, { body }]) => body);
    assert.deepEqual(bodies, [2, 3]);
    await until('busy again', async () => (await a.presence([bob]))[0].status === 'busy');
    await until('g2 is back', async () => (await cluster.health(2))?.status === 200, 20000);
});

test('a gateway killed under a stream of sends, edits and reactions loses none, doubles none and keeps their order', async () => {
    const a = await join(someone('alice'), { gateways: [2, 1] });
    const { conv, seq } = await a.send({ to: someone('bob') }, 'first');
    const writes = [];
    const expected = [];
    for (let n = 0; n < 60; n++) {
        writes.push(a.send(conv, n), a.edit(conv, seq, n), a.react(conv, seq, '👍', n % 2 === 0));
        expected.push(`message ${n}`, 'edit', `reaction ${n % 2 === 0}`);
        if (n === 30) await Promise.all([writes[30], cluster.kill('g2')]);
    }
    const seqs = (await Promise.all(writes)).map((sent) => sent.seq);
    assert.deepEqual(
        seqs,
        seqs.map((_, i) => seqs[0] + i),
    );
    const { entries } = await a.history(conv, { after: seq, limit: 500 });
    assert.deepEqual(
        entries.map(({ type, body, on }) => (type === 'edit' ? type : `${type} ${body ?? on}`)),
        expected,
    );
    const [first] = (await a.history(conv, { after: seq - 1, limit: 1 })).entries;
    assert.deepEqual([first.body, first.reactions], [59, undefined]);
    await until('g2 is back', async () => (await cluster.health(2))?.status === 200, 20000);
});

test('a gateway that drains tells so, and the client is on another one before long', async () => {
    const bob = someone('bob');
    const a = await join(someone('alice'), { gateways: [1] });
    const b = await join(bob, { gateways: [2, 1] });
    cluster.signal('g2', 'SIGTERM');
    const { reconnect_after_ms } = await hears(b, 'server_restart');
    assert.equal(typeof reconnect_after_ms, 'number');
    await hears(b, 'state', ({ state }) => state === 'waiting', reconnect_after_ms + 5000);
    await a.send({ to: bob }, 'still there?');
    await hears(b, 'message', ({ body }) => body === 'still there?', 20000);
    await until('g2 is back', async () => (await cluster.health(2))?.status === 200, 20000);
});

test('a newer connection of the same device ends the older with 4509, for good', async () => {
    const user = someone('alice');
    const first = await join(user);
    const second = await join(user);
    const { code } = await hears(first, 'state', ({ state }) => state === 'closed');
    assert.equal(code, 4509);
    await sleep(1500); // Neither drives the other out again.
    assert.deepEqual([first.state, second.state], ['closed', 'online']);
});

test('a device of thousands of conversations resumes, and close() while dialling is one', async () => {
    const points = Object.fromEntries(Array.from({ length: 20000 }, (_, n) => [`gone-${n}`, 1]));
    const items = new Map([['big.resume', JSON.stringify({ epoch: 'e', points })]]);
    const storage = {
        getItem: (key) => items.get(key) ?? null,
        setItem: (key, value) => items.set(key, value),
    };
    const client = await join(someone('alice'), { storage, storageKey: 'big' });
    assert.equal(client.state, 'online');
    client.close();
    const again = client.connect();
    await until('it dials', () => client.state === 'connecting');
    await sleep(0);
    client.close();
    await assert.rejects(again, { code: 'closed' });
    await sleep(300);
    assert.equal(client.state, 'closed');
    await client.connect();
});

test('a user logged out by the server stays out, with 4503, until connect()', async () => {
    const user = someone('alice');
    const client = await join(user);
    const response = await fetch(`${cluster.http()}/v1/users/${user}/disconnect`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${await cluster.token(user)}` },
    });
    assert.equal(response.status, 200);
    const { code } = await hears(client, 'state', ({ state }) => state === 'closed');
    assert.equal(code, 4503);
    await sleep(1500);
    assert.equal(client.state, 'closed');
    await client.connect();
    assert.equal(client.state, 'online');
});

test('the example of the five-minute guide runs, and is what the guide shows', async () => {
    const read = (path) => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8');
    assert.ok(read('../../gateway/web/README.md').includes(read('example.js')));
    const child = spawn(process.execPath, [fileURLToPath(new URL('example.js', import.meta.url))], {
        env: { ...process.env, CHAT_URL: cluster.http() },
        timeout: 20000,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
        stream.on('data', (data) => {
            output += data;
        });
    assert.equal(await new Promise((resolve) => child.once('close', resolve)), 0, output);
    // Her edit may be faster than he is.
    assert.match(output, /example-alice: (Hi|Hello) Bob/);
    assert.match(output, /changed message \d+: Hello Bob/);
    assert.match(output, /example-bob, to message \d+: Hello Alice/);
});
