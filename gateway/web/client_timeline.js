/**
 * client_timeline - the order of conversations: each entry once, in seq order, holes paged.
 *
 * @module
 */

import { isPassing, retryInMs } from './client_base.js';

/** @typedef {import('./client_types.js').Entry} Entry */
/** @typedef {import('./client_types.js').Gap} Gap */
/** @typedef {import('./client_types.js').HistoryPage} HistoryPage */
/**
 * @typedef {object} LogPorts
 * @property {(entry: Entry) => void} deliver
 * @property {(conv: string, last: number) => void} repeated An entry came that we have: the server
 *   does not know that we have all up to `last`.
 * @property {(gap: Gap) => void} gap
 * @property {(conv: string, after: number) => Promise<HistoryPage>} page
 * @property {(ms: number) => Promise<void>} pause Ends early with the connection.
 */

const HELD_MAX = 2000;
const PAGING_MAX = 4;

/**
 * The order of one conversation.
 *
 * `last` is the newest entry the application has; null until the first one tells where the server
 * let us in. What comes beyond a hole is held, at most HELD_MAX entries; of the rest only the
 * highest seq is remembered, for the log has it.
 */
class Timeline {
    /** @param {string} conv @param {number | null} last @param {LogPorts} ports */
    constructor(conv, last, ports) {
        this.conv = conv;
        this.last = last;
        this.ports = ports;
        this.gone = false;
        this.touched = 0;
        /** @type {Entry[]} */
        this.held = []; // In seq order.
        this.wanted = 0; // Page up to here even where nothing is held beyond.
        this.paging = false;
        this.connection = 0; // Raised per connection: a loop of the old one stops.
    }

    /** A new connection resumes after `last`, so what was held will come again. */
    restart() {
        this.held = [];
        this.wanted = 0;
        this.paging = false;
        this.connection++;
    }

    /** @param {Entry} entry */
    accept(entry) {
        this.last ??= entry.seq - 1;
        if (entry.seq <= this.last) {
            this.ports.repeated(this.conv, this.last);
            return;
        }
        if (!this.paging && entry.seq === this.last + 1) {
            this.#deliver(entry);
            return;
        }
        this.#hold(entry);
        void this.#fill();
    }

    /** @param {{from: number, to: number, head?: number, trimmed?: boolean}} frame */
    acceptGap(frame) {
        this.last ??= frame.from - 1;
        if (frame.to <= this.last) return;
        const connection = this.connection;
        let skipped = frame.trimmed === true;
        this.ports.gap({
            conv: this.conv,
            from: frame.from,
            to: frame.to,
            head: frame.head,
            trimmed: frame.trimmed,
            skip: () => {
                skipped = true;
            },
        });
        if (connection !== this.connection) return; // A listener called close().
        if (skipped) {
            this.last = Math.max(this.last, frame.to);
            if (!this.paging) this.#drain();
            return;
        }
        this.wanted = Math.max(this.wanted, frame.to);
        void this.#fill();
    }

