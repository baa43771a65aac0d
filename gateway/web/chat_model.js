// chat_model - what the chat page knows: conversations, their messages, who has got and read them.
//
// Pure: events go in, and the view reads. Entries of a conversation are kept without a hole, from
// `entries[0]` up to its head; what lies before is in the log and is loaded when someone scrolls
// there.

/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./client.js').ConversationItem} ConversationItem */
/** @typedef {{delivered: number, read: number}} Cursor */
/** @typedef {{cid: string, text: string, ts: number, seq?: number, refused?: string}} Outgoing */
/** @typedef {'sending'|'sent'|'delivered'|'read'|'failed'} Status */
/**
 * @typedef {{to?: string, conv?: string, cid: string, body: any}} Pending A send of the client's
 *   outbox.
 */

/** Entries kept of a conversation nobody looks at. */
const ENTRIES_IDLE_MAX = 200;

/** One conversation; a direct chat that has no message yet has a peer and no id. */
export class Conversation {
    /** @param {string | null} conv @param {'direct'|'group'} kind */
    constructor(conv, kind) {
        this.conv = conv;
        this.kind = kind;
        this.title = '';
        this.peer = '';
        this.members = 2;
        this.head = 0;
        this.read = 0;
        this.unread = 0;
        this.activity = 0;
        /** @type {Entry | undefined} */
        this.last = undefined;
        /** @type {Entry[]} */
        this.entries = [];
        this.isLoaded = false; // The newest page has been fetched.
        this.isComplete = false; // entries[0] is the first there is.
        /** @type {Map<string, Cursor>} */
        this.cursors = new Map();
        /**
         * @type {{seq: number, delivered_count: number, read_count: number, total: number} | null}
         */
        this.counts = null; // Of a large group: who has got `seq`, as numbers.
        /** @type {Outgoing[]} */
        this.outgoing = [];
    }

    get name() {
        return this.kind === 'direct' ? this.peer || 'Chat' : this.title || 'Group';
    }
}

/** Text of a message body; the page writes {"text": …}, other clients may write what they like.
 * @param {any} body */
export function bodyText(body) {
    if (typeof body?.text === 'string') return body.text;
    return typeof body === 'string' ? body : JSON.stringify(body ?? null);
}

export class ChatModel {
    constructor() {
        this.me = '';
        /** @type {Set<Conversation>} */
        this.all = new Set();
        /** @type {Map<string, Conversation>} */
        this.byConv = new Map();
        /** @type {Conversation | null} */
        this.open = null;
    }

    /** Newest activity first. */
    sorted() {
        return [...this.all].sort(
            (a, b) => b.activity - a.activity || a.name.localeCompare(b.name),
        );
    }

    /** @param {string} peer */
    directWith(peer) {
        return [...this.all].find((c) => c.kind === 'direct' && c.peer === peer);
    }

    /** The direct chat with `peer`, begun here where there is none. @param {string} peer */
    startDirect(peer) {
        const known = this.directWith(peer);
        if (known !== undefined) return known;
        const conversation = new Conversation(null, 'direct');
        conversation.peer = peer;
        conversation.activity = Date.now();
        conversation.isLoaded = conversation.isComplete = true;
        this.all.add(conversation);
        return conversation;
    }

    /** @param {string} conv @param {'direct'|'group'} [kind] */
    ensure(conv, kind = 'group') {
        let conversation = this.byConv.get(conv);
        if (conversation === undefined) {
            conversation = new Conversation(conv, kind);
            this.byConv.set(conv, conversation);
            this.all.add(conversation);
        }
        return conversation;
    }

    /** The server's list. Items come newest first; one without a message has its neighbour's time.
     * @param {ConversationItem[]} items */
    applyList(items) {
        let activity = 0;
        for (const item of [...items].reverse()) {
            const conversation = this.#claim(item);
            activity = Math.max(activity, item.last?.ts ?? 0);
            conversation.activity = Math.max(conversation.activity, activity);
            conversation.kind = item.kind;
            conversation.title = item.title ?? '';
            conversation.peer = item.peer ?? conversation.peer;
            conversation.members = item.members;
            conversation.read = Math.max(conversation.read, item.read);
            // Live entries may have come while the list was on its way.
            const newer = conversation.entries.filter((entry) => entry.seq > item.head);
            conversation.unread =
                conversation.read > item.read
                    ? conversation.unread
                    : item.unread + newer.filter((entry) => this.#isUnread(entry)).length;
            conversation.head = Math.max(conversation.head, item.head);
            if (item.last !== undefined && item.last.seq >= (conversation.last?.seq ?? 0))
                conversation.last = item.last;
        }
    }

    /**
     * A direct chat begun here gets the id that the server has for it.
     * @param {ConversationItem} item
     */
    #claim(item) {
        const begun =
            item.kind === 'direct' && item.peer !== undefined && !this.byConv.has(item.conv)
                ? this.directWith(item.peer)
                : undefined;
        return begun !== undefined && begun.conv === null
            ? this.#name(begun, item.conv)
            : this.ensure(item.conv, item.kind);
    }

