// chat_messages - the open conversation: a window of its lines, moved as one scrolls.
//
// Only up to WINDOW_MAX lines are in the document, so a conversation of many thousand messages is
// drawn as fast as one of a hundred. At the newest end the window follows what comes; away from
// it, its ends are seqs, and what is in view keeps its place when lines come or go around it.

import { byId, element, isolated, Keyed, moveFocus } from './chat_dom.js';
import { lineOfEntry, lineOfOutgoing, messageItem } from './chat_message.js';
import { wireMenu, wireTools } from './chat_pointer.js';
import { dayName, daysAgo, eventParts, partsText } from './chat_text.js';
import { addedRun, isFirstLineCut, lineStart, linesBack, linesOn } from './chat_window.js';

/** @typedef {import('./client.js').Progress} Progress */
/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_model.js').Shown} Shown */
/** @typedef {import('./chat_message.js').Line} Line */
/**
 * @typedef {object} Ports
 * @property {() => Conversation | null} current
 * @property {() => string} me
 * @property {() => void} older Load what lies before.
 * @property {(seq: number) => Promise<boolean>} reach Load back to this message.
 * @property {(seq: number) => void} quote Load what a reply names.
 * @property {(conv: string, which: number | string) => Progress} progressOf
 * @property {(message: Shown, node: HTMLElement, at?: import('./chat_menu.js').Box) => void} menu
 * @property {(message: Shown, emoji: string, on: boolean) => void} react
 * @property {(message: Shown) => void} reply
 * @property {(message: Shown) => void} readers
 * @property {(what: 'retry'|'copy'|'discard', cid: string) => void} unsent Of a refused one.
 * @property {() => void} seen The view moved: other messages may have been read.
 * @property {() => void} leave Back to writing.
 */

const WINDOW_STEP = 100; // In lines, as is the next.
const WINDOW_MAX = 300;
const NEAR_END_PX = 700;
const NEAR_BOTTOM_PX = 80;
const BELOW_DAY_PX = 52;
const FLASH_MS = 1600;
const FOLLOW = -1; // `first`: so far back as a step goes, always.

export class MessageList {
    /** @param {Ports} ports */
    constructor(ports) {
        this.ports = ports;
        /** @type {HTMLElement} */
        this.scroller = byId('scroller');
        this.lines = new Keyed(byId('messages'));
        /** @type {Set<string>} */
        this.whole = new Set(); // Long messages that are shown whole, by key.
        this.first = FOLLOW;
        this.last = Infinity;
        this.shownFirst = 0;
        this.isNearBottom = true; // As last scrolled or drawn, whatever grew or shrank since.
        this.height = 0; // Of the scroller, when that was found.
        this.scroller.addEventListener('scroll', () => this.#onScroll(), { passive: true });
        this.scroller.addEventListener('keydown', (event) => this.#onKey(event));
        this.scroller.addEventListener('focusin', (event) => this.#onFocus(event.target));
        this.scroller.addEventListener('click', (event) => this.#onClick(event));
        this.scroller.addEventListener('beforematch', ({ target }) =>
            this.#unfold(/** @type {Element} */ (target)),
        );
        const messageAt = (/** @type {EventTarget | null} */ target) => this.#messageAt(target);
        wireMenu(this.scroller, messageAt, ports.menu);
        wireTools(this.scroller, messageAt, ports);
        this.#followSize();
    }

    /** Another conversation, from its newest message. */
    reset() {
        this.lines.clear();
        this.whole.clear();
        this.first = FOLLOW;
        this.last = Infinity;
        this.shownFirst = 0;
        this.isNearBottom = true;
    }

    /* ---- The window ---- */

    get isAtBottom() {
        return this.last === Infinity && this.isNearBottom;
    }

    #noteBottom() {
        const { scrollHeight, scrollTop, clientHeight } = this.scroller;
        this.isNearBottom = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
        this.height = clientHeight;
    }

    #scrollToBottom() {
        this.scroller.scrollTop = this.scroller.scrollHeight;
        this.#noteBottom();
    }

    /** A keyboard comes up, the field below grows, a font is loaded: who was at the newest message
     * stays there. */
    #followSize() {
        const sizes = new ResizeObserver(() => {
            if (this.isAtBottom) this.#scrollToBottom();
            else this.#noteBottom();
            this.ports.seen();
        });
        sizes.observe(this.scroller);
        sizes.observe(this.lines.list);
    }

    /** Which of the entries are in the document. @param {Conversation} conversation
     * @param {boolean} isFollowing @returns {[number, number]} */
    #range(conversation, isFollowing) {
        const { entries } = conversation;
        const { length } = entries;
        if (isFollowing) this.first = FOLLOW;
        else if (this.first === FOLLOW) this.first = this.shownFirst;
        const low =
            this.first === FOLLOW
                ? linesBack(entries, length, WINDOW_STEP)
                : lineStart(entries, conversation.indexOf(this.first));
        const high = this.last === Infinity ? length : conversation.indexOf(this.last + 1);
        const end = linesOn(entries, low, WINDOW_MAX);
        if (high > end) this.last = entries[end - 1].seq;
        return [low, Math.min(high, end)];
    }

