// chaos - kill routers and gateways for minutes, then hold everything that was said against the
// log.
//
//     node chaos.js [--minutes 3] [--seed 1] [--users 6] [--keep]
//
// A program, not a test of the suite: it runs for as long as it is told. The seed draws the faults
// and the traffic; what the operating system makes of them differs from run to run.
//
// Happy path: users write to groups and to each other through both gateways, several messages on
// the wire at once, and repeat with the same cid whatever was not acknowledged. Meanwhile nodes die
// by SIGKILL, are stopped and go on, and connections break. Then everything heals, and all is
// checked: acknowledged means in the log, once, where it was said to be; the log has no hole and
// nothing that nobody sent; every device got every seq in order; order is that of real time.
//
// Exit codes: 0 all held, 1 something did not; the first violations are printed.
import { parseArgs } from 'node:util';

import WebSocket from 'ws';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

const { values: options } = parseArgs({
    options: {
        minutes: { type: 'string', default: '3' },
        seed: { type: 'string', default: '1' },
        users: { type: 'string', default: '6' },
        keep: { type: 'boolean', default: false },
    },
});
const GROUPS = 3;
const WINDOW = 4; // Sends of one user to one conversation on the wire at once.
const PAUSE_MS = 60; // Between two sends of one lane: load enough, and room for others.
const REPLY_MS = 12000; // A request is answered within 5 s, if only with `unavailable`.
const HEAL_MS = 30000;

/** A small generator with a seed (mulberry32): the faults of a run can be drawn again. */
function randomOf(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let x = Math.imul(state ^ (state >>> 15), state | 1);
        x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
        return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
    };
}
const random = randomOf(Number(options.seed));
const between = (least, most) => least + random() * (most - least);
const oneOf = (list) => list[Math.floor(random() * list.length)];

/** Everything that was seen, and what was wrong with it. */
const book = {
    violations: [],
    counts: {},
    entries: new Map(), // "conv seq" to what stands there, whoever said so.
    acked: new Map(), // cid to {conv, seq, ts, from, sentAt, ackedAt, transmissions}.
    invoked: new Map(), // cid to {conv, from, body}.
    heads: new Map(), // conv to the highest seq acknowledged so far.

    count(what, by = 1) {
        this.counts[what] = (this.counts[what] ?? 0) + by;
    },
    fault(check, what) {
        this.violations.push(`${check}: ${what}`);
        if (this.violations.length <= 20) console.error(`VIOLATION ${check}: ${what}`);
    },
    /** One (conv, seq) is one entry for ever. */
    see(entry, where) {
        const key = `${entry.conv} ${entry.seq}`;
        const text = JSON.stringify([entry.type, entry.from, entry.cid, entry.body, entry.ts]);
        const known = this.entries.get(key);
        if (known === undefined) this.entries.set(key, text);
        else if (known !== text) this.fault('C3', `${key} in ${where}: ${text}, before ${known}`);
        this.count('entries seen');
    },
};

/** A user with one device: reads everything, writes to every conversation of its own. */
class Person {
    constructor(cluster, name) {
        this.cluster = cluster;
        this.name = name;
        this.cursors = new Map();
        this.lanes = [];
        this.waiting = new Map(); // Request id to what to do with its reply.
        this.nextId = 1;
        this.isStopped = false;
        this.socket = null;
        this.isOnline = false;
    }

    /** Dial until told to stop; another gateway at each attempt. */
    async live() {
        let gateway = 1 + Math.floor(random() * 2);
        while (!this.isStopped) {
            gateway = 3 - gateway;
            await this.#connection(gateway);
            if (!this.isStopped) await sleep(between(20, 300));
        }
    }

