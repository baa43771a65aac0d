// redelivery.test - what a client that acknowledges does not acknowledge is pushed again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

const WAIT_MS = 1000; // Instead of 30 s.
const TIMES = 5;

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start({ args: ['--no-limits', `--redeliver-ms=${WAIT_MS}`] });
});
after(async () => {
    await cluster?.stop();
});

/** Alice has said five things to bob, who has them. */
async function fiveSaid() {
    count++;
    const alice = await Peer.join(cluster, `alice${count}`);
    const bob = await Peer.join(cluster, `bob${count}`, { gateway: 2 });
    let sent;
    for (const n of range(1, 5)) sent = await alice.say({ to: bob.user }, n);
    const { conv, seq: head } = sent;
    await until('bob has them', () => bob.seqs(conv).at(-1) === head);
    return { alice, bob, conv, head };
}

const copies = (peer, conv, seq) => peer.seqs(conv).filter((one) => one === seq).length;
const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));

test('delivered but not acked: again from the ack cursor, five times, then 4008 and a resume', async () => {
    const { alice, bob, conv, head } = await fiveSaid();
    const since = Date.now();
    bob.send({ type: 'ack', conv, seq: head - 2 });
    const { code } = await bob.closed;
    assert.equal(code, 4008);
    assert.ok(Date.now() - since > TIMES * WAIT_MS);
    assert.equal(copies(bob, conv, head - 2), 1);
    assert.equal(copies(bob, conv, head - 1), 1 + TIMES);
    assert.equal(copies(bob, conv, head), 1 + TIMES);
    const back = await Peer.join(cluster, bob.user, { device: bob.device });
    assert.deepEqual(back.seqs(conv), [head - 1, head]); // From the server's own record.
    await closeAll(alice, back);
});

test('a client that never acks is left alone', async () => {
    const { alice, bob, conv, head } = await fiveSaid();
    await sleep(3 * WAIT_MS);
    assert.equal(copies(bob, conv, head), 1);
    assert.equal(bob.socket.readyState, bob.socket.OPEN);
    await closeAll(alice, bob);
});

test('what is acked, or read, in time is not pushed again', async () => {
    const { alice, bob, conv, head } = await fiveSaid();
    bob.send({ type: 'ack', conv, seq: head - 1 });
    await bob.must('read', { conv, seq: head });
    await sleep(3 * WAIT_MS);
    assert.equal(copies(bob, conv, head), 1);
    const { seq } = await alice.say({ conv }, 'again'); // Awaited like those before.
    await until('it comes again', () => copies(bob, conv, seq) === 2);
    bob.send({ type: 'ack', conv, seq });
    await sleep(2 * WAIT_MS);
    assert.equal(copies(bob, conv, seq), 2);
    await closeAll(alice, bob);
});
