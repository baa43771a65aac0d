/**
 * client - the Chatmesh client protocol for browsers and Node, as one ES module without
 * dependencies. One file on purpose, though long: one GET takes it along.
 *
 * Happy path: a socket opens, `connect` carries the token and where each conversation was left,
 * the server sends what was missed and then what happens. Entries reach the application in seq
 * order, once.
 *
 * Failure modes: a lost connection is dialled again (exponential backoff, full jitter); sends
 * wait in an outbox and are repeated with the same cid until the server says `sent`, so that
 * nothing is lost and nothing comes twice; a hole in a conversation is paged from `history`
 * before anything after it is delivered. A close code that says "do not come back by yourself"
 * ends in the state `closed`.
 *
 * Parts, from the inside out: Backoff, Timeline (order of one conversation), Outbox (order of
 * sends), Receipts (coalesced acks), Requests (ids and timeouts), ChatmeshClient (the
 * connection).
 *
 * @module
 */

/** @typedef {any} Json Any JSON value; the server keeps it byte for byte. */

/**
 * An entry of a conversation's log.
 * @typedef {object} Entry
 * @property {'message'|'edit'|'delete'|'reaction'|'member'|'info'} type
 * @property {string} conv
 * @property {number} seq
 * @property {number} ts
 * @property {string} from
 * @property {string} [cid]
 * @property {Json} [body]
 * @property {number} [reply_to]
 * @property {number} [target] Which seq an edit, delete or reaction is about.
 * @property {string} [emoji]
 * @property {boolean} [on]
 * @property {string} [change] Of `member`: joined, left, role.
 * @property {string} [user] Of `member`: whom it is about.
 * @property {string} [role]
 * @property {string} [title]
 * @property {Json} [meta]
 */
/**
 * @typedef {{type: 'sent', conv: string, cid: string, seq: number, ts: number, dup?: boolean}} Sent
 */
/**
 * @typedef {object} Welcome
 * @property {string} session
 * @property {string} user
 * @property {string} device
 * @property {string} gateway
 * @property {string} epoch
 * @property {number} ping_ms
 * @property {number} max_frame
 * @property {number} ts
 */
/** @typedef {{conv: string, entries: Entry[], head: number, more: boolean}} HistoryPage */
/**
 * One line of the conversation list.
 * @typedef {object} ConversationItem
 * @property {string} conv
 * @property {'direct'|'group'} kind
 * @property {string} [title]
 * @property {string} [peer] Of a direct conversation: the other user.
 * @property {number} head
 * @property {number} read
 * @property {number} unread
 * @property {Entry} [last]
 * @property {number} members
 */
/** @typedef {{user: string, role: 'owner'|'admin'|'member', joined?: number}} Member */
/** @typedef {'idle'|'connecting'|'online'|'waiting'|'closed'} State */
/**
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number} [code] The close code that led here.
 * @property {string} [reason]
 * @property {number} [retryInMs] In `waiting`: until the next attempt.
 */
/**
 * @typedef {object} Gap
 * @property {string} conv
 * @property {number} from
 * @property {number} to
 * @property {number} [head]
 * @property {boolean} [trimmed] Retention removed it: it cannot be paged.
 * @property {() => void} skip Call it, at once, to go without these entries; else they are paged.
 */
/**
 * @typedef {object} Events
 * @property {StateChange} state
 * @property {Welcome} welcome
 * @property {Entry} message
 * @property {Entry} member
 * @property {Entry} info
 * @property {Entry} edit
 * @property {Entry} delete
 * @property {Entry} reaction
 * @property {{conv: string, user?: string, delivered?: number, read?: number, seq?: number,
 *   delivered_count?: number, read_count?: number, total?: number}} receipt
 * @property {{conv: string, gone?: boolean}} conversation
 * @property {Gap} gap
 * @property {{conversations: number, missed: number}} resumed
 * @property {{}} reset The history was restored from a backup: what is cached of it is void.
 * @property {Sent} sent
 * @property {{cid: string, conv?: string, to?: string, error: ChatmeshError}} refused
 * @property {{count: number}} outbox How many sends wait for their acknowledgement.
 * @property {any} event Every other event of the server (typing, presence, ...), as it came.
 * @property {Error} error
 */

/** @typedef {{conv: string} | {to: string} | string} Target A string is a conversation's id. */
/** What localStorage and sessionStorage offer.
 * @typedef {{getItem(key: string): string | null,
 *   setItem(key: string, value: string): void}} StoragePort */

/**
 * @typedef {object} Options
 * @property {string} [url] `ws://HOST:PORT/ws`.
 * @property {string[]} [urls] Several gateways; after a failure the next one is tried.
 * @property {string} [token]
 * @property {() => string | Promise<string>} [getToken] Asked for the first and every new token.
 * @property {string} [device] One live connection per (user, device). Default: a random one.
 * @property {boolean} [batch] Take several events in one frame. Default true.
 * @property {StoragePort} [storage] Keeps resume points and unsent messages over a reload.
 * @property {string} [storageKey] Prefix of its keys; must differ per user and device.
 * @property {boolean} [persistOutbox] Default true where there is a storage.
 * @property {boolean} [autoAck] Acknowledge what was delivered to the application. Default true.
 * @property {number} [sendsInFlight] Default 64.
 * @property {number} [requestTimeoutMs] Default 10000.
 * @property {any} [WebSocket] The constructor, where the platform has none (Node 20).
 * @property {() => number} [random] For tests: in place of Math.random.
 */