    /** @param {Entry} entry */
    #deliver(entry) {
        this.last = entry.seq;
        this.ports.deliver(entry);
    }

    /** @param {Entry} entry */
    #hold(entry) {
        if (this.held.length >= HELD_MAX) {
            this.wanted = Math.max(this.wanted, entry.seq);
            return;
        }
        let at = this.held.length;
        while (at > 0 && this.held[at - 1].seq > entry.seq) at--;
        if (at === 0 || this.held[at - 1].seq !== entry.seq) this.held.splice(at, 0, entry);
    }

    /** Deliver what is held and follows without a hole. */
    #drain() {
        const held = this.held;
        let used = 0;
        for (const entry of held) {
            // Another one: a listener called close().
            if (held !== this.held || entry.seq > (this.last ?? 0) + 1) break;
            used++;
            if (entry.seq > (this.last ?? 0)) this.#deliver(entry);
        }
        held.splice(0, used);
    }

    async #fill() {
        if (this.paging) return;
        this.paging = true;
        const connection = this.connection;
        while (this.held.length > 0 || this.wanted > (this.last ?? 0)) {
            const page = await this.#fetch();
            if (connection !== this.connection) return;
            if (page === 'later') continue;
            this.#deliverPage(page);
            if (connection !== this.connection) return;
            this.#drain();
            if (connection !== this.connection) return;
        }
        this.paging = false;
    }

    /**
     * The log's answer is the truth: a seq it leaves out is not ours to see.
     * @param {Entry[]} page
     */
    #deliverPage(page) {
        const before = this.last ?? 0;
        const connection = this.connection;
        for (const entry of page) {
            if (connection !== this.connection) return;
            if (entry.seq > (this.last ?? 0)) this.#deliver(entry);
        }
        if (this.last === before)
            // Nothing there for us up to what we have or heard of.
            this.last = this.held.length > 0 ? this.held[0].seq - 1 : this.wanted;
    }

    /** One page; 'later' after a wait where the log cannot be read at the moment. */
    async #fetch() {
        try {
            return (await this.ports.page(this.conv, this.last ?? 0)).entries;
        } catch (error) {
            if (!isPassing(error)) return []; // Not ours any more: go on with what we were given.
            await this.ports.pause(retryInMs(error));
            return 'later';
        }
    }
}

/** All conversations of the device. */
export class Timelines {
    /** @type {Map<string, Timeline>} */
    #byConv = new Map();
    #ports;
    #touches = 0;
    #pagings = 0;
    /** @type {(() => void)[]} */
    #pagingQueue = [];

    /** @param {LogPorts} ports */
    constructor(ports) {
        this.#ports = {
            ...ports,
            page: (/** @type {string} */ conv, /** @type {number} */ after) =>
                this.#page(() => ports.page(conv, after)),
        };
    }

    /** @param {string} conv @param {number | null} [last] */
    of(conv, last = null) {
        let timeline = this.#byConv.get(conv);
        if (timeline === undefined) {
            timeline = new Timeline(conv, last, this.#ports);
            this.#byConv.set(conv, timeline);
        }
        timeline.touched = ++this.#touches;
        return timeline;
    }

    /** The connection is gone. */
    restart() {
        for (const timeline of this.#byConv.values()) timeline.restart();
    }

    /** The seqs are void. */
    clear() {
        this.restart(); // Ends its paging.
        this.#byConv.clear();
    }

    /** The newest last, so that a reload restores them in this order. */
    #known() {
        return [...this.#byConv.values()]
            .filter((timeline) => timeline.last !== null && !timeline.gone)
            .sort((a, b) => a.touched - b.touched);
    }

    /** Where each conversation was left. */
    points() {
        return Object.fromEntries(
            this.#known().map(({ conv, last }) => [conv, /** @type {number} */ (last)]),
        );
    }

    /** Thousands of conversations might not fit the frame: the newest go first, and for the others
     * the server has its own record of what this device was delivered. @param {number} bytesMax */
    pointsThatFit(bytesMax) {
        /** @type {Record<string, number>} */
        const points = {};
        let bytes = 0;
        for (const timeline of this.#known().reverse()) {
            bytes += timeline.conv.length + 20;
            if (bytes > bytesMax) break;
            points[timeline.conv] = /** @type {number} */ (timeline.last);
        }
        return bytes > 0 ? points : undefined;
    }

    /** Few at a time: a client that was away for weeks must not ask for everything at once.
     * @param {() => Promise<HistoryPage>} fetch */
    async #page(fetch) {
        if (this.#pagings >= PAGING_MAX)
            await new Promise((resolve) => this.#pagingQueue.push(() => resolve(undefined)));
        this.#pagings++;
        try {
            return await fetch();
        } finally {
            this.#pagings--;
            this.#pagingQueue.shift()?.();
        }
    }
}