    /** What there is now; stays at the bottom where it was there. */
    draw() {
        const conversation = this.ports.current();
        if (conversation === null) return;
        const isFollowing = this.isAtBottom;
        this.#show(conversation, ...this.#range(conversation, isFollowing));
        if (isFollowing) this.#scrollToBottom();
        else this.#noteBottom();
    }

    /** @param {Conversation} conversation @param {number} low @param {number} high */
    #show(conversation, low, high) {
        const entries = conversation.entries.slice(low, high);
        this.shownFirst = entries[0]?.seq ?? 0;
        const isGroup = conversation.kind === 'group';
        const context = { me: this.ports.me(), isGroup, whole: this.whole };
        /** @type {import('./chat_dom.js').Item[]} */
        const items = [];
        /** @type {Line | null} */
        let before = null;
        let day = NaN;
        /** @param {number} ts */
        const separate = (ts) => {
            if (daysAgo(ts) === day) return;
            day = daysAgo(ts);
            before = null;
            items.push({
                key: `day ${new Date(ts).toDateString()}`,
                print: String(day),
                make: () => element('li', 'day', element('span', '', dayName(ts))),
            });
        };
        for (const line of this.#lines(conversation, entries)) {
            separate(line.ts);
            if (line.isNew) items.push(NEW_MESSAGES);
            if (line.message === undefined) {
                const parts = line.event ?? [];
                const nodes = () =>
                    parts.map((p) => (typeof p === 'string' ? p : isolated(p.name)));
                const make = () => element('li', 'event', ...nodes());
                items.push({ key: `#${line.seq}`, print: partsText(parts), make });
                before = null;
            } else {
                items.push(messageItem(line.message, line.isNew ? null : before, context));
                before = line.message;
            }
        }
        this.lines.show(items);
        this.#showDay();
    }

    /** Days stay at the upper edge: of those in one place only the last is seen. */
    #showDay() {
        const days = [...this.lines.list.querySelectorAll('.day')];
        const boxes = days.map((day) => day.getBoundingClientRect());
        days.forEach((day, i) =>
            day.classList.toggle('is-past', boxes[i + 1]?.top < boxes[i].bottom),
        );
    }

    /** Entries and then what is being sent, each with what else belongs to its line.
     * @param {Conversation} conversation @param {Shown[]} entries */
    *#lines(conversation, entries) {
        const { conv, kind, newFrom } = conversation;
        const me = this.ports.me();
        const mine = kind === 'group' && conv !== null ? conversation.lastOf(me) : undefined;
        // Only where it is the boundary: not where what was read before is not in the document.
        const isBoundary = (entries[0]?.seq ?? 0) < newFrom;
        let isMarked = newFrom === 0 || !isBoundary;
        for (let i = 0; i < entries.length; i++) {
            const entry = entries[i];
            const { seq, ts } = entry;
            if (entry.type !== 'message') {
                const run = entries.slice(i, i + Math.max(1, addedRun(entries, i)));
                i += run.length - 1;
                const event = eventParts(
                    entry,
                    run.map(({ user = '' }) => user),
                );
                if (event !== null && kind !== 'direct') yield { seq, ts, event, isNew: false };
                continue;
            }
            const progress =
                entry.from === me && conv !== null ? this.ports.progressOf(conv, seq) : undefined;
            const message = lineOfEntry(conversation, entry, me, progress?.status);
            if (entry === mine && conversation.outgoing.length === 0)
                message.readers = readersText(progress);
            if (message.replyTo !== undefined) this.#wantQuote(conversation, message.replyTo);
            const isNew = !isMarked && seq >= newFrom && entry.from !== me;
            isMarked ||= isNew;
            yield { seq, ts, message, isNew };
        }
        if (this.last !== Infinity) return;
        for (const out of conversation.outgoing) {
            const status = this.#statusOf(conversation, out);
            const message = lineOfOutgoing(conversation, out, me, status);
            yield { seq: 0, ts: out.ts, message, isNew: false };
        }
    }

    /** @param {Conversation} conversation @param {import('./chat_model.js').Outgoing} out */
    #statusOf(conversation, out) {
        if (out.refused !== undefined) return 'failed';
        if (out.seq === undefined || conversation.conv === null) return 'sending';
        return this.ports.progressOf(conversation.conv, out.seq).status;
    }

    /** @param {Conversation} conversation @param {number} seq */
    #wantQuote(conversation, seq) {
        if (conversation.find(seq) === undefined && !conversation.quoted.has(seq))
            this.ports.quote(seq);
    }

    /** Change what is in the document, and leave what is in view where it is.
     * @param {() => void} change */
    keepPlace(change) {
        const top = this.scroller.getBoundingClientRect().top;
        let anchor = '';
        let offset = 0;
        for (const [key, { node }] of this.lines.nodes) {
            const rect = node.getBoundingClientRect();
            // Not a separator: it may go when what it separates from comes.
            if (rect.bottom <= top || !node.classList.contains('message')) continue;
            anchor = key;
            offset = rect.top;
            break;
        }
        change();
        const node = this.lines.nodes.get(anchor)?.node;
        if (node !== undefined)
            this.scroller.scrollTop += node.getBoundingClientRect().top - offset;
        this.#noteBottom();
    }

    /** Draw from `low` to `high` of the entries. @param {number} low @param {number} high */
    #moveTo(low, high) {
        const conversation = /** @type {Conversation} */ (this.ports.current());
        const { entries } = conversation;
        this.first = entries[low]?.seq ?? 0;
        this.last = high >= entries.length ? Infinity : entries[high - 1].seq;
        this.keepPlace(() => this.#show(conversation, low, high));
    }

    /** Older ones are there: let the window reach back. False where it was at the first. */
    extendUp() {
        const conversation = this.ports.current();
        if (conversation === null) return false;
        const { entries } = conversation;
        const shown = conversation.indexOf(this.shownFirst);
        if (shown === 0) return false;
        const low = linesBack(entries, shown, WINDOW_STEP);
        const high = this.last === Infinity ? entries.length : conversation.indexOf(this.last + 1);
        this.#moveTo(low, Math.min(high, linesOn(entries, low, WINDOW_MAX)));
        return true;
    }

    /** What is in the document leaves room, or its first line goes on in what is not loaded. */
    get wantsOlder() {
        const conversation = this.ports.current();
        if (!conversation?.isLoaded) return false;
        const { scrollHeight, clientHeight } = this.scroller;
        const isFirstShown = conversation.entries[0]?.seq === this.shownFirst;
        return scrollHeight <= clientHeight || (isFirstShown && isFirstLineCut(conversation));
    }

    /** Older ones were loaded: show them where one is near. At the bottom draw() does. */
    fill() {
        if (!this.isAtBottom && this.scroller.scrollTop < NEAR_END_PX) this.extendUp();
    }

    #extendDown() {
        const conversation = this.ports.current();
        if (conversation === null || this.last === Infinity) return;
        const { entries } = conversation;
        const high = linesOn(entries, conversation.indexOf(this.last + 1), WINDOW_STEP);
        const low = conversation.indexOf(this.shownFirst);
        this.#moveTo(Math.max(low, linesBack(entries, high, WINDOW_MAX)), high);
    }

    toBottom() {
        this.first = FOLLOW;
        this.last = Infinity;
        const conversation = this.ports.current();
        if (conversation === null) return;
        this.#show(conversation, ...this.#range(conversation, true));
        this.#scrollToBottom();
    }

    /** Where one stopped reading, where that is not in view at the bottom anyway. */
    toNew() {
        const node = this.lines.nodes.get(NEW_MESSAGES.key)?.node;
        if (node === undefined) return;
        const above = node.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top;
        if (above < 0) this.scroller.scrollTop += above - BELOW_DAY_PX;
        this.#noteBottom();
    }

    /** Show a message, wherever it is, and point at it. @param {number} seq */
    async jump(seq) {
        const conversation = this.ports.current();
        if (conversation === null) return;
        if (conversation.find(seq) === undefined && !(await this.ports.reach(seq))) return;
        if (this.ports.current() !== conversation) return;
        const at = conversation.indexOf(seq);
        const { entries } = conversation;
        const half = WINDOW_STEP / 2;
        if (!this.#nodeOf(seq))
            this.#moveTo(linesBack(entries, at, half), linesOn(entries, at, half));
        const node = this.#nodeOf(seq);
        if (node === null) return;
        node.scrollIntoView({ block: 'center' });
        this.#noteBottom();
        node.focus({ preventScroll: true });
        node.classList.add('flash');
        setTimeout(() => node.classList.remove('flash'), FLASH_MS);
    }

    /** @param {number} seq @returns {HTMLElement | null} */
    #nodeOf(seq) {
        return this.lines.list.querySelector(`.message[data-seq="${seq}"]`);
    }

    /** The newest message that is wholly above the lower edge: seen by who looks. */
    get seenSeq() {
        const conversation = this.ports.current();
        if (conversation === null) return 0;
        if (this.isAtBottom) return conversation.newest;
        const { bottom } = this.scroller.getBoundingClientRect();
        const nodes = this.#messages();
        for (let i = nodes.length - 1; i >= 0; i--)
            if (nodes[i].getBoundingClientRect().bottom <= bottom)
                return Number(nodes[i].dataset.seq);
        return 0;
    }

    /* ---- What a person does ---- */

    /** @returns {HTMLElement[]} */
    #messages() {
        return [...this.lines.list.querySelectorAll('.message')].map(
            (node) => /** @type {HTMLElement} */ (node),
        );
    }

    /** @param {EventTarget | null} target */
    #messageAt(target) {
        const node = /** @type {HTMLElement | null} */ (
            /** @type {Element} */ (target).closest('.message')
        );
        const message = this.ports.current()?.find(Number(node?.dataset.seq));
        return node !== null && message !== undefined ? { node, message } : null;
    }

    #onScroll() {
        const { scrollTop, scrollHeight, clientHeight } = this.scroller;
        // Where the height changed as well, this is not a hand that scrolls: see followSize.
        if (clientHeight === this.height) this.#noteBottom();
        this.#showDay();
        if (scrollTop < NEAR_END_PX && !this.extendUp()) this.ports.older();
        if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) this.#extendDown();
        this.ports.seen();
    }

    /** Links are reached with the Tab key from their own message only, else a conversation full of
     * them would be a hundred stops. @param {EventTarget | null} target */
    #onFocus(target) {
        const at = this.#messageAt(target);
        for (const link of this.lines.list.getElementsByTagName('a'))
            link.tabIndex = at?.node.contains(link) ? 0 : -1;
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const nodes = this.#messages();
        if (event.target === this.scroller) {
            if (event.key !== 'ArrowUp' || nodes.length === 0) return;
            event.preventDefault();
            nodes[nodes.length - 1].focus();
            return;
        }
        const at = this.#messageAt(event.target);
        if (at === null) return;
        if (at.node !== event.target) {
            // From a link or button in it the arrows go on from the message.
            if (!['ArrowUp', 'ArrowDown', 'Home', 'End'].includes(event.key)) return;
            at.node.focus({ preventScroll: true });
        }
        if (event.key === 'Escape') {
            event.stopPropagation();
            this.ports.leave();
        } else if (['Enter', ' ', 'ContextMenu'].includes(event.key)) {
            event.preventDefault();
            this.ports.menu(at.message, at.node);
        } else if (event.key === 'r' && !event.ctrlKey && !event.metaKey) {
            event.preventDefault();
            this.ports.reply(at.message);
        } else {
            moveFocus(event, nodes);
        }
    }

    /** The message that this is in; it begins where it began. @param {Element} within */
    #unfold(within) {
        const message = /** @type {HTMLElement} */ (within.closest('.message'));
        this.whole.add(String(message.dataset.key));
        this.isNearBottom = false;
        this.keepPlace(() => message.querySelector('.rest')?.removeAttribute('hidden'));
    }

    /** @param {MouseEvent} event */
    #onClick(event) {
        const button = /** @type {HTMLElement | null} */ (
            /** @type {Element} */ (event.target).closest('button')
        );
        if (button === null) return;
        const key = /** @type {HTMLElement | null} */ (button.closest('.message'))?.dataset.key;
        for (const what of /** @type {const} */ (['retry', 'copy', 'discard']))
            if (button.classList.contains(what) && key !== undefined) this.ports.unsent(what, key);
        if (button.closest('.more') !== null) this.#unfold(button);
        const at = this.#messageAt(button);
        if (at === null) return;
        if (button.classList.contains('quote')) void this.jump(Number(button.dataset.seq));
        else if (button.classList.contains('readers')) this.ports.readers(at.message);
        else if (button.dataset.emoji !== undefined)
            this.ports.react(
                at.message,
                button.dataset.emoji,
                button.getAttribute('aria-pressed') !== 'true',
            );
    }
}

/** @type {import('./chat_dom.js').Item} */
const NEW_MESSAGES = {
    key: 'new',
    print: '',
    make: () => element('li', 'new-messages', element('span', '', 'New messages')),
};

/** "Read by 45 of 50", while not all have. @param {Progress | undefined} progress */
function readersText(progress) {
    if (!progress?.total) return undefined;
    const { read, delivered, total } = progress;
    if (read >= total) return total > 1 ? `Read by all ${total}` : 'Read';
    if (read > 0) return `Read by ${read} of ${total}`;
    return delivered > 0 ? `Delivered to ${delivered} of ${total}` : undefined;
}