const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 30000;
/** After 4029 the server is counting our attempts: begin as late as this. */
const BACKOFF_CROWDED_MS = 8000;
/** A connection that lived this long was healthy: the next loss starts at the first step again. */
const HEALTHY_MS = 10000;
const WELCOME_TIMEOUT_MS = 10000;
/**
 * The server answers a send within 5 s, if only with `unavailable`: silence means a dead
 * connection.
 */
const SEND_TIMEOUT_MS = 15000;
const RECEIPT_INTERVAL_MS = 500;
const RECEIPT_GATHER_MS = 30;
const RETRY_DEFAULT_MS = 1000;
const HISTORY_PAGE = 500;
const HELD_MAX = 2000;
const PAGING_MAX = 4;
const RESUME_BYTES_MAX = 98304;
const SAVE_DELAY_MS = 250;
const MAX_FRAME_DEFAULT = 131072;

const CLOSE_TOO_LARGE = 1009;
const CLOSE_PROTOCOL = 4500;
const CLOSE_TOKEN = 4501;
const CLOSE_LOGGED_OUT = 4503;
const CLOSE_REPLACED = 4509;
const CLOSE_CROWDED = 4029;
const CLOSES_FOR_GOOD = new Set([
    CLOSE_TOO_LARGE,
    CLOSE_PROTOCOL,
    CLOSE_LOGGED_OUT,
    CLOSE_REPLACED,
]);

const ENTRY_TYPES = new Set(['message', 'edit', 'delete', 'reaction', 'member', 'info']);
/** What bears these is an entry, also of a type that is younger than this client: it takes its
 * place in the
 * order. @param {any} frame */
const isEntry = (frame) =>
    frame.seq !== undefined && frame.conv !== undefined && frame.from !== undefined;
/** Errors after which the same request may succeed. */
const PASSING_ERRORS = new Set(['unavailable', 'rate_limited', 'timeout', 'disconnected']);

/** A refusal by the server, or by the client in its place (`timeout`, `disconnected`, `closed`). */
export class ChatmeshError extends Error {
    /**
     * @param {string} code
     * @param {string} [message]
     * @param {number} [retryAfterMs]
     */
    constructor(code, message, retryAfterMs) {
        super(message ?? code);
        this.name = 'ChatmeshError';
        this.code = code;
        this.retryAfterMs = retryAfterMs;
    }

    /** @param {any} frame */
    static of(frame) {
        return new ChatmeshError(String(frame.code), frame.message, frame.retry_after_ms);
    }
}

/**
 * A fresh id for a send. Not crypto.randomUUID: browsers offer that on https and localhost only.
 */
export function newCid() {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {any} error */
const isPassing = (error) => error instanceof ChatmeshError && PASSING_ERRORS.has(error.code);
/** @param {number} ms */
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How long to wait before the next attempt: exponential, with full jitter, so that the clients of
 * a dead gateway do not come back in step. */
class Backoff {
    /** @param {() => number} random */
    constructor(random) {
        this.random = random;
        this.attempts = 0;
    }

    /** @param {number} [leastMs] */
    nextMs(leastMs = 0) {
        const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.attempts);
        this.attempts = Math.min(this.attempts + 1, 16);
        return Math.round(leastMs + this.random() * ceiling);
    }

    reset() {
        this.attempts = 0;
    }
}

/**
 * The order of one conversation: delivers each seq once and in order, and pages holes.
 *
 * `last` is the newest entry the application has; null until the first one tells where the server
 * let us in. What comes beyond a hole is held, at most HELD_MAX entries; of the rest only the
 * highest seq is remembered, for the log has it.
 */
class Timeline {
    /**
     * @param {string} conv
     * @param {number | null} last
     * @param {{deliver: (entry: Entry) => void, gap: (gap: Gap) => void,
     *   page: (conv: string, after: number) => Promise<HistoryPage>}} ports
     */
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
        if (entry.seq <= this.last) return;
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
        let used = 0;
        for (const entry of this.held) {
            if (entry.seq > (this.last ?? 0) + 1) break;
            used++;
            if (entry.seq > (this.last ?? 0)) this.#deliver(entry);
        }
        this.held.splice(0, used);
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
            this.#drain();
        }
        this.paging = false;
    }

    /**
     * The log's answer is the truth: a seq it leaves out is not ours to see.
     * @param {Entry[]} page
     */
    #deliverPage(page) {
        const before = this.last ?? 0;
        for (const entry of page) if (entry.seq > (this.last ?? 0)) this.#deliver(entry);
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
            await sleep(/** @type {ChatmeshError} */ (error).retryAfterMs ?? RETRY_DEFAULT_MS);
            return 'later';
        }
    }
}

/**
 * @typedef {object} Send
 * @property {string} cid
 * @property {string} [conv]
 * @property {string} [to]
 * @property {Json} body
 * @property {number} [reply_to]
 * @property {boolean} flying Sent on this connection, unanswered.
 * @property {((sent: Sent) => void)} resolve
 * @property {((error: Error) => void)} reject
 */
