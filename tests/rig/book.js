// book - the history of a run: everything that was said, acknowledged, seen and done to the
// cluster, with the time on one clock; and what was found wrong.
import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SHOWN = 20;

export class Book {
    constructor() {
        this.violations = [];
        this.counts = new Map();
        this.entries = new Map(); // "conv seq" to what stands there, whoever said so.
        this.acked = new Map(); // cid to the acknowledgement.
        this.invoked = new Map(); // cid to {conv, from, body}.
        this.heads = new Map(); // conv to the highest seq acknowledged so far.
        this.members = new Map(); // conv to the set of those who may ever see it.
        this.guests = []; // What a guest was shown: {name, conv, seq, at}.
        this.visits = []; // Of guests: {name, conv, change, invokedAt, endedAt}.
        this.faults = []; // {kind, what, begunAt, endedAt}.
        this.lanes = []; // Whose acknowledgements tell how long clients waited.
        this.begunAt = performance.now();
        this.isQuiet = false;
    }

    get seconds() {
        return (performance.now() - this.begunAt) / 1000;
    }

    count(what, by = 1) {
        this.counts.set(what, (this.counts.get(what) ?? 0) + by);
    }

    say(text) {
        if (!this.isQuiet) console.log(`${this.seconds.toFixed(1).padStart(7)} s  ${text}`);
    }

    fault(check, what) {
        this.violations.push(`${this.seconds.toFixed(3)} s ${check}: ${what}`);
        if (this.violations.length <= SHOWN) this.say(`VIOLATION ${check}: ${what}`);
    }

    /** One (conv, seq) is one entry for ever. */
    see(entry, where) {
        const key = `${entry.conv} ${entry.seq}`;
        const text = JSON.stringify([entry.type, entry.from, entry.cid, entry.body, entry.ts]);
        const known = this.entries.get(key);
        if (known === undefined) this.entries.set(key, text);
        else if (known !== text) this.fault('C3', `${key} in ${where}: ${text}, before ${known}`);
        this.count('entries seen');
    }

    invoke(cid, message) {
        this.invoked.set(cid, message);
        this.count('messages');
    }

    acknowledge(ack) {
        const known = this.acked.get(ack.cid);
        if (known !== undefined && (known.seq !== ack.seq || known.ts !== ack.ts))
            this.fault('C2', `${JSON.stringify(ack)} instead of ${JSON.stringify(known)}`);
        this.acked.set(ack.cid, ack);
        this.heads.set(ack.conv, Math.max(this.heads.get(ack.conv) ?? 0, ack.seq));
        this.count('acknowledged');
    }

    begin(kind, what) {
        const fault = { kind, what, begunAt: performance.now(), endedAt: null };
        this.faults.push(fault);
        return fault;
    }

    /** Write all of it down, a line an event. */
    async save(folder) {
        writeFileSync(join(folder, 'violations.txt'), `${this.violations.join('\n')}\n`);
        const out = createWriteStream(join(folder, 'history.jsonl'));
        const put = (event, value) => out.write(`${JSON.stringify({ event, ...value })}\n`);
        for (const fault of this.faults) put('fault', fault);
        for (const [cid, said] of this.invoked) put('invoke', { cid, ...said });
        for (const ack of this.acked.values()) put('ack', ack);
        for (const [place, text] of this.entries) put('entry', { place, is: JSON.parse(text) });
        for (const visit of this.visits) put('visit', visit);
        await new Promise((resolve) => out.end(resolve));
    }
}
