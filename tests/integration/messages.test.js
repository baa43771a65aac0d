// messages.test - sending, order, offline delivery, resume, history: one conversation at a time.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

/** Names nobody has used yet, so that the tests do not see each other. */
const names = (...stems) => {
    count++;
    return stems.map((stem) => `${stem}${count}`);
};

/** Wait until `user` has this conversation in his list: it comes there a moment after it is made. */
async function listedFor(user, conv) {
    const peer = await Peer.join(cluster, user, { device: 'looker' });
    await until(`${user} has ${conv}`, async () => {
        const { conversations } = await peer.must('conversations');
        return conversations.some((item) => item.conv === conv);
    });
    await peer.close();
}

test('two clients on different gateways chat in both directions', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const sent = await a.say({ to: bob }, { text: 'hi' }, 'one');
    const got = await b.next('message');
    assert.deepEqual(
        [got.conv, got.seq, got.from, got.cid, got.body, got.ts],
        [sent.conv, sent.seq, alice, 'one', { text: 'hi' }, sent.ts],
    );
    const answer = await b.say({ conv: sent.conv }, { text: 'hello' });
    assert.equal(answer.seq, sent.seq + 1);
    const back = await a.next((frame) => frame.type === 'message' && frame.from === bob);
    assert.equal(back.seq, answer.seq);
    await Promise.all([a.close(), b.close()]);
});

test('two who begin their direct conversation at once, in every way, are all answered', async () => {
    for (let n = 0; n < 10; n++) {
        const [alice, bob] = names('alice', 'bob');
        const a = await Peer.join(cluster, alice);
        const b = await Peer.join(cluster, bob, { gateway: 2 });
        const answers = await Promise.all([
            a.must('send', { to: bob, cid: '1', body: 1 }),
            b.must('send', { to: alice, cid: '1', body: 1 }),
            a.must('create', { kind: 'direct', members: [bob] }),
            b.must('create', { kind: 'direct', members: [alice], body: 2 }),
        ]);
        assert.equal(new Set(answers.map(({ conv }) => conv)).size, 1);
        await Promise.all([a.close(), b.close()]);
    }
});

test('a direct conversation has one id, whoever starts it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const [one, two] = await Promise.all([a.say({ to: bob }, 1), b.say({ to: alice }, 2)]);
    assert.equal(one.conv, two.conv);
    assert.notEqual(one.seq, two.seq);
    for (const [peer, members] of [[a, [bob]], [a, [alice, bob]], [b, [alice, bob, bob]]]) {
        const { conv } = await peer.must('create', { kind: 'direct', members });
        assert.equal(conv, one.conv);
    }
    await a.refused('bad_request', 'create', { kind: 'direct', members: [bob, 'eve'] });
    await Promise.all([a.close(), b.close()]);
});

test('a repeated cid gets the first answer again, with dup, and nothing new in the log', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const first = await a.say({ to: bob }, 'x', 'same');
    assert.equal(first.dup, undefined);
    const again = await a.say({ to: bob }, 'other text', 'same');
    const elsewhere = await Peer.join(cluster, alice, { gateway: 2 });
    const third = await elsewhere.say({ conv: first.conv }, 'x', 'same');
    for (const repeated of [again, third])
        assert.deepEqual([repeated.seq, repeated.ts, repeated.dup], [first.seq, first.ts, true]);
    const log = await a.log(first.conv);
    assert.equal(log.filter((entry) => entry.cid === 'same').length, 1);
    await Promise.all([a.close(), elsewhere.close()]);
});

test('the same cid of another sender is another message', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob);
    const first = await a.say({ to: bob }, 'x', 'same');
    const second = await b.say({ to: alice }, 'y', 'same');
    assert.equal(second.dup, undefined);
    assert.notEqual(second.seq, first.seq);
    await Promise.all([a.close(), b.close()]);
});

test('the order of 1,000 pipelined sends is kept', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    for (let n = 0; n < 1000; n++) a.send({ type: 'send', id: n, to: bob, cid: `c${n}`, body: n });
    await until(
        'bob has all',
        () => b.frames.filter((frame) => frame.type === 'message').length >= 1000,
        20000,
    );
    const got = b.frames.filter((frame) => frame.type === 'message');
    assert.deepEqual(
        got.map((frame) => frame.body),
        range(0, 999),
    );
    const seqs = got.map((frame) => frame.seq);
    assert.deepEqual(seqs, range(seqs[0], seqs[0] + 999));
    await until(
        'alice has all answers',
        () => a.frames.filter((frame) => frame.type === 'sent').length >= 1000,
    );
    const sent = a.frames.filter((frame) => frame.type === 'sent').sort((x, y) => x.id - y.id);
    assert.deepEqual(
        sent.map((frame) => frame.seq),
        seqs,
    );
    await Promise.all([a.close(), b.close()]);
});