    #connection(gateway) {
        const token = this.cluster.forge({
            sub: this.name,
            exp: Math.floor(Date.now() / 1000) + 7200,
        });
        const socket = new WebSocket(this.cluster.ws(gateway), { perMessageDeflate: false });
        this.socket = socket;
        this.positions = new Map(this.cursors); // What this connection has been sent so far.
        socket.on('error', () => {}); // `close` follows.
        socket.on('open', () => {
            const resume = Object.fromEntries(this.cursors);
            const connect = { type: 'connect', token, device: 'd', resume, epoch: this.epoch };
            socket.send(JSON.stringify(connect));
        });
        socket.on('message', (data) => this.#onFrame(socket, JSON.parse(String(data))));
        return new Promise((resolve) => {
            socket.on('close', (code) => {
                book.count(`close ${code}`);
                this.isOnline = false;
                for (const reply of this.waiting.values()) reply(null);
                this.waiting.clear();
                resolve();
            });
        });
    }

    #onFrame(socket, frame) {
        if (socket !== this.socket) return;
        if (frame.type === 'welcome') {
            this.epoch = frame.epoch;
            this.isOnline = true;
            book.count('connections');
        } else if (frame.type === 'reset') {
            book.fault('epoch', `${this.name} was told to reset`);
        } else if (frame.type === 'gap') {
            this.#onGap(frame);
        } else if (frame.id !== undefined && this.waiting.has(frame.id)) {
            this.waiting.get(frame.id)(frame);
            this.waiting.delete(frame.id);
        } else if (frame.seq !== undefined && frame.from !== undefined) {
            this.#onEntry(frame);
        } else if (frame.type === 'error' && frame.id === undefined) {
            book.fault('protocol', `${this.name}: ${JSON.stringify(frame)}`);
        }
    }

    #onEntry(entry) {
        const at = this.positions.get(entry.conv) ?? 0;
        if (entry.seq !== at + 1)
            book.fault('C6', `${this.name} got ${entry.conv} ${entry.seq} after ${at}`);
        this.positions.set(entry.conv, Math.max(at, entry.seq));
        this.cursors.set(entry.conv, Math.max(this.cursors.get(entry.conv) ?? 0, entry.seq));
        book.see(entry, `delivery to ${this.name}`);
        if (entry.seq % 7 === 0)
            this.socket.send(JSON.stringify({ type: 'ack', conv: entry.conv, seq: entry.seq }));
    }

    /** A gap is a hole that is announced: its entries are read from the log at the end. */
    #onGap(gap) {
        const at = this.positions.get(gap.conv) ?? 0;
        if (gap.from !== at + 1 || gap.trimmed)
            book.fault('C6', `${this.name} after ${at}: ${JSON.stringify(gap)}`);
        this.positions.set(gap.conv, gap.to);
        this.cursors.set(gap.conv, gap.to);
        book.count('gaps');
    }

    /** A request; null where no reply came. */
    ask(frame) {
        if (!this.isOnline) return Promise.resolve(null);
        const id = this.nextId++;
        const socket = this.socket;
        return new Promise((resolve) => {
            const patience = setTimeout(() => {
                if (!this.waiting.delete(id)) return;
                book.fault('C11', `${this.name}: no reply to ${JSON.stringify(frame)}`);
                socket.terminate();
                resolve(null);
            }, REPLY_MS);
            this.waiting.set(id, (reply) => {
                clearTimeout(patience);
                resolve(reply);
            });
            socket.send(JSON.stringify({ ...frame, id }));
        });
    }

    /** What the log's head is must be known the moment something is acknowledged. */
    async readHead(conv) {
        const least = book.heads.get(conv) ?? 0;
        const page = await this.ask({ type: 'history', conv, limit: 5 });
        if (page === null || page.type === 'error') return;
        book.count('reads');
        for (const entry of page.entries) book.see({ ...entry, conv }, 'a read');
        if (page.head < least) book.fault('C9', `${conv}: head ${page.head} after ${least}`);
    }
}

let transmissions = 0;

/** One user's messages to one conversation, in order. */
class Lane {
    constructor(person, where, conv) {
        this.person = person;
        this.where = where;
        this.conv = conv;
        this.sends = []; // Not acknowledged yet, oldest first.
        this.next = 1;
        this.isClosed = false;
    }