/**
 * The sends of one conversation, in order.
 * @typedef {object} Lane
 * @property {Send[]} sends
 * @property {boolean} halted One was refused for the moment: the first goes alone until through.
 * @property {number} resumeAt Not before this time.
 */

/**
 * Sends that wait for `sent`: kept in order per conversation, repeated with the same cid.
 *
 * Up to `flyingMax` are on the wire at once. After a refusal that may pass, the lane halts: what
 * else of it is on the wire is awaited, then the oldest goes alone, and only when it is through
 * do the others follow. Otherwise a later one might enter the log first.
 */
class Outbox {
    /**
     * @param {number} flyingMax
     * @param {{fly: (send: Send) => Promise<Sent>, isOnline: () => boolean, changed: () => void,
     *   sent: (sent: Sent) => void, refused: (send: Send, error: ChatmeshError) => void}} ports
     */
    constructor(flyingMax, ports) {
        this.flyingMax = flyingMax;
        this.ports = ports;
        /** @type {Map<string, Lane>} */
        this.lanes = new Map();
        this.flying = 0;
        this.count = 0;
        /** @type {Map<Lane, ReturnType<typeof setTimeout>>} */
        this.timers = new Map();
    }

    /** @param {Send} send */
    #laneOf(send) {
        const key = send.conv !== undefined ? `c ${send.conv}` : `u ${send.to}`;
        let lane = this.lanes.get(key);
        if (lane === undefined) {
            lane = { sends: [], halted: false, resumeAt: 0 };
            this.lanes.set(key, lane);
        }
        return lane;
    }

    /** @param {Send} send */
    push(send) {
        this.#laneOf(send).sends.push(send);
        this.count++;
        this.ports.changed();
        this.pump();
    }

    /** All sends, oldest first within a conversation. */
    all() {
        return [...new Set(this.lanes.values())].flatMap((lane) => lane.sends);
    }

    /** The connection is gone: nobody knows what became of those on the wire. */
    land() {
        for (const send of this.all()) send.flying = false;
        this.flying = 0;
    }

    pump() {
        if (!this.ports.isOnline()) return;
        const now = Date.now();
        for (const lane of new Set(this.lanes.values())) {
            if (this.flying >= this.flyingMax) return;
            if (lane.resumeAt > now) this.#pumpLater(lane, lane.resumeAt - now);
            else this.#pumpLane(lane);
        }
    }

    /** @param {Lane} lane */
    #pumpLane(lane) {
        if (lane.halted) {
            if (!lane.sends.some((send) => send.flying)) this.#fly(lane, lane.sends[0]);
            return;
        }
        for (const send of lane.sends) {
            if (this.flying >= this.flyingMax) return;
            if (!send.flying) this.#fly(lane, send);
        }
    }

    /** @param {Lane} lane @param {number} ms */
    #pumpLater(lane, ms) {
        if (this.timers.has(lane)) return;
        this.timers.set(
            lane,
            setTimeout(() => {
                this.timers.delete(lane);
                this.pump();
            }, ms),
        );
    }

    /** @param {Lane} lane @param {Send} send */
    #fly(lane, send) {
        send.flying = true;
        this.flying++;
        this.ports.fly(send).then(
            (sent) => this.#onSent(lane, send, sent),
            (error) => this.#onError(lane, send, error),
        );
    }

    /** @param {Lane} lane @param {Send} send @param {Sent} sent */
    #onSent(lane, send, sent) {
        if (send.to !== undefined && !this.lanes.has(`c ${sent.conv}`))
            this.lanes.set(`c ${sent.conv}`, lane); // From now on both names mean one order.
        if (lane.sends[0] === send) lane.halted = false;
        this.#remove(lane, send);
        send.resolve(sent);
        this.ports.sent(sent);
        this.pump();
    }

    /** @param {Lane} lane @param {Send} send @param {ChatmeshError} error */
    #onError(lane, send, error) {
        // land() takes it back: the connection is being replaced.
        if (error.code === 'disconnected' || error.code === 'timeout') return;
        if (isPassing(error)) {
            send.flying = false;
            this.flying--;
            lane.halted = true;
            lane.resumeAt = Date.now() + (error.retryAfterMs ?? RETRY_DEFAULT_MS);
        } else {
            if (lane.sends[0] === send) lane.halted = false;
            this.#remove(lane, send);
            send.reject(error);
            this.ports.refused(send, error);
        }
        this.pump();
    }

    /** @param {Lane} lane @param {Send} send */
    #remove(lane, send) {
        if (send.flying) this.flying--;
        send.flying = false;
        lane.sends.splice(lane.sends.indexOf(send), 1);
        this.count--;
        if (lane.sends.length === 0)
            for (const [key, other] of this.lanes) if (other === lane) this.lanes.delete(key);
        this.ports.changed();
    }

    stop() {
        for (const timer of this.timers.values()) clearTimeout(timer);
        this.timers.clear();
    }
}