test('ts never decreases within a conversation', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let conv;
    for (let n = 0; n < 20; n++) ({ conv } = await a.say({ to: bob }, n));
    const stamps = (await a.log(conv)).map((entry) => entry.ts);
    assert.deepEqual(
        stamps,
        [...stamps].sort((x, y) => x - y),
    );
    await a.close();
});

test('messages sent while someone was away arrive on connect, in order', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let conv;
    for (let n = 0; n < 30; n++) ({ conv } = await a.say({ to: bob }, n));
    await listedFor(bob, conv);
    const b = await Peer.join(cluster, bob, { gateway: 2, device: 'phone' });
    const bodies = b.frames.filter((frame) => frame.type === 'message').map((frame) => frame.body);
    assert.deepEqual(bodies, range(0, 29));
    assert.ok(b.resumed.missed >= 30);
    await Promise.all([a.close(), b.close()]);
});

test('a resume map brings exactly what follows it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let conv;
    for (let n = 0; n < 10; n++) ({ conv } = await a.say({ to: bob }, n));
    const log = await a.log(conv);
    const from = log.at(-5).seq;
    await listedFor(bob, conv);
    const b = await Peer.join(cluster, bob, { resume: { [conv]: from } });
    assert.deepEqual(b.seqs(conv), range(from + 1, log.at(-1).seq));
    assert.equal(b.resumed.missed, 4);
    await Promise.all([a.close(), b.close()]);
});

test('without a resume map the server continues after what the device has acknowledged', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob, { device: 'phone' });
    let conv;
    const seqs = [];
    for (let n = 0; n < 6; n++) {
        const sent = await a.say({ to: bob }, n);
        conv = sent.conv;
        seqs.push(sent.seq);
    }
    await until('bob has all', () => b.seqs(conv).includes(seqs[5]));
    await b.must('ack', { conv, seq: seqs[2] });
    await sleep(1500); // The cursor goes out at most once a second.
    await b.vanish();
    const again = await Peer.join(cluster, bob, { gateway: 2, device: 'phone' });
    assert.deepEqual(again.seqs(conv), range(seqs[2] + 1, seqs[5]));
    const other = await Peer.join(cluster, bob, { gateway: 2, device: 'tablet' });
    assert.ok(other.seqs(conv).includes(seqs[0]), 'another device has a cursor of its own');
    await Promise.all([a.close(), again.close(), other.close()]);
});

test('a token in the request needs no connect frame', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    await a.say({ to: bob }, 'waiting');
    const b = await Peer.open(cluster.ws(2), {
        query: { token: await cluster.token(bob), device: 'd' },
    });
    const welcome = await b.next('welcome');
    assert.deepEqual([welcome.user, welcome.device, welcome.gateway], [bob, 'd', 'g2']);
    assert.equal((await b.next('message')).body, 'waiting');
    await Promise.all([a.close(), b.close()]);
});

test('a resume with another epoch is answered reset and starts from nothing', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const { conv } = await a.say({ to: bob }, 'x');
    await listedFor(bob, conv);
    const b = await Peer.join(cluster, bob, { resume: { [conv]: 1000 }, epoch: 'another' });
    assert.ok(b.frames.some((frame) => frame.type === 'reset'));
    assert.equal(b.frames.filter((frame) => frame.type === 'message').length, 1);
    await Promise.all([a.close(), b.close()]);
});

test('more than 1,000 missed is announced as a gap, then the newest come, and history pages the gap', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const { conv } = await a.must('create', { kind: 'group', members: [bob], title: 't' });
    const head = (await a.log(conv)).at(-1).seq;
    await a.flood({ conv }, 0, 2499);
    await listedFor(bob, conv);
    const b = await Peer.join(cluster, bob, { resume: { [conv]: head } });
    const gap = b.frames.find((frame) => frame.type === 'gap');
    assert.deepEqual(
        [gap.conv, gap.from, gap.to, gap.head],
        [conv, head + 1, head + 1500, head + 2500],
    );
    assert.deepEqual(b.seqs(conv), range(head + 1501, head + 2500));
    assert.ok(b.frames.indexOf(gap) < b.frames.findIndex((frame) => frame.seq === head + 1501));
    const paged = [];
    while ((paged.at(-1)?.seq ?? head) < gap.to)
        paged.push(
            ...(await b.must('history', { conv, after: paged.at(-1)?.seq ?? head, limit: 500 }))
                .entries,
        );
    assert.deepEqual(
        paged.map((entry) => entry.body),
        range(0, paged.length - 1),
    );
    await Promise.all([a.close(), b.close()]);
});

