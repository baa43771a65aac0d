// load - who talks to whom during a run, and how it is brought to an end.
import { sleep, until } from '../integration/cluster.js';
import { Peer, range } from '../integration/peer.js';
import { Maker } from './makers.js';
import { Guest, Host, Lane, Person } from './people.js';

const GROUPS = 4;
const GROUP_SIZE = 4;
const MAKERS = 2;
const HEAL_MS = 30000; // After the last fault everything is acknowledged and delivered within.

export class Load {
    /**
     * @param {object} world cluster, book, random.
     * @param {object} options users, audience, rate (messages a second of all), patienceMs.
     */
    constructor(world, options) {
        Object.assign(this, world);
        Object.assign(this, options);
        this.names = range(1, options.users).map((n) => `user${n}`);
        this.listeners = range(1, options.audience).map((n) => `listener${n}`);
        this.convs = []; // {conv, where, members, speakers, guest}.
        this.people = new Map();
        this.lanes = [];
        this.hosts = [];
        this.makers = [];
        this.isOver = false;
    }

    async #group(title, members, guest) {
        const founder = await Peer.join(this.cluster, members[0]);
        const others = members.slice(1);
        const made = await founder.must('create', { kind: 'group', title, members: others });
        await founder.close();
        return { conv: made.conv, where: { conv: made.conv }, members, guest };
    }

    async #pair(a, b) {
        const peer = await Peer.join(this.cluster, a);
        const cid = `first-${a}`;
        const body = { first: a };
        const { conv } = await peer.must('send', { to: b, cid, body });
        this.book.invoke(cid, { conv, from: a, body });
        await peer.close();
        return { conv, where: null, members: [a, b] };
    }

    /** Of a direct conversation, either name: its own id, or the other user. */
    #whereOf({ conv, where, members }, name) {
        if (where !== null) return where;
        const other = members.find((member) => member !== name);
        return this.random.chance(0.5) ? { conv } : { to: other };
    }

    async start() {
        const { names, listeners, random, book } = this;
        for (const n of range(1, GROUPS)) {
            const members = random.shuffled(names).slice(0, GROUP_SIZE);
            const each = await this.#group(`group ${n}`, members, `guest${n}`);
            this.convs.push({ ...each, speakers: members });
        }
        for (let i = 0; i < names.length; i++) {
            const pair = [names[i], names[(i + 1) % names.length]];
            this.convs.push({ ...(await this.#pair(...pair)), speakers: pair });
        }
        if (listeners.length > 0) {
            const hall = await this.#group('hall', [...names, ...listeners]);
            this.convs.push({ ...hall, speakers: [names[0]] });
        }
        for (const { conv, members, guest } of this.convs)
            book.members.set(conv, new Set(guest === undefined ? members : [...members, guest]));
        for (const name of [...names, ...listeners]) this.people.set(name, new Person(this, name));
        for (const n of range(1, MAKERS)) {
            const person = new Person(this, `maker${n}`);
            this.people.set(person.name, person);
            this.makers.push(new Maker(person));
        }
        const speakers = this.convs.reduce((sum, each) => sum + each.speakers.length, 0);
        this.pauseMs = (speakers / this.rate) * 1000;
        for (const each of this.convs) this.#fill(each);
        this.lives = [...this.people.values()].map((person) => person.live());
        await until('everybody is online', () => [...this.people.values()]
            .every((person) => person.isOnline), HEAL_MS);
        this.runs = this.lanes.map((lane) => lane.run());
        this.visits = [...this.hosts, ...this.makers].map((each) => each.run());
        this.readings = this.#read();
    }

    #fill(each) {
        for (const name of each.speakers) {
            const person = this.people.get(name);
            const where = this.#whereOf(each, name);
            const others = each.speakers.filter((other) => other !== name);
            const lookers = others.map((other) => this.people.get(other));
            const { pauseMs, patienceMs } = this;
            const options = { pauseMs, patienceMs, others: lookers };
            this.lanes.push(new Lane(person, where, each.conv, options));
        }
        if (each.guest === undefined) return;
        const guest = new Guest(this, each.guest);
        this.people.set(each.guest, guest);
        this.hosts.push(new Host(this.people.get(each.members[0]), guest, each.conv));
    }

    async #read() {
        while (!this.isOver) {
            const { conv, speakers } = this.random.oneOf(this.convs);
            await this.people.get(this.random.oneOf(speakers)).readHead(conv);
            await sleep(this.random.between(20, 100));
        }
    }

    /** Every lane had an acknowledgement since then (C11). */
    async recovered(since) {
        const isBack = (lane) => (lane.acks.at(-1)?.at ?? 0) >= since;
        const deadline = since + HEAL_MS;
        while (performance.now() < deadline && !this.lanes.every(isBack)) await sleep(20);
        const left = this.lanes.filter((lane) => !isBack(lane));
        if (left.length > 0)
            this.book.fault('C11', `${left.length} of ${this.lanes.length} lanes, ` +
                `${left[0].person.name} in ${left[0].conv} among them, stand still`);
    }

    /** Nothing new is said; what was said must get through, to everybody (C11). */
    async settle() {
        const { book, lanes, hosts, makers, convs, people } = this;
        const calm = performance.now();
        for (const each of [...lanes, ...hosts, ...makers]) each.isClosed = true;
        const patience = setTimeout(() => {
            const left = lanes.flatMap((lane) => lane.sends);
            const first = JSON.stringify(left[0]);
            book.fault('C11', `${left.length} sends do not get through: ${first}`);
            for (const lane of lanes) lane.sends = [];
            for (const each of [...hosts, ...makers]) each.isGivenUp = true;
        }, HEAL_MS);
        await Promise.all([...this.runs, ...this.visits]);
        clearTimeout(patience);
        book.count('ms until all was acknowledged', Math.round(performance.now() - calm));
        const onMissing = (error) => book.fault('C6', error.message);
        await this.#everybodyHasAll(convs, people).catch(onMissing);
        book.count('ms until everybody had all', Math.round(performance.now() - calm));
        this.isOver = true;
        await this.readings;
    }

    async #everybodyHasAll(convs, people) {
        const has = ({ conv, members }) => members.every(
            (name) => people.get(name).cursors.get(conv) >= this.book.heads.get(conv),
        );
        await until('every device has everything', () => convs.every(has), HEAL_MS);
        await sleep(300); // Entries that nobody acknowledges: of members.
    }

    async stop() {
        for (const person of this.people.values()) person.leave();
        await Promise.all(this.lives);
    }
}
