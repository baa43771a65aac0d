// checks - the history of a run against the log that the cluster has at its end.
import { sleep } from '../integration/cluster.js';
import { Peer } from '../integration/peer.js';
import { checkMade } from './makers.js';
import { replicas } from './placement.js';

const REPEATS = 10; // Of each lane's first and last acknowledgements, asked again.
const CLOCK_MS = 50; // Timestamps against the rig's clock, on one machine.
const WHOLE_MS = 60000; // Every group has all its copies within, once all is calm;
const EQUAL_MS = 30000; // they are equal within.

const wallOf = (monotonic) => performance.timeOrigin + monotonic;

/** C1 to C5: the log against what was said and acknowledged. */
function checkLog(book, conv, entries) {
    const places = new Map();
    entries.forEach((entry, i) => {
        if (entry.seq !== i + 1) book.fault('C4', `${conv}: ${entry.seq} at place ${i + 1}`);
        if (i > 0 && entry.ts < entries[i - 1].ts) book.fault('ts', `${conv} ${i + 1} goes back`);
        book.see({ ...entry, conv }, 'the log');
        if (entry.type !== 'message') return;
        if (places.has(entry.cid)) book.fault('C2', `${conv}: ${entry.cid} twice`);
        places.set(entry.cid, entry);
        const said = book.invoked.get(entry.cid);
        if (JSON.stringify(said?.body) !== JSON.stringify(entry.body) || said.from !== entry.from)
            book.fault('C5', `${conv} ${entry.seq}: ${entry.cid} of ${entry.from}`);
        book.count('log entries checked');
    });
    if (places.size === 0) book.fault('C1', `${conv} is empty`);
    for (const ack of book.acked.values()) {
        if (ack.conv !== conv) continue;
        const entry = places.get(ack.cid);
        if (entry?.seq !== ack.seq || entry.ts !== ack.ts)
            book.fault('C1', `${JSON.stringify(ack)}, in the log ${JSON.stringify(entry)}`);
    }
}

/** C7: what was acknowledged before another was sent stands before it. */
function checkRealTime(book, conv, acks) {
    const bySend = [...acks].sort((a, b) => a.sentAt - b.sentAt);
    const byAck = [...acks].sort((a, b) => a.at - b.at);
    let highest = 0;
    let next = 0;
    for (const ack of bySend) {
        for (; next < byAck.length && byAck[next].at < ack.sentAt; next++)
            highest = Math.max(highest, byAck[next].seq);
        if (ack.seq < highest) book.fault('C7', `${conv}: ${ack.seq} was sent after ${highest}`);
    }
}

/** C8: of one sender's messages the log keeps the order in which they left, repeats included. */
function checkOrder(book, conv, acks) {
    let highest = { seq: 0, last: 0 };
    for (const ack of [...acks].sort((a, b) => a.first - b.first)) {
        if (ack.seq < highest.seq) {
            book.count('overtaken by a later send');
            if (highest.last < ack.first)
                book.fault('C8', `${conv}: ${ack.cid} stands before ${highest.cid}`);
        } else {
            highest = ack;
        }
    }
}

/** C12: a guest was shown only what lies before the end of a visit that had begun by then. */
function checkGuest(book, conv, entries, name) {
    const changes = entries.filter((entry) => entry.type === 'member' && entry.user === name);
    checkChanges(book, changes, book.visits.filter((v) => v.conv === conv && v.name === name));
    for (const { seq, at } of book.guests.filter((g) => g.conv === conv && g.name === name)) {
        // The first change from there on: a removal, so he was there; or a joining that showed it.
        const next = changes.find((change) => change.seq >= seq);
        const isShown = next === undefined
            ? changes.at(-1)?.change === 'joined'
            : next.change !== 'joined' || wallOf(at) + CLOCK_MS >= next.ts;
        book.count('guest deliveries checked');
        if (!isShown) book.fault('C12', `${name} was shown ${conv} ${seq} outside of his visits`);
    }
}