test('history pages forwards with after and backwards with before', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let conv;
    for (let n = 0; n < 20; n++) ({ conv } = await a.say({ to: bob }, n));
    const head = (await a.log(conv)).at(-1).seq;
    const seqs = async (fields) => {
        const page = await a.must('history', { conv, ...fields });
        assert.equal(page.head, head);
        return [page.entries.map((entry) => entry.seq), page.more];
    };
    assert.deepEqual(await seqs({ after: 0, limit: 5 }), [range(1, 5), true]);
    assert.deepEqual(await seqs({ after: head - 3, limit: 5 }), [range(head - 2, head), false]);
    assert.deepEqual(await seqs({ after: head, limit: 5 }), [[], false]);
    assert.deepEqual(await seqs({ before: head, limit: 4 }), [range(head - 4, head - 1), true]);
    assert.deepEqual(await seqs({ before: 4, limit: 10 }), [range(1, 3), false]);
    await a.refused('not_found', 'history', { conv: 'no-such-conversation' });
    await a.close();
});

/** JSON texts that a careless server would rewrite. */
const BODIES = [
    '{ "spaces" : [ 1 ,\t2 ] }',
    '12345678901234567890123',
    '1E+2',
    '-0.0',
    '0.10',
    '"\\u00e9\\ud83d\\ude00\\/"',
    '"cut \\ud83d"', // What JSON.stringify makes of half an emoji.
    '{"\\ude00":["\\udc00\\ud800"]}',
    '"é😀 \u2028 \u007f"',
    '{"a":1,"a":2}',
    '"\\u0000"',
    '[[[[]]]]',
    '""',
    'null',
    'false',
    '{"type":"message","seq":1}',
    '"</script>"',
    '1e400',
];

test('a body is stored and delivered byte for byte', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    for (const [n, body] of BODIES.entries())
        a.send(`{"type":"send","id":${n},"to":"${bob}","cid":"c${n}","body":${body}}`);
    await until(
        'bob has all',
        () => b.frames.filter((frame) => frame.type === 'message').length >= BODIES.length,
    );
    const texts = b.texts.filter((text) => text.includes('"type":"message"'));
    for (const [n, body] of BODIES.entries())
        assert.ok(texts[n].includes(`"body":${body}`), `${body} came as ${texts[n]}`);
    const { conv } = b.frames.find((frame) => frame.type === 'message');
    await b.must('history', { conv, after: 0, limit: 500 });
    for (const body of BODIES)
        assert.ok(b.texts.at(-1).includes(`"body":${body}`), `${body} is otherwise in history`);
    await Promise.all([a.close(), b.close()]);
});

const NOT_JSON = [
    '01',
    '1.',
    '.5',
    '+1',
    "'x'",
    '{a:1}',
    '{"a" 1}',
    '[1 2]',
    '[1,]',
    '{"a":1,}',
    'nul',
    'NaN',
    '"\\u12"',
    '"\\x"',
    '"\t"',
    '"\\ud80"',
    '"open',
    '[',
    '{',
    '',
    'undefined',
    '1 2',
    '// x\n1',
];

test('what is not JSON is never accepted', async () => {
    const [alice, bob] = names('alice', 'bob');
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    for (const [n, body] of NOT_JSON.entries()) {
        a.send(`{"type":"send","id":${n},"to":"${bob}","cid":"c${n}","body":${body}}`);
        assert.equal((await a.next('error')).code, 'bad_request', body);
        await a.must('ping'); // Ends the row: ten malformed ones would close.
    }
    await a.say({ to: bob }, 'the only one');
    assert.equal((await b.next('message')).body, 'the only one');
    await Promise.all([a.close(), b.close()]);
});

test('half a surrogate pair is refused in what is no body, with the id', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const { conv } = await a.must('create', { members: [bob], meta: { cut: '\ud83d' } });
    const requests = [
        ['send', { to: `${bob}\ud83d`, cid: 'x', body: 1 }],
        ['send', { to: bob, cid: 'x\ude00', body: 1 }],
        ['create', { members: [bob], title: '\ud83d' }],
        ['info', { conv, title: '\ud83d' }],
        ['react', { conv, seq: 1, emoji: '\ud83d' }],
        ['add', { conv, users: ['\ud83d'] }],
        ['members', { conv, after: '\ud83d' }],
    ];
    for (const [type, fields] of requests) await a.refused('bad_request', type, fields);
    const { conversations } = await a.must('conversations');
    assert.deepEqual(
        conversations.map((item) => [item.conv, item.meta]),
        [[conv, { cut: '\ud83d' }]],
    );
    await a.close();
});