    async run() {
        while (!this.isClosed || this.sends.length > 0) {
            if (!this.isClosed && this.sends.length < WINDOW) this.#invent();
            if (this.person.isOnline) for (const send of this.sends) void this.#transmit(send);
            await sleep(this.isClosed ? 100 : PAUSE_MS * between(0.5, 1.5));
        }
    }

    #invent() {
        const cid = `${this.person.name}/${this.conv}/${this.next++}`.slice(-64);
        const size = random() < 0.05 ? Math.floor(between(1000, 20000)) : 20;
        const body = { n: this.next, pad: 'x'.repeat(size) };
        book.invoked.set(cid, { conv: this.conv, from: this.person.name, body });
        this.sends.push({ cid, body, isFlying: false, notBefore: 0, first: 0, last: 0 });
        book.count('messages');
    }

    async #transmit(send) {
        if (send.isFlying || Date.now() < send.notBefore) return;
        send.isFlying = true;
        send.last = ++transmissions;
        if (send.first === 0) {
            send.first = send.last;
            send.sentAt = performance.now();
        } else {
            book.count('repeats');
        }
        const { cid, body } = send;
        const reply = await this.person.ask({ type: 'send', ...this.where, cid, body });
        send.isFlying = false;
        if (reply?.type === 'sent') this.#onSent(send, reply);
        else if (reply !== null) this.#onRefused(send, reply);
    }

    #onSent(send, reply) {
        const { conv, seq, ts } = reply;
        this.sends.splice(this.sends.indexOf(send), 1);
        if (conv !== this.conv) book.fault('protocol', `sent to ${conv} instead of ${this.conv}`);
        if (reply.dup) book.count('found already there');
        book.count('acknowledged');
        book.heads.set(conv, Math.max(book.heads.get(conv) ?? 0, seq));
        const { cid, first, last, sentAt } = send;
        const person = this.person.name;
        book.acked.set(cid, { cid, conv, seq, ts, person, first, last, sentAt, at: performance.now() });
    }

    #onRefused(send, reply) {
        book.count(`refused ${reply.code}`);
        if (reply.code !== 'unavailable')
            book.fault('protocol', `${send.cid}: ${JSON.stringify(reply)}`);
        else if (!(reply.retry_after_ms > 0))
            book.fault('protocol', `no retry_after_ms: ${JSON.stringify(reply)}`);
        send.notBefore = Date.now() + Math.min(reply.retry_after_ms ?? 1000, 1000);
    }
}

/* ---- Faults ---- */

const downs = []; // How long nothing was acknowledged after a kill of the router.

async function killRouter(cluster) {
    const pid = cluster.pid('r1');
    if (pid === null) return;
    process.kill(pid, 'SIGKILL');
    book.count('router kills');
    const begun = performance.now();
    const acked = book.acked.size;
    await until('the router runs again', () => (cluster.pid('r1') ?? pid) !== pid, 15000);
    void until('something is acknowledged', () => book.acked.size > acked, HEAL_MS).then(
        () => downs.push(performance.now() - begun),
        (error) => book.fault('C11', error.message),
    );
}

async function killGateway(cluster) {
    const node = oneOf(['g1', 'g2']);
    const pid = cluster.pid(node);
    if (pid === null) return;
    process.kill(pid, 'SIGKILL');
    book.count('gateway kills');
}

async function pause(cluster, node, ms) {
    const pid = cluster.pid(node);
    if (pid === null) return;
    process.kill(pid, 'SIGSTOP');
    await sleep(ms);
    try {
        process.kill(pid, 'SIGCONT');
        book.count(`pauses of ${node[0] === 'r' ? 'the router' : 'a gateway'}`);
    } catch {
        // It was killed while it stood still.
    }
}

async function rage(cluster, people, untilMs) {
    while (Date.now() < untilMs) {
        await sleep(between(300, 3000));
        const dice = random();
        if (dice < 0.55) await killRouter(cluster);
        else if (dice < 0.85) await killGateway(cluster);
        else if (dice < 0.9) await pause(cluster, 'r1', between(100, 1500));
        else if (dice < 0.93) await pause(cluster, oneOf(['g1', 'g2']), between(100, 3000));
        else oneOf(people).socket?.terminate();
    }
}