/** Acks and read marks: only the highest per conversation matters, so they go out coalesced. */
class Receipts {
    /**
     * @param {(frame: object) => boolean} write False where there is no connection: kept for later.
     */
    constructor(write) {
        this.write = write;
        /** @type {Map<string, number>} */
        this.acks = new Map();
        /** @type {Map<string, number>} */
        this.reads = new Map();
        /** @type {ReturnType<typeof setTimeout> | undefined} */
        this.timer = undefined;
        this.flushedAt = 0;
    }

    /** @param {string} conv @param {number} seq */
    ack(conv, seq) {
        this.#raise(this.acks, conv, seq);
    }

    /** @param {string} conv @param {number} seq */
    read(conv, seq) {
        this.#raise(this.reads, conv, seq);
    }

    /** @param {Map<string, number>} map @param {string} conv @param {number} seq */
    #raise(map, conv, seq) {
        map.set(conv, Math.max(map.get(conv) ?? 0, seq));
        this.schedule();
    }

    schedule() {
        if (this.timer !== undefined || this.acks.size + this.reads.size === 0) return;
        const wait = Math.max(RECEIPT_GATHER_MS, this.flushedAt + RECEIPT_INTERVAL_MS - Date.now());
        this.timer = setTimeout(() => {
            this.timer = undefined;
            this.flush();
        }, wait);
    }

    flush() {
        for (const [conv, seq] of this.reads) {
            if (!this.write({ type: 'read', conv, seq })) return;
            this.reads.delete(conv);
            // A read implies the ack.
            if ((this.acks.get(conv) ?? 0) <= seq) this.acks.delete(conv);
        }
        for (const [conv, seq] of this.acks) {
            if (!this.write({ type: 'ack', conv, seq })) return;
            this.acks.delete(conv);
        }
        this.flushedAt = Date.now();
    }

    stop() {
        clearTimeout(this.timer);
        this.timer = undefined;
    }
}

/** Requests that wait for the reply with their id. */
class Requests {
    constructor() {
        this.nextId = 1;
        /** @type {Map<number, {resolve: (frame: any) => void, reject: (error: Error) => void,
         *   timer: ReturnType<typeof setTimeout>}>} */
        this.waiting = new Map();
    }

    /**
     * @param {number} timeoutMs
     * @param {() => void} [onTimeout]
     * @returns {{id: number, reply: Promise<any>}}
     */
    begin(timeoutMs, onTimeout) {
        const id = this.nextId++;
        const reply = new Promise((resolve, reject) => {
            const timer = setTimeout(() => {
                this.waiting.delete(id);
                reject(new ChatmeshError('timeout', 'no answer came in time'));
                onTimeout?.();
            }, timeoutMs);
            this.waiting.set(id, { resolve, reject, timer });
        });
        return { id, reply };
    }

    /** @param {any} frame True where it was a reply. */
    settle(frame) {
        const request = this.waiting.get(frame.id);
        if (request === undefined) return false;
        this.waiting.delete(frame.id);
        clearTimeout(request.timer);
        if (frame.type === 'error') request.reject(ChatmeshError.of(frame));
        else request.resolve(frame);
        return true;
    }

    /** @param {ChatmeshError} error */
    failAll(error) {
        const requests = [...this.waiting.values()];
        this.waiting.clear();
        for (const { reject, timer } of requests) {
            clearTimeout(timer);
            reject(error);
        }
    }
}

/** One device of one user. Create it, subscribe with on(), then connect(). */
export class ChatmeshClient {
    /** @type {State} */
    #state = 'idle';
    #options;
    #urls;
    #urlIndex = 0;
    /** @type {string | undefined} */
    #token;
    #tokenRefused = false;
    /** @type {Map<string, Set<(value: any) => void>>} */
    #listeners = new Map();
    /** @type {Map<string, Timeline>} */
    #timelines = new Map();
    #touches = 0;
    #pagings = 0;
    /** @type {(() => void)[]} */
    #pagingQueue = [];
    #backoff;
    #outbox;
    #receipts;
    #requests = new Requests();
    /** @type {any} */
    #socket = null;
    /** @type {Welcome | null} */
    #welcome = null;
    /** @type {string | undefined} */
    #epoch;
    #heardAt = 0;
    #onlineAt = 0;
    #restartAt = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #dialTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #welcomeTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #restartTimer;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #heartbeat;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #saveTimer;
    #outboxSaveDue = false;
    #saveDue = false;