test('a message of nearly 128 KiB passes', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const body = 'x'.repeat(130000);
    await a.say({ to: bob }, body);
    assert.equal((await b.next('message')).body, body);
    await Promise.all([a.close(), b.close()]);
});

test('reply_to is kept', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const { conv, seq } = await a.say({ to: bob }, 'question');
    await a.must('send', { conv, cid: 'r', body: 'answer', reply_to: seq });
    assert.equal((await a.log(conv)).at(-1).reply_to, seq);
    await a.close();
});

test('the conversation list shows unread, read, head and the last message, newest activity first', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const b = await Peer.join(cluster, bob);
    const a = await Peer.join(cluster, alice);
    const { conv: withBob } = await b.say({ to: alice }, 'one');
    const second = await b.say({ to: alice }, 'two');
    await sleep(5); // Activity is told in ms.
    const c = await Peer.join(cluster, carol);
    const { conv: withCarol } = await c.say({ to: alice }, 'three');
    const list = async () => (await a.must('conversations')).conversations;
    let items = [];
    await until('both are listed', async () => {
        items = await list();
        return items.length === 2;
    });
    assert.deepEqual(
        items.map((item) => item.conv),
        [withCarol, withBob],
    );
    const item = items[1];
    assert.deepEqual(
        [item.kind, item.title, item.peer, item.unread, item.head, item.members, item.last.body],
        ['direct', null, bob, 2, second.seq, 2, 'two'],
    );
    await a.must('read', { conv: withBob, seq: second.seq });
    await until('it is read', async () => {
        items = await list();
        return items[1].unread === 0 && items[1].read === second.seq;
    });
    await Promise.all([a.close(), b.close(), c.close()]);
});

test('delivered and read receipts reach the sender', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const { conv, seq } = await a.say({ to: bob }, 'x');
    await b.next('message');
    b.send({ type: 'ack', conv, seq });
    const delivered = await a.next((frame) => frame.type === 'receipt' && frame.user === bob);
    assert.deepEqual([delivered.conv, delivered.delivered], [conv, seq]);
    b.send({ type: 'read', conv, seq });
    const read = await a.next(
        (frame) => frame.type === 'receipt' && frame.user === bob && frame.read !== undefined,
    );
    assert.deepEqual([read.conv, read.read], [conv, seq]);
    await Promise.all([a.close(), b.close()]);
});

test('a cursor beyond the head or backwards changes nothing', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob);
    const { conv, seq } = await a.say({ to: bob }, 'x');
    await b.next('message');
    await b.must('read', { conv, seq });
    await b.ask('read', { conv, seq: 0 });
    await b.ask('read', { conv, seq: seq + 1000 });
    await sleep(1500);
    const [item] = (await b.must('conversations')).conversations;
    assert.equal(item.read, seq);
    const last = await a.say({ conv }, 'y');
    await until(
        'it is unread',
        async () => (await b.must('conversations')).conversations[0].unread === 1,
    );
    assert.equal(last.seq, seq + 1);
    await Promise.all([a.close(), b.close()]);
});

test('batch joins events into arrays, and only for a client that asked', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let conv;
    for (let n = 0; n < 50; n++) ({ conv } = await a.say({ to: bob }, n));
    await listedFor(bob, conv);
    const plain = await Peer.join(cluster, bob);
    assert.ok(plain.texts.every((text) => text.startsWith('{')));
    const batched = await Peer.join(cluster, bob, { batch: true });
    assert.ok(batched.texts.some((text) => text.startsWith('[')));
    assert.deepEqual(
        batched.frames.filter((frame) => frame.type === 'message').map((frame) => frame.body),
        range(0, 49),
    );
    await Promise.all([a.close(), plain.close(), batched.close()]);
});

test('every device of a user, the sender’s own too, gets every entry', async () => {
    const [alice, bob] = names('alice', 'bob');
    const phone = await Peer.join(cluster, alice, { gateway: 1 });
    const desk = await Peer.join(cluster, alice, { gateway: 2 });
    const sent = await phone.say({ to: bob }, 'x');
    assert.equal((await desk.next('message')).seq, sent.seq);
    assert.equal((await phone.next('message')).seq, sent.seq);
    await Promise.all([phone.close(), desk.close()]);
});
