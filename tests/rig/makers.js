// makers - people who found groups and have others erased, through all faults: what is asked for
// again and again is done once, and what is said to be done is.
import { sleep } from '../integration/cluster.js';

const AGAIN = 0.3; // Of creations: asked for once more, though answered.
const GROUPS = 4; // At most, for each who is to be erased.
const REST_MS = 200; // After a refusal.
const ERASE_MS = 25000; // A gateway says after 20 s that not all is done.

export class Maker {
    constructor(person) {
        this.person = person;
        this.book = person.book;
        this.random = person.random;
        this.made = []; // {cid, conv} of each creation that was answered.
        this.isClosed = false;
        this.isGivenUp = false;
    }

    async run() {
        for (let round = 1; !this.isClosed && !this.isGivenUp; round++) {
            const victim = `${this.person.name}-victim${round}`;
            const groups = [];
            for (let n = Math.ceil(this.random.between(0, GROUPS)); n > 0; n--)
                groups.push(await this.#create(`${victim}-${n}`, victim));
            if (await this.#erase(victim)) for (const conv of groups) await this.#look(conv, victim);
            await sleep(this.random.between(500, 2000));
        }
    }

    /** Ask until it is answered; null where nobody waits any more. */
    async #ask(frame) {
        while (!this.isGivenUp) {
            const reply = await this.person.ask(frame);
            if (reply?.type === 'error' && reply.code !== 'unavailable')
                this.book.fault('protocol', `${JSON.stringify(frame)}: ${JSON.stringify(reply)}`);
            if (reply !== null && reply.code !== 'unavailable') return reply;
            await sleep(REST_MS);
        }
        return null;
    }

    async #create(cid, victim) {
        const frame = { type: 'create', kind: 'group', cid, title: cid, members: [victim], body: cid };
        const conv = (await this.#ask(frame))?.conv;
        if (conv === undefined) return null;
        this.book.count('groups made');
        this.made.push({ cid, conv });
        if (!this.random.chance(AGAIN)) return conv;
        const again = await this.#ask(frame);
        if (again !== null && (again.conv !== conv || again.dup !== true))
            this.book.fault('C2', `${cid} made ${conv}, then ${JSON.stringify(again)}`);
        return conv;
    }

    /** He erases himself; through any gateway, until it says that it is done. */
    async #erase(user) {
        const headers = { Authorization: `Bearer ${await this.person.cluster.token(user)}` };
        while (!this.isGivenUp) {
            const gateway = 1 + Math.floor(this.random.next() * this.person.cluster.gateways);
            const url = `${this.person.cluster.http(gateway)}/v1/users/${user}`;
            const signal = AbortSignal.timeout(ERASE_MS);
            const status = await fetch(url, { method: 'DELETE', headers, signal }).then(
                (answer) => answer.status,
                () => null, // The gateway was killed, or nobody hears it.
            );
            if (status === 200) {
                this.book.count('users erased');
                return true;
            }
            if (status !== null && status !== 503)
                this.book.fault('protocol', `${user} is to be erased: ${status}`);
            await sleep(REST_MS);
        }
        return false;
    }

    /** The moment he is erased he is in no group any more (C12). */
    async #look(conv, victim) {
        if (conv === null) return;
        const reply = await this.#ask({ type: 'members', conv });
        if (reply?.members?.some(({ user }) => user === victim) === true)
            this.book.fault('C12', `${victim} was erased, and is a member of ${conv}`);
    }
}

/** What was made is there, once, with its one message; and nothing else was made (C1, C2). */
export async function checkMade(book, peer, { person, made }) {
    const listed = new Map(); // Title to conv.
    for (let after, more = true; more; ) {
        const page = await peer.must('conversations', { after, limit: 100 });
        for (const { conv, title } of page.conversations) {
            if (title?.startsWith(`${person.name}-`) !== true) continue;
            if (listed.has(title)) book.fault('C2', `${title}: ${listed.get(title)} and ${conv}`);
            listed.set(title, conv);
        }
        ({ more } = page);
        after = page.conversations.at(-1)?.conv;
    }
    for (const { cid, conv } of made) {
        if (listed.get(cid) !== conv) book.fault('C1', `${cid} made ${conv}: ${listed.get(cid)}`);
        const messages = (await peer.log(conv)).filter(({ type }) => type === 'message');
        if (messages.length !== 1 || messages[0].cid !== cid)
            book.fault('C2', `${conv}, made by ${cid}: ${JSON.stringify(messages)}`);
    }
}