/* ---- Checks at the end ---- */

/** C1 to C5: the log against what was said and acknowledged. */
function checkLog(conv, entries) {
    const places = new Map();
    entries.forEach((entry, i) => {
        if (entry.seq !== i + 1) book.fault('C4', `${conv}: ${entry.seq} at place ${i + 1}`);
        book.see({ ...entry, conv }, 'the log');
        if (entry.type !== 'message') return;
        if (places.has(entry.cid)) book.fault('C2', `${conv}: ${entry.cid} twice`);
        places.set(entry.cid, entry);
        const said = book.invoked.get(entry.cid);
        if (JSON.stringify(said?.body) !== JSON.stringify(entry.body) || said.from !== entry.from)
            book.fault('C5', `${conv} ${entry.seq}: ${entry.cid} of ${entry.from}`);
        book.count('log entries checked');
    });
    for (let i = 1; i < entries.length; i++)
        if (entries[i].ts < entries[i - 1].ts) book.fault('ts', `${conv} ${i + 1} goes back`);
    for (const ack of book.acked.values()) {
        if (ack.conv !== conv) continue;
        const entry = places.get(ack.cid);
        if (entry?.seq !== ack.seq || entry.ts !== ack.ts)
            book.fault('C1', `${JSON.stringify(ack)}, in the log ${JSON.stringify(entry)}`);
    }
    return places.size;
}