    /** @param {Options} options */
    constructor(options) {
        this.#options = {
            batch: true,
            persistOutbox: true,
            autoAck: true,
            sendsInFlight: 64,
            requestTimeoutMs: 10000,
            random: Math.random,
            ...options,
        };
        this.#urls = options.urls ?? (options.url !== undefined ? [options.url] : []);
        if (this.#urls.length === 0) throw new TypeError('ChatmeshClient: url or urls is needed');
        if (options.token === undefined && options.getToken === undefined)
            throw new TypeError('ChatmeshClient: token or getToken is needed');
        this.#token = options.token;
        this.device = options.device ?? newCid();
        this.#backoff = new Backoff(this.#options.random);
        this.#outbox = new Outbox(this.#options.sendsInFlight, {
            fly: (send) => this.#flySend(send),
            isOnline: () => this.#state === 'online',
            changed: () => this.#onOutboxChanged(),
            sent: (sent) => this.#emit('sent', sent),
            refused: ({ cid, conv, to }, error) => this.#emit('refused', { cid, conv, to, error }),
        });
        this.#receipts = new Receipts((frame) => this.#write(frame));
        this.#restore();
        this.#followNetwork();
    }

    /** @returns {State} */
    get state() {
        return this.#state;
    }

    /** The user the token names; null before the first welcome. */
    get user() {
        return this.#welcome?.user ?? null;
    }

    /** Where each conversation was left: what `connect` sends as `resume`. */
    get resumePoints() {
        return Object.fromEntries(
            [...this.#timelines.values()]
                .filter((timeline) => timeline.last !== null && !timeline.gone)
                .map((timeline) => [timeline.conv, /** @type {number} */ (timeline.last)]),
        );
    }

    /** Sends without acknowledgement, oldest first within a conversation. */
    get pending() {
        return this.#outbox
            .all()
            .map(({ cid, conv, to, body, reply_to }) => ({ cid, conv, to, body, reply_to }));
    }

    /**
     * Subscribe; the returned function ends it.
     * @template {keyof Events} K
     * @param {K} event
     * @param {(value: Events[K]) => void} listener
     */
    on(event, listener) {
        const set = this.#listeners.get(event) ?? new Set();
        this.#listeners.set(event, set);
        set.add(listener);
        return () => void set.delete(listener);
    }

    /**
     * Come online and stay so. Resolves with the first welcome, rejects where the server refuses
     * for good.
     * @returns {Promise<Welcome>}
     */
    connect() {
        if (this.#welcome !== null && this.#state === 'online')
            return Promise.resolve(this.#welcome);
        const welcome = new Promise((resolve, reject) => {
            const offs = [
                this.on('welcome', (value) => settle(resolve, value)),
                this.on('state', (change) => {
                    if (change.state === 'closed')
                        settle(
                            reject,
                            new ChatmeshError(
                                'closed',
                                change.reason || `closed with ${change.code}`,
                            ),
                        );
                }),
            ];
            /** @param {(value: any) => void} how @param {any} value */
            const settle = (how, value) => {
                offs.forEach((off) => off());
                how(value);
            };
        });
        welcome.catch(() => {}); // Whoever only listens to `state` need not handle it twice.
        if (this.#state === 'idle' || this.#state === 'closed') {
            this.#backoff.reset();
            this.#tokenRefused = false;
            void this.#dial();
        }
        return welcome;
    }

    /** Go offline for good; connect() starts again. Sends that wait stay in the outbox. */
    close() {
        if (this.#state === 'closed') return;
        this.#receipts.flush();
        this.#dropSocket(1000);
        this.#stop({ state: 'closed', code: 1000, reason: 'closed by the application' });
    }

    /**
     * Send a message. Resolves once it is durable, however many connections that takes; rejects
     * only with a definite refusal (forbidden, bad_request, too_large, ...).
     * @param {Target} target
     * @param {Json} body
     * @param {{cid?: string, replyTo?: number}} [options]
     * @returns {Promise<Sent>}
     */
    send(target, body, options = {}) {
        const where = typeof target === 'string' ? { conv: target } : { ...target };
        return new Promise((resolve, reject) => {
            /** @type {Send} */
            const send = {
                ...where,
                cid: options.cid ?? newCid(),
                body,
                flying: false,
                resolve,
                reject,
            };
            if (options.replyTo !== undefined) send.reply_to = options.replyTo;
            if (this.#isTooLarge({ id: 0, type: 'send', cid: send.cid, ...where, body }))
                reject(
                    new ChatmeshError('too_large', 'the message is larger than the server takes'),
                );
            else this.#outbox.push(send);
        });
    }

    /** The user has read up to seq. @param {string} conv @param {number} seq */
    markRead(conv, seq) {
        this.#receipts.read(conv, seq);
    }

    /** Entries up to seq reached this device; needed only with `autoAck: false`.
     * @param {string} conv @param {number} seq */
    ack(conv, seq) {
        this.#receipts.ack(conv, seq);
    }

    /**
     * @param {string} conv
     * @param {{after?: number, before?: number, limit?: number}} [range]
     * @returns {Promise<HistoryPage>}
     */
    history(conv, range = {}) {
        return this.request('history', { conv, ...range });
    }

    /**
     * @param {{after?: string, limit?: number}} [page]
     * @returns {Promise<{conversations: ConversationItem[], more: boolean}>}
     */
    conversations(page = {}) {
        return this.request('conversations', { ...page });
    }

    /**
     * @param {{conv?: string, kind?: 'direct'|'group', members: string[], title?: string,
     *   meta?: Json, body?: Json}} what
     * @returns {Promise<{conv: string, kind?: string, title?: string, head?: number}>}
     */
    create(what) {
        return this.request('create', { kind: 'group', ...what });
    }

    /** @param {string} conv @param {string[]} users */
    add(conv, users) {
        return this.request('add', { conv, users });
    }

    /** @param {string} conv @param {string[]} users */
    remove(conv, users) {
        return this.request('remove', { conv, users });
    }

    /** @param {string} conv */
    leave(conv) {
        return this.request('leave', { conv });
    }

    /** @param {string} conv @param {string} user @param {'owner'|'admin'|'member'} role */
    role(conv, user, role) {
        return this.request('role', { conv, user, role });
    }

    /**
     * @param {string} conv
     * @param {{after?: string, limit?: number}} [page]
     * @returns {Promise<{members: Member[], total: number, more: boolean}>}
     */
    members(conv, page = {}) {
        return this.request('members', { conv, ...page });
    }

    /** @param {string} conv @param {{title?: string, meta?: Json}} change */
    info(conv, change) {
        return this.request('info', { conv, ...change });
    }

    /** @returns {Promise<{ts: number}>} */
    ping() {
        return this.request('ping', {});
    }

    /**
     * Any request of the protocol. While offline it waits for the connection, until its timeout.
     * One that was on the wire when the connection broke rejects with `disconnected`: its outcome
     * is unknown.
     * @param {string} type
     * @param {object} fields
     * @returns {Promise<any>}
     */
    async request(type, fields) {
        if (this.#state !== 'online') await this.#untilOnline();
        const { id, reply } = this.#requests.begin(this.#options.requestTimeoutMs);
        this.#write({ type, id, ...fields });
        return reply;
    }

    /** @returns {Promise<void>} */
    #untilOnline() {
        return new Promise((resolve, reject) => {
            const timer = setTimeout(
                () => settle(reject, new ChatmeshError('timeout', 'there is no connection')),
                this.#options.requestTimeoutMs,
            );
            const off = this.on('state', ({ state, reason }) => {
                if (state === 'online') settle(resolve, undefined);
                else if (state === 'closed') settle(reject, new ChatmeshError('closed', reason));
            });
            /** @param {(value?: any) => void} how @param {any} value */
            const settle = (how, value) => {
                clearTimeout(timer);
                off();
                how(value);
            };
        });
    }

    /* ---- The connection ---- */

    async #dial() {
        clearTimeout(this.#dialTimer);
        this.#setState({ state: 'connecting' });
        try {
            this.#token ??= await this.#options.getToken?.();
        } catch (error) {
            this.#emit('error', /** @type {Error} */ (error));
            if (this.#state === 'connecting')
                this.#waitAndDial(this.#backoff.nextMs(), undefined, 'no token could be had');
            return;
        }
        // close() may have come while the token was on its way.
        if (this.#state !== 'connecting' || this.#socket !== null) return;
        const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
        const socket = new Socket(this.#urls[this.#urlIndex % this.#urls.length]);
        this.#socket = socket;
        this.#welcomeTimer = setTimeout(
            () => this.#lose(1006, 'no welcome came in time'),
            WELCOME_TIMEOUT_MS,
        );
        socket.onopen = () => this.#socket === socket && this.#sendConnect();
        socket.onmessage = (/** @type {{data: any}} */ message) => {
            if (this.#socket === socket) this.#onText(message.data);
        };
        socket.onclose = (/** @type {{code: number, reason: string}} */ event) => {
            if (this.#socket === socket) this.#onClosed(event.code, String(event.reason ?? ''));
        };
        socket.onerror = () => {}; // A close event always follows, and says more.
    }

    #sendConnect() {
        const resume = this.#resumeThatFits();
        this.#socket.send(
            JSON.stringify({
                type: 'connect',
                id: 0,
                token: this.#token,
                device: this.device,
                batch: this.#options.batch,
                ...(resume && { resume, epoch: this.#epoch }),
            }),
        );
    }

    /** Thousands of conversations might not fit the frame: the newest go first, and for the others
     * the server has its own record of what this device was delivered. */
    #resumeThatFits() {
        /** @type {Record<string, number>} */
        const resume = {};
        let bytes = 0;
        const known = [...this.#timelines.values()].filter(
            (timeline) => timeline.last !== null && !timeline.gone,
        );
        for (const timeline of known.sort((a, b) => b.touched - a.touched)) {
            bytes += timeline.conv.length + 20;
            if (bytes > RESUME_BYTES_MAX) break;
            resume[timeline.conv] = /** @type {number} */ (timeline.last);
        }
        return bytes > 0 ? resume : undefined;
    }

    /** @param {any} data */
    #onText(data) {
        this.#heardAt = Date.now();
        let frames;
        try {
            frames = JSON.parse(data);
        } catch {
            this.#emit('error', new ChatmeshError('internal', 'the server sent what is not JSON'));
            return;
        }
        for (const frame of Array.isArray(frames) ? frames : [frames]) this.#onFrame(frame);
    }

    /** @param {any} frame */
    #onFrame(frame) {
        if (frame.type === 'welcome') this.#onWelcome(frame);
        else if (frame.id !== undefined && this.#requests.settle(frame)) return;
        else if (isEntry(frame)) this.#timeline(frame.conv).accept(frame);
        else if (frame.type === 'gap') this.#timeline(frame.conv).acceptGap(frame);
        else if (frame.type === 'reset') this.#onReset();
        else if (frame.type === 'conversation') this.#onConversation(frame);
        else if (frame.type === 'server_restart') this.#onServerRestart(frame);
        else if (frame.type === 'error') this.#emit('error', ChatmeshError.of(frame));
        else if (frame.type === 'receipt' || frame.type === 'resumed')
            this.#emit(frame.type, frame);
        else if (frame.type !== 'pong') this.#emit('event', frame);
    }

    /** @param {Welcome} welcome */
    #onWelcome(welcome) {
        clearTimeout(this.#welcomeTimer);
        this.#welcome = welcome;
        this.#epoch = welcome.epoch;
        this.#tokenRefused = false;
        this.#onlineAt = Date.now();
        this.#startHeartbeat(welcome.ping_ms);
        this.#setState({ state: 'online' });
        this.#emit('welcome', welcome);
        this.#outbox.pump();
        this.#receipts.schedule();
        this.#saveSoon();
    }

    /**
     * A browser shows no protocol pings, so silence is asked about, then believed.
     * @param {number} pingMs
     */
    #startHeartbeat(pingMs) {
        clearInterval(this.#heartbeat);
        this.#heartbeat = setInterval(() => {
            const silentMs = Date.now() - this.#heardAt;
            if (silentMs >= pingMs * 2) this.#lose(1006, 'nothing was heard from the server');
            else if (silentMs >= pingMs) this.#write({ type: 'ping' });
        }, pingMs / 2);
    }

    #onReset() {
        for (const timeline of this.#timelines.values()) timeline.restart(); // Ends its paging.
        this.#timelines.clear();
        this.#emit('reset', {});
        this.#saveSoon();
    }

    /** @param {{conv: string, gone?: boolean}} frame */
    #onConversation(frame) {
        this.#timeline(frame.conv).gone = frame.gone === true;
        this.#emit('conversation', frame);
        this.#saveSoon();
    }

    /** The gateway is draining: stay until our turn, then go to the next. @param {any} frame */
    #onServerRestart(frame) {
        const wait = Math.max(0, Number(frame.reconnect_after_ms) || 0);
        this.#restartAt = Date.now() + wait;
        clearTimeout(this.#restartTimer);
        this.#restartTimer = setTimeout(() => this.#lose(1012, 'the gateway restarts'), wait);
        this.#emit('event', frame);
    }

    /** Give the socket up from our side. @param {number} code @param {string} reason */
    #lose(code, reason) {
        if (this.#socket === null) return;
        this.#dropSocket(1000);
        this.#onClosed(code, reason);
    }

    /** @param {number} code */
    #dropSocket(code) {
        const socket = this.#socket;
        this.#socket = null;
        if (socket === null) return;
        try {
            socket.close(code);
        } catch {
            // Already closing: that is what we want.
        }
    }

    /** @param {number} code @param {string} reason */
    #onClosed(code, reason) {
        const wasHealthy = this.#onlineAt > 0 && Date.now() - this.#onlineAt >= HEALTHY_MS;
        const restartIn = this.#restartAt > 0 ? Math.max(0, this.#restartAt - Date.now()) : null;
        this.#socket = null;
        this.#hangUp();
        if (wasHealthy || restartIn !== null) this.#backoff.reset();
        if (CLOSES_FOR_GOOD.has(code) || (code === CLOSE_TOKEN && !this.#mayAskForToken())) {
            this.#stop({ state: 'closed', code, reason });
            return;
        }
        this.#urlIndex++;
        if (code === CLOSE_TOKEN) {
            this.#token = undefined;
            this.#tokenRefused = true;
            this.#waitAndDial(0, code, reason);
        } else if (restartIn !== null) {
            this.#waitAndDial(restartIn, code, reason);
        } else {
            this.#waitAndDial(
                this.#backoff.nextMs(code === CLOSE_CROWDED ? BACKOFF_CROWDED_MS : 0),
                code,
                reason,
            );
        }
    }

    /** Once: a new token that is refused as well will not get better. */
    #mayAskForToken() {
        return this.#options.getToken !== undefined && !this.#tokenRefused;
    }

    /** What belongs to one connection ends with it. */
    #hangUp() {
        clearTimeout(this.#welcomeTimer);
        clearTimeout(this.#restartTimer);
        clearInterval(this.#heartbeat);
        this.#onlineAt = 0;
        this.#restartAt = 0;
        this.#outbox.land();
        for (const timeline of this.#timelines.values()) timeline.restart();
        this.#requests.failAll(
            new ChatmeshError('disconnected', 'the connection was lost before the answer'),
        );
    }

    /** @param {number} ms @param {number} [code] @param {string} [reason] */
    #waitAndDial(ms, code, reason) {
        this.#setState({ state: 'waiting', code, reason, retryInMs: ms });
        clearTimeout(this.#dialTimer);
        this.#dialTimer = setTimeout(() => void this.#dial(), ms);
    }

    /** @param {StateChange} change */
    #stop(change) {
        clearTimeout(this.#dialTimer);
        this.#hangUp();
        this.#outbox.stop();
        this.#receipts.stop();
        this.#saveNow();
        this.#setState(change);
    }

    /** The browser knows first when the network goes and comes back. */
    #followNetwork() {
        if (
            typeof globalThis.window === 'undefined' ||
            typeof globalThis.addEventListener !== 'function'
        )
            return;
        globalThis.addEventListener('offline', () => this.#lose(1006, 'the network is gone'));
        globalThis.addEventListener('online', () => {
            if (this.#state === 'waiting') void this.#dial();
        });
        globalThis.addEventListener('pagehide', () => this.#saveNow());
    }

    /** @param {object} frame True where it was handed to an open connection. */
    #write(frame) {
        if (this.#state !== 'online' || this.#socket === null) return false;
        this.#socket.send(JSON.stringify(frame));
        return true;
    }

    /** @param {object} frame */
    #isTooLarge(frame) {
        const text = JSON.stringify(frame);
        const max = this.#welcome?.max_frame ?? MAX_FRAME_DEFAULT;
        if (text.length * 3 <= max) return false; // Not even if every character takes three bytes.
        return new TextEncoder().encode(text).length > max - 32; // Room for the id.
    }

    /** @param {Send} send @returns {Promise<Sent>} */
    #flySend(send) {
        const { cid, conv, to, body, reply_to } = send;
        const { id, reply } = this.#requests.begin(SEND_TIMEOUT_MS, () =>
            this.#lose(1006, 'a send was not answered'),
        );
        this.#write({ type: 'send', id, conv, to, cid, body, reply_to });
        return reply;
    }

    /* ---- Conversations ---- */

    /** @param {string} conv @param {number | null} [last] */
    #timeline(conv, last = null) {
        let timeline = this.#timelines.get(conv);
        if (timeline === undefined) {
            timeline = new Timeline(conv, last, {
                deliver: (entry) => this.#deliver(entry),
                gap: (gap) => this.#emit('gap', gap),
                page: (id, after) => this.#page(id, after),
            });
            this.#timelines.set(conv, timeline);
        }
        timeline.touched = ++this.#touches;
        return timeline;
    }

    /** @param {Entry} entry */
    #deliver(entry) {
        this.#emit(ENTRY_TYPES.has(entry.type) ? entry.type : 'event', entry);
        if (this.#options.autoAck) this.#receipts.ack(entry.conv, entry.seq);
        this.#saveSoon();
    }

    /** Few at a time: a client that was away for weeks must not ask for everything at once.
     * @param {string} conv @param {number} after @returns {Promise<HistoryPage>} */
    async #page(conv, after) {
        if (this.#pagings >= PAGING_MAX)
            await new Promise((resolve) => this.#pagingQueue.push(() => resolve(undefined)));
        this.#pagings++;
        try {
            return await this.history(conv, { after, limit: HISTORY_PAGE });
        } finally {
            this.#pagings--;
            this.#pagingQueue.shift()?.();
        }
    }

    /* ---- Storage: a reload resumes where the page was left ---- */

    /** @param {'resume' | 'outbox'} what */
    #storageKey(what) {
        return `${this.#options.storageKey ?? `chatmesh.${this.device}`}.${what}`;
    }

    /** @param {'resume' | 'outbox'} what */
    #load(what) {
        try {
            return JSON.parse(this.#options.storage?.getItem(this.#storageKey(what)) ?? 'null');
        } catch {
            return null; // Damaged or forbidden: the server's own record serves.
        }
    }

    #restore() {
        const saved = this.#load('resume');
        this.#epoch = saved?.epoch;
        for (const [conv, seq] of Object.entries(saved?.points ?? {}))
            this.#timeline(conv, Number(seq));
        if (!this.#options.persistOutbox) return;
        for (const send of this.#load('outbox') ?? [])
            this.#outbox.push({ ...send, flying: false, resolve: () => {}, reject: () => {} });
    }

    #onOutboxChanged() {
        this.#emit('outbox', { count: this.#outbox.count });
        if (this.#options.storage === undefined || this.#outboxSaveDue) return;
        this.#outboxSaveDue = true; // A thousand sends in one turn are one write.
        queueMicrotask(() => this.#saveOutbox());
    }

    #saveOutbox() {
        this.#outboxSaveDue = false;
        if (this.#options.persistOutbox) this.#store('outbox', this.pending);
    }

    #saveSoon() {
        if (this.#options.storage === undefined) return;
        this.#saveDue = true;
        this.#saveTimer ??= setTimeout(() => this.#saveNow(), SAVE_DELAY_MS);
    }

    #saveNow() {
        clearTimeout(this.#saveTimer);
        this.#saveTimer = undefined;
        if (!this.#saveDue) return;
        this.#saveDue = false;
        this.#store('resume', { epoch: this.#epoch, points: this.resumePoints });
    }

    /** @param {'resume' | 'outbox'} what @param {any} value */
    #store(what, value) {
        try {
            this.#options.storage?.setItem(this.#storageKey(what), JSON.stringify(value));
        } catch (error) {
            this.#emit('error', /** @type {Error} */ (error)); // Full: we go on without.
        }
    }

    /* ---- Events ---- */

    /** @param {StateChange} change */
    #setState(change) {
        this.#state = change.state;
        this.#emit('state', change);
    }

    /** A listener that throws must not keep the others, or the protocol, from going on.
     * @template {keyof Events} K @param {K} event @param {Events[K]} value */
    #emit(event, value) {
        for (const listener of [...(this.#listeners.get(event) ?? [])]) {
            try {
                listener(value);
            } catch (error) {
                if (event === 'error') console.error(error);
                else this.#emit('error', /** @type {Error} */ (error));
            }
        }
    }
}
