// chat_composer - where one writes: drafts kept per conversation, replies, edits, and the word that
// one is typing.

import { byId, isolated } from './chat_dom.js';
import { bodyText, excerpt } from './chat_text.js';

/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_model.js').Shown} Shown */
/**
 * @typedef {object} Ports
 * @property {() => Conversation | null} current
 * @property {() => string} me
 * @property {(text: string, replyTo: number | undefined) => void} send
 * @property {(message: Shown, text: string) => void} edit
 * @property {(isTyping: boolean) => void} typing
 * @property {() => void} drafted A draft was changed.
 */

const COMPOSER_MAX_PX = 160;

/** Without keys of its own a device has no Shift+Enter: there Enter makes a line. */
const hasKeys = () => matchMedia('(hover: hover)').matches;

export class Composer {
    /** @param {Ports} ports */
    constructor(ports) {
        this.ports = ports;
        /** @type {HTMLTextAreaElement} */
        this.text = byId('text');
        /** @type {Shown | null} */
        this.editing = null;
        /** @type {Shown | null} */
        this.replying = null;
        byId('composer').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
            event.preventDefault();
            this.#submit();
        });
        byId('composer-cancel').addEventListener('click', () => {
            this.cancel();
            this.text.focus();
        });
        // It would take the focus from the field, and on a phone the keyboard would go.
        byId('send').addEventListener('mousedown', (/** @type {MouseEvent} */ event) =>
            event.preventDefault(),
        );
        if (!hasKeys()) this.text.enterKeyHint = 'enter';
        this.text.addEventListener('input', () => this.#onInput());
        this.text.addEventListener('keydown', (event) => this.#onKey(event));
    }

    /** Another conversation is shown: its draft, and nothing of the last one's. */
    show() {
        this.editing = this.replying = null;
        this.text.value = this.ports.current()?.draft ?? '';
        this.#drawNote();
        this.#fit();
    }

    /** A draft may have come for what is shown. */
    refresh() {
        const draft = this.ports.current()?.draft ?? '';
        if (draft === '' || this.editing !== null || this.text.value !== '') return;
        this.text.value = draft;
        this.#fit();
    }

    /** A message that was not sent is to be written anew. Nothing that is there goes for it.
     * @param {string} text */
    takeBack(text) {
        if (this.editing === null && this.text.value === '') {
            this.text.value = text;
            this.#keepDraft();
            this.#fit();
        }
        this.text.focus();
    }

    focus() {
        this.text.focus();
    }

    /** @param {Shown} message */
    reply(message) {
        if (this.editing !== null) this.cancel();
        this.replying = message;
        this.#drawNote();
        this.text.focus();
    }

    /** @param {Shown} message */
    edit(message) {
        this.editing = message;
        this.replying = null;
        this.text.value = bodyText(message.body);
        this.#drawNote();
        this.#fit();
        this.text.focus();
        this.text.setSelectionRange(this.text.value.length, this.text.value.length);
    }

    /** Neither reply nor edit; the draft from before the edit is back. False: there was none. */
    cancel() {
        if (this.editing === null && this.replying === null) return false;
        if (this.editing !== null) this.text.value = this.ports.current()?.draft ?? '';
        this.editing = this.replying = null;
        this.#drawNote();
        this.#fit();
        return true;
    }

    /** What it was about was deleted. @param {number} seq */
    forget(seq) {
        if (this.editing?.seq === seq || this.replying?.seq === seq) this.cancel();
    }

    #submit() {
        const text = this.text.value.trim();
        if (text === '' || this.ports.current() === null) return;
        const { editing, replying } = this;
        if (editing !== null) {
            this.cancel();
            if (text !== bodyText(editing.body)) this.ports.edit(editing, text);
            return;
        }
        this.text.value = '';
        this.replying = null;
        this.#keepDraft();
        this.#drawNote();
        this.#fit();
        this.ports.send(text, replying?.seq);
    }

    #onInput() {
        this.#fit();
        if (this.editing !== null) return;
        this.#keepDraft();
        this.ports.typing(this.text.value !== '');
    }

    #keepDraft() {
        const conversation = this.ports.current();
        if (conversation === null) return;
        conversation.draft = this.text.value;
        this.ports.drafted();
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        if (event.isComposing) return; // An IME takes its own Enter and arrows.
        const isCommand = event.ctrlKey || event.metaKey;
        if (event.key === 'Enter' && (isCommand || (!event.shiftKey && hasKeys()))) {
            event.preventDefault();
            this.#submit();
        } else if (event.key === 'ArrowUp' && this.text.value === '' && this.editing === null) {
            const last = this.ports.current()?.lastOf(this.ports.me());
            if (last === undefined) return;
            event.preventDefault();
            this.edit(last);
        } else if (event.key === 'Escape' && this.cancel()) {
            event.stopPropagation();
        }
    }

    #drawNote() {
        const about = this.editing ?? this.replying;
        byId('composer-note').hidden = about === null;
        byId('composer').classList.toggle('editing', this.editing !== null);
        if (about === null) return;
        const who = about.from === this.ports.me() ? 'yourself' : isolated(about.from);
        const words = this.editing !== null ? ['Edit message'] : ['Reply to ', who];
        byId('composer-about').replaceChildren(...words);
        byId('composer-quote').textContent = excerpt(about);
    }

    #fit() {
        const form = byId('composer');
        form.style.minHeight = `${form.offsetHeight}px`; // While it is measured nothing moves.
        this.text.style.height = 'auto'; // Else it could only grow.
        this.text.style.height = `${Math.min(this.text.scrollHeight, COMPOSER_MAX_PX)}px`;
        form.style.minHeight = '';
    }
}