/** C7: what was acknowledged before another was sent stands before it. */
function checkRealTime(conv) {
    const acks = [...book.acked.values()].filter((ack) => ack.conv === conv);
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
function checkOrder(conv, name) {
    const acks = [...book.acked.values()]
        .filter((ack) => ack.conv === conv && ack.person === name)
        .sort((a, b) => a.first - b.first);
    let highest = { seq: 0, last: 0 };
    for (const ack of acks) {
        if (ack.seq < highest.seq) {
            book.count('overtaken by a later send');
            if (highest.last < ack.first)
                book.fault('C8', `${conv}: ${ack.cid} stands before ${highest.cid}`);
        } else {
            highest = ack;
        }
    }
}

/** C2: what is asked again on the other gateway has the first answer. */
async function checkRepeats(peer, acks) {
    for (const ack of acks) {
        const { body } = book.invoked.get(ack.cid);
        const sent = await peer.must('send', { conv: ack.conv, cid: ack.cid, body });
        book.count('answers asked again');
        if (sent.seq !== ack.seq || sent.ts !== ack.ts || sent.dup !== true)
            book.fault('C2', `${JSON.stringify(sent)} instead of ${JSON.stringify(ack)}`);
    }
}

async function checkAll(cluster, people, convs) {
    for (const { conv, members } of convs) {
        const logs = [];
        for (const gateway of [1, 2]) {
            const reader = await Peer.join(cluster, members[0], { gateway });
            logs.push(await reader.log(conv));
            await reader.close();
        }
        const count = checkLog(conv, logs[0]);
        if (JSON.stringify(logs[0]) !== JSON.stringify(logs[1]))
            book.fault('C3', `${conv} reads otherwise on the other gateway`);
        if (count < 1) book.fault('C1', `${conv} is empty`);
        checkRealTime(conv);
        for (const name of members) {
            checkOrder(conv, name);
            const person = people.find((one) => one.name === name);
            if (person.cursors.get(conv) !== logs[0].length)
                book.fault('C6', `${name} has ${person.cursors.get(conv)} of ${logs[0].length}`);
        }
    }
    const acks = [...book.acked.values()];
    for (const person of people) {
        const peer = await Peer.join(cluster, person.name, { gateway: 2 });
        const mine = acks.filter((ack) => ack.person === person.name);
        await checkRepeats(peer, [...mine.slice(0, 20), ...mine.slice(-20)]);
        await peer.close();
    }
}

/* ---- The run ---- */

/** The conversations: a few of everybody, and one of each two neighbours. */
async function begin(cluster, names) {
    const convs = [];
    const founder = await Peer.join(cluster, names[0]);
    for (const n of range(1, GROUPS)) {
        const { conv } = await founder.must('create', {
            kind: 'group',
            title: `group ${n}`,
            members: names.slice(1),
        });
        convs.push({ conv, where: { conv }, members: names });
    }
    await founder.close();
    for (let i = 0; i + 1 < names.length; i += 2) {
        const peer = await Peer.join(cluster, names[i]);
        const cid = `first-${i}`;
        const body = { first: i };
        const { conv } = await peer.must('send', { to: names[i + 1], cid, body });
        book.invoked.set(cid, { conv, from: names[i], body });
        convs.push({ conv, where: null, members: [names[i], names[i + 1]] });
        await peer.close();
    }
    return convs;
}

/** Of a direct conversation, either name: its own id, or the other user. */
function whereOf({ conv, where, members }, name) {
    return where ?? (random() < 0.5 ? { conv } : { to: members.find((other) => other !== name) });
}

function report(begunMs) {
    downs.sort((a, b) => a - b);
    const at = (share) => Math.round(downs[Math.floor((downs.length - 1) * share)] ?? 0);
    console.log(`${Math.round((Date.now() - begunMs) / 1000)} s, seed ${options.seed}`);
    for (const [what, count] of Object.entries(book.counts)) console.log(`  ${what}: ${count}`);
    console.log(`  first acknowledgement after a kill of the router: median ${at(0.5)} ms, ` +
        `worst ${at(1)} ms`);
    console.log(book.violations.length === 0 ? 'held' : `${book.violations.length} VIOLATIONS`);
}

async function main() {
    const begunMs = Date.now();
    const cluster = await Cluster.start({ args: ['--no-limits', '--respawn'] });
    const names = range(1, Number(options.users)).map((n) => `user${n}`);
    const convs = await begin(cluster, names);
    const people = names.map((name) => new Person(cluster, name));
    const lives = people.map((person) => person.live());
    const lanes = convs.flatMap((each) =>
        each.members.map((name) => {
            const person = people.find((one) => one.name === name);
            return new Lane(person, whereOf(each, name), each.conv);
        }),
    );
    const runs = lanes.map((lane) => lane.run());
    let isOver = false;
    const readings = (async () => {
        while (!isOver) {
            await oneOf(people).readHead(oneOf(convs).conv);
            await sleep(between(20, 100));
        }
    })();

    await rage(cluster, people, begunMs + Number(options.minutes) * 60000);
    const calmMs = Date.now();
    for (const lane of lanes) lane.isClosed = true;
    const patience = setTimeout(() => {
        const left = lanes.flatMap((lane) => lane.sends);
        book.fault('C11', `${left.length} sends do not get through: ${JSON.stringify(left[0])}`);
        for (const lane of lanes) lane.sends = [];
    }, HEAL_MS);
    await Promise.all(runs);
    clearTimeout(patience);
    book.count('ms until all was acknowledged', Date.now() - calmMs);
    const headOf = (conv) => book.heads.get(conv);
    await until(
        'every device has everything',
        () => convs.every(({ conv, members }) => people.every((person) =>
            !members.includes(person.name) || person.cursors.get(conv) >= headOf(conv))),
        HEAL_MS,
    ).catch((error) => book.fault('C6', error.message));
    book.count('ms until every device had all', Date.now() - calmMs);
    isOver = true;
    await readings;
    await checkAll(cluster, people, convs);
    for (const person of people) {
        person.isStopped = true;
        person.socket.close();
    }
    await Promise.all(lives);
    await cluster.stop({ keep: options.keep || book.violations.length > 0 });
    if (options.keep || book.violations.length > 0) console.log(`data kept in ${cluster.data}`);
    report(begunMs);
    process.exit(book.violations.length === 0 ? 0 : 1);
}

await main();