/** A change happens once, while it is being asked for: never after another has undone it. */
function checkChanges(book, changes, visits) {
    const left = [...visits];
    for (const { conv, seq, ts, change, user } of changes) {
        const at = left.findIndex((visit) =>
            (visit.change === 'add') === (change === 'joined') &&
            wallOf(visit.invokedAt) - CLOCK_MS <= ts && ts <= wallOf(visit.endedAt) + CLOCK_MS);
        if (at < 0)
            book.fault('C12', `${user} ${change} ${conv} at ${seq} when nobody asked for it`);
        else left.splice(at, 1);
    }
    for (const visit of left) book.fault('C1', `not in the log: ${JSON.stringify(visit)}`);
}

/** C2: what is asked again on another gateway has the first answer. */
async function checkRepeats(book, peer, acks) {
    for (const ack of acks) {
        const { body } = book.invoked.get(ack.cid);
        const sent = await peer.must('send', { conv: ack.conv, cid: ack.cid, body });
        book.count('answers asked again');
        if (sent.seq !== ack.seq || sent.ts !== ack.ts || sent.dup !== true)
            book.fault('C2', `${JSON.stringify(sent)} instead of ${JSON.stringify(ack)}`);
    }
}

/** C10: replicas that have applied the same have the same. */
async function checkReplicas(book, cluster) {
    const missing = await cluster.missing(WHOLE_MS);
    if (missing !== null) book.fault('C11', `not whole after ${WHOLE_MS} ms: ${missing}`);
    const deadline = performance.now() + EQUAL_MS;
    for (;;) {
        const groups = [...replicas(await cluster.status())];
        const behind = groups.filter(([, copies]) => distinct(copies, 'applied') > 1);
        if (groups.length > 0 && behind.length === 0) {
            for (const [group, copies] of groups) {
                const isKnown = copies.every(({ digest }) => /^[0-9a-f]{16}$/.test(digest));
                if (!isKnown || distinct(copies, 'digest') > 1)
                    book.fault('C10', `group ${group}: ${JSON.stringify(copies)}`);
                book.count('replicas compared', copies.length);
            }
            return;
        }
        if (performance.now() >= deadline) {
            book.fault('C11', `replicas do not catch up: ${JSON.stringify(behind)}`);
            return;
        }
        await sleep(500);
    }
}

const distinct = (list, member) => new Set(list.map((each) => each[member])).size;

export async function checkAll(book, cluster, { people, convs, makers }) {
    const acks = [...book.acked.values()];
    for (const { conv, members, guest } of convs) {
        const logs = [];
        for (let gateway = 1; gateway <= cluster.gateways; gateway++) {
            const reader = await Peer.join(cluster, members[0], { gateway });
            logs.push(await reader.log(conv));
            await reader.close();
            if (JSON.stringify(logs.at(-1)) !== JSON.stringify(logs[0]))
                book.fault('C3', `${conv} reads otherwise on g${gateway}`);
        }
        const mine = acks.filter((ack) => ack.conv === conv);
        checkLog(book, conv, logs[0]);
        checkRealTime(book, conv, mine);
        if (guest !== undefined) checkGuest(book, conv, logs[0], guest);
        for (const name of members) {
            checkOrder(book, conv, mine.filter((ack) => ack.person === name));
            const cursor = people.get(name)?.cursors.get(conv);
            if (cursor !== logs[0].length)
                book.fault('C6', `${name} has ${cursor} of ${logs[0].length} of ${conv}`);
        }
    }
    for (const name of people.keys()) {
        const mine = acks.filter((ack) => ack.person === name);
        if (mine.length === 0) continue;
        const peer = await Peer.join(cluster, name, { gateway: cluster.gateways });
        await checkRepeats(book, peer, [...mine.slice(0, REPEATS), ...mine.slice(-REPEATS)]);
        await peer.close();
    }
    for (const maker of makers) {
        const peer = await Peer.join(cluster, maker.person.name, { gateway: cluster.gateways });
        await checkMade(book, peer, maker);
        await peer.close();
    }
    await checkReplicas(book, cluster);
}