    /** @param {Conversation} begun @param {string} conv */
    #name(begun, conv) {
        const other = this.byConv.get(conv);
        if (other !== undefined && other !== begun) {
            // Its first entry was faster than our `sent`.
            other.outgoing.push(
                ...begun.outgoing.filter((out) => !other.entries.some((e) => e.cid === out.cid)),
            );
            other.kind = 'direct';
            other.peer = begun.peer;
            this.all.delete(begun);
            if (this.open === begun) this.open = other;
            return other;
        }
        begun.conv = conv;
        this.byConv.set(conv, begun);
        return begun;
    }

    /** @param {Entry} entry */
    #isUnread(entry) {
        return entry.type === 'message' && entry.from !== this.me;
    }

    /** A live entry, in order. @param {Entry} entry */
    applyEntry(entry) {
        const conversation = this.ensure(entry.conv);
        const isNew = entry.seq > conversation.head;
        const newest = conversation.entries.at(-1);
        if (newest !== undefined && entry.seq !== newest.seq + 1 && entry.seq > newest.seq) {
            conversation.entries = []; // We went without what lies between: the log has it.
            conversation.isComplete = false;
        }
        if (entry.seq > (conversation.entries.at(-1)?.seq ?? 0)) conversation.entries.push(entry);
        if (conversation !== this.open && conversation.entries.length > 2 * ENTRIES_IDLE_MAX) {
            conversation.entries.splice(0, conversation.entries.length - ENTRIES_IDLE_MAX);
            conversation.isComplete = false; // But loaded: nothing is missing after entries[0].
        }
        if (entry.seq === 1) conversation.isComplete = conversation.isLoaded = true;
        this.#applyMeaning(conversation, entry);
        if (!isNew) return conversation;
        conversation.head = entry.seq;
        conversation.activity = Math.max(conversation.activity, entry.ts);
        if (entry.seq > conversation.read && this.#isUnread(entry)) conversation.unread++;
        return conversation;
    }

    /** @param {Conversation} conversation @param {Entry} entry */
    #applyMeaning(conversation, entry) {
        if (entry.type === 'message') {
            if (entry.seq > (conversation.last?.seq ?? 0)) conversation.last = entry;
            this.#raise(conversation, entry.from, entry.seq, entry.seq); // Who answers has read.
            conversation.outgoing = conversation.outgoing.filter(
                (out) => out.cid !== entry.cid || entry.from !== this.me,
            );
        } else if (
            entry.type === 'info' &&
            entry.title !== undefined &&
            entry.seq > conversation.head
        ) {
            conversation.title = entry.title;
        } else if (
            entry.type === 'member' &&
            entry.seq > conversation.head &&
            entry.change !== 'role'
        ) {
            conversation.members = Math.max(
                1,
                conversation.members + (entry.change === 'joined' ? 1 : -1),
            );
        }
    }

    /**
     * A page of history from before what we have.
     * @param {Conversation} conversation
     * @param {Entry[]} page
     * @param {boolean} more
     */
    applyHistory(conversation, page, more) {
        const oldest = conversation.entries[0]?.seq ?? Infinity;
        const older = page.filter((entry) => entry.seq < oldest);
        conversation.entries.unshift(...older);
        for (const entry of older) this.#applyMeaning(conversation, entry);
        conversation.isComplete = !more;
        conversation.isLoaded = true;
    }

    /** @param {string} conv @param {any} receipt */
    applyReceipt(conv, receipt) {
        const conversation = this.byConv.get(conv);
        if (conversation === undefined) return;
        if (receipt.user === undefined) conversation.counts = receipt;
        else this.#raise(conversation, receipt.user, receipt.delivered ?? 0, receipt.read ?? 0);
        if (receipt.user === this.me && (receipt.read ?? 0) > conversation.read)
            this.markRead(conversation, receipt.read); // Read in another tab or device of ours.
    }

    /**
     * @param {Conversation} conversation
     * @param {string} user
     * @param {number} delivered
     * @param {number} read
     */
    #raise(conversation, user, delivered, read) {
        const cursor = conversation.cursors.get(user) ?? { delivered: 0, read: 0 };
        cursor.read = Math.max(cursor.read, read);
        cursor.delivered = Math.max(cursor.delivered, delivered, read);
        conversation.cursors.set(user, cursor);
    }

    /** True where it was not known. @param {Conversation} conversation @param {number} seq */
    markRead(conversation, seq) {
        if (seq <= conversation.read) return false;
        conversation.read = seq;
        conversation.unread =
            seq >= conversation.head
                ? 0
                : conversation.entries.filter((entry) => entry.seq > seq && this.#isUnread(entry))
                      .length;
        return true;
    }

    /** @param {Conversation} conversation @param {string} cid @param {string} text */
    addOutgoing(conversation, cid, text) {
        conversation.outgoing.push({ cid, text, ts: Date.now() });
        conversation.activity = Date.now();
    }

    /** What a reload found in the outbox. @param {Pending[]} pending */
    adoptPending(pending) {
        for (const { conv, to, cid, body } of pending) {
            const conversation =
                conv !== undefined ? this.ensure(conv) : this.startDirect(to ?? '');
            if (!conversation.outgoing.some((out) => out.cid === cid))
                this.addOutgoing(conversation, cid, bodyText(body));
        }
    }

    /** An acknowledged send: an entry from now on, though its event may still be under way.
     * @param {import('./client.js').Sent} sent */
    applySent(sent) {
        const begun = [...this.all].find(
            (c) => c.outgoing.some((out) => out.cid === sent.cid) && c.conv === null,
        );
        const conversation =
            begun !== undefined ? this.#name(begun, sent.conv) : this.byConv.get(sent.conv);
        const out = conversation?.outgoing.find((item) => item.cid === sent.cid);
        if (out !== undefined) Object.assign(out, { seq: sent.seq, ts: sent.ts });
        return conversation;
    }

    /** @param {string} cid @param {string} why */
    refuse(cid, why) {
        for (const conversation of this.all)
            for (const out of conversation.outgoing) if (out.cid === cid) out.refused = why;
    }

    /** @param {string} conv */
    forget(conv) {
        const conversation = this.byConv.get(conv);
        if (conversation === undefined) return;
        this.byConv.delete(conv);
        this.all.delete(conversation);
        if (this.open === conversation) this.open = null;
    }

    /**
     * A gap that is not paged here: what we have is no longer up to the head.
     * @param {string} conv
     */
    skipTo(conv) {
        const conversation = this.ensure(conv);
        conversation.entries = [];
        conversation.isLoaded = conversation.isComplete = false;
    }

    /** How far a message of ours has come: as far as the last of the others has it.
     * @param {Conversation} conversation @param {number} seq @returns {Status} */
    statusOf(conversation, seq) {
        const others = conversation.kind === 'direct' ? 1 : Math.max(1, conversation.members - 1);
        const counts =
            conversation.counts !== null && conversation.counts.seq >= seq
                ? conversation.counts
                : null;
        let delivered = 0;
        let read = 0;
        for (const [user, cursor] of conversation.cursors) {
            delivered += Number(user !== this.me && cursor.delivered >= seq);
            read += Number(user !== this.me && cursor.read >= seq);
        }
        if (Math.max(read, (counts?.read_count ?? 1) - 1) >= others) return 'read';
        return Math.max(delivered, (counts?.delivered_count ?? 1) - 1) >= others
            ? 'delivered'
            : 'sent';
    }

    get unread() {
        return [...this.all].reduce((sum, conversation) => sum + conversation.unread, 0);
    }

    /** Cursors of others, to be kept over a reload: receipts come live only. */
    saveCursors() {
        return [...this.byConv.values()]
            .filter((c) => c.cursors.size > 0)
            .slice(0, 200)
            .map((c) => [
                c.conv,
                [...c.cursors].map(([user, { delivered, read }]) => [user, delivered, read]),
            ]);
    }

    /** @param {any} saved */
    restoreCursors(saved) {
        for (const [conv, cursors] of Array.isArray(saved) ? saved : [])
            for (const [user, delivered, read] of cursors)
                if (this.byConv.has(conv)) this.#raise(this.ensure(conv), user, delivered, read);
    }
}
