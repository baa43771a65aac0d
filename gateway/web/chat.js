// chat - the chat page: login, the client's events into the model, the model onto the screen.
//
// Each tab is a device of its own (sessionStorage), so two tabs of one name both get everything.
// Drawing is gathered: whatever changed, one pass a frame redraws the list, the open conversation
// and the banner.

import { ChatmeshClient, newCid } from './client.js';
import { MembersDialog, wireDialogs } from './chat_dialogs.js';
import { bodyText, ChatModel } from './chat_model.js';
import { avatar, conversationRow, eventText, MessageList } from './chat_view.js';

/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./client.js').StateChange} StateChange */

const HISTORY_PAGE = 50;
const LIST_PAGES_MAX = 10;
const NEAR_BOTTOM_PX = 80;
const NEAR_TOP_PX = 300;
const BANNER_AFTER_MS = 700; // A reconnect shorter than this is nobody's business.
const COMPOSER_MAX_PX = 160;
const FRAME_MS = 16;

/** Why the server does not want us back, and what a person can do about it. */
const FATAL = new Map([
    [
        4509,
        {
            title: 'Open in another tab',
            text: 'This chat was opened in a copy of this tab. Only one of the two is connected.',
            action: 'Use here',
        },
    ],
    [4503, { title: 'Logged out', text: 'The server ended this session.', action: 'Log in again' }],
    [
        4501,
        { title: 'Please log in again', text: 'Your login has expired.', action: 'Log in again' },
    ],
    [
        1009,
        {
            title: 'A message was too large',
            text: 'The server refused it and closed the connection.',
            action: 'Reconnect',
        },
    ],
]);
const FATAL_OTHER = {
    title: 'The connection was refused',
    text: 'The server and this page did not understand each other. Reloading may help.',
    action: 'Reload',
};

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

const model = new ChatModel();
const messages = new MessageList(byId('messages'));
const membersDialog = new MembersDialog(
    () => client,
    () => model.open,
);
/** @type {ChatmeshClient} */
let client;
let isLoadingOlder = false;
let drawTimer = 0;
let bannerTimer = 0;
let isBannerDue = false;
let toReopen = ''; // The conversation that was open before a reload.

/* ---- Login ---- */

/** @param {string} user */
async function fetchToken(user) {
    const response = await fetch('v1/dev/token', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ user }),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 404)
        throw new Error('This cluster is not in development mode, so it hands out no logins here.');
    if (!response.ok)
        throw new Error(answer.error?.message ?? `The server answered ${response.status}.`);
    return answer.token;
}

/** @param {SubmitEvent} event */
async function onLogin(event) {
    event.preventDefault();
    const name = byId('login-name').value.trim();
    byId('login-error').textContent = '';
    if (name === '') return;
    try {
        start(name, await fetchToken(name));
    } catch (error) {
        byId('login-error').textContent =
            error instanceof TypeError
                ? 'The server cannot be reached.'
                : /** @type {Error} */ (error).message;
    }
}

function logOut() {
    if (
        client.pending.length > 0 &&
        !confirm('Some messages have not been sent. Log out all the same?')
    )
        return;
    client.close();
    sessionStorage.clear();
    location.reload();
}

/** @param {string} name @param {string} [token] */
function start(name, token) {
    let device = sessionStorage.getItem('chatmesh.tab');
    if (device === null) {
        device = `web-${newCid()}`;
        sessionStorage.setItem('chatmesh.tab', device);
    }
    sessionStorage.setItem('chatmesh.name', name);
    model.me = name;
    client = new ChatmeshClient({
        url: `${location.origin.replace(/^http/, 'ws')}/ws`,
        token,
        getToken: () => fetchToken(name),
        device,
        storage: sessionStorage,
        storageKey: `chatmesh.${name}`,
    });
    byId('me-avatar').replaceChildren(avatar(name));
    byId('me-name').textContent = name;
    document.body.dataset.screen = 'list';
    follow();
    model.adoptPending(client.pending);
    client.connect();
    draw();
    return client;
}

/* ---- The client's events ---- */

function follow() {
    client.on('state', onState);
    client.on('welcome', () => void loadList());
    client.on('message', onEntry);
    client.on('member', onEntry);
    client.on('info', onEntry);
    client.on('gap', (gap) => {
        // Scrolling back loads it when someone wants it.
        gap.skip();
        model.skipTo(gap.conv);
        draw();
    });
    client.on('reset', () => location.reload());
    client.on('receipt', (receipt) => {
        model.applyReceipt(receipt.conv, receipt);
        draw();
    });
    client.on('conversation', ({ conv, gone }) => {
        if (gone) forget(conv);
        else void loadList();
    });
    client.on('sent', (sent) => {
        model.applySent(sent);
        draw();
    });
    client.on('refused', ({ cid, error }) => {
        model.refuse(cid, error.message);
        draw();
    });
    client.on('outbox', draw);
    client.on('error', (error) => console.warn('chatmesh:', error));
}

/** @param {Entry} entry */
function onEntry(entry) {
    if (!model.byConv.has(entry.conv)) void loadList(); // Its title and kind.
    const conversation = model.applyEntry(entry);
    if (entry.type === 'member' && conversation === model.open) membersDialog.refresh();
    draw();
}

/** @param {string} conv */
function forget(conv) {
    const wasOpen = model.open?.conv === conv;
    model.forget(conv);
    if (wasOpen) closeConversation();
    draw();
}

let isListLoading = false;
let isListStale = false;

/** The whole list, page by page; asked again while it loads, it loads once more. */
async function loadList() {
    isListStale = true;
    if (isListLoading) return;
    isListLoading = true;
    try {
        while (isListStale) {
            isListStale = false;
            model.applyList(await fetchList());
            model.restoreCursors(JSON.parse(sessionStorage.getItem('chatmesh.cursors') ?? 'null'));
        }
    } catch (error) {
        console.warn('chatmesh:', error); // The next welcome asks again.
    } finally {
        isListLoading = false;
    }
    reopen();
    draw();
}

/** After a reload: what was open, now that the list has told that it still is ours. */
function reopen() {
    const conversation = model.byConv.get(toReopen);
    toReopen = '';
    if (conversation !== undefined && model.open === null) openConversation(conversation);
}

async function fetchList() {
    const items = [];
    let page = await client.conversations();
    items.push(...page.conversations);
    for (let n = 1; page.more && page.conversations.length > 0 && n < LIST_PAGES_MAX; n++) {
        page = await client.conversations({ after: items[items.length - 1].conv });
        items.push(...page.conversations);
    }
    return items;
}

/** @param {StateChange} change */
function onState({ state, code }) {
    if (state === 'closed' && code !== 1000) {
        showFatal(FATAL.get(code ?? 0) ?? FATAL_OTHER);
        return;
    }
    clearTimeout(bannerTimer);
    isBannerDue = isBannerDue && state !== 'online';
    if (state !== 'online')
        bannerTimer = window.setTimeout(
            () => {
                isBannerDue = true;
                draw();
            },
            navigator.onLine ? BANNER_AFTER_MS : 0,
        );
    draw();
}

/** @param {{title: string, text: string, action: string}} fatal */
function showFatal({ title, text, action }) {
    byId('fatal-title').textContent = title;
    byId('fatal-text').textContent = text;
    byId('fatal-action').textContent = action;
    byId('fatal').hidden = false;
    byId('fatal-action').focus();
    byId('fatal-action').onclick = () => {
        byId('fatal').hidden = true;
        if (action === 'Use here' || action === 'Reconnect') client.connect();
        else if (action === 'Reload') location.reload();
        else logOut();
    };
}

/* ---- Conversations ---- */

/** @param {Conversation} conversation */
function openConversation(conversation) {
    model.open = conversation;
    messages.clear();
    byId('text').value = '';
    fitComposer();
    document.body.dataset.screen = 'chat';
    drawNow();
    scrollToBottom();
    // On a phone that would raise the keyboard unasked.
    if (matchMedia('(hover: hover)').matches) byId('text').focus();
}

function closeConversation() {
    model.open = null;
    messages.clear();
    document.body.dataset.screen = 'list';
    drawNow();
}

/** A page of history from before what is shown. */
async function loadOlder() {
    const conversation = model.open;
    if (
        conversation === null ||
        conversation.conv === null ||
        conversation.isComplete ||
        isLoadingOlder
    )
        return;
    isLoadingOlder = true;
    byId('older').hidden = !conversation.isLoaded;
    try {
        const before = conversation.entries[0]?.seq ?? Number.MAX_SAFE_INTEGER;
        const page = await client.history(conversation.conv, { before, limit: HISTORY_PAGE });
        const { scrollHeight, scrollTop } = byId('scroller');
        const wasAtBottom = isAtBottom();
        model.applyHistory(conversation, page.entries, page.more);
        drawNow();
        if (model.open === conversation && !wasAtBottom)
            // What is in view stays where it is.
            byId('scroller').scrollTop = scrollTop + byId('scroller').scrollHeight - scrollHeight;
    } catch (error) {
        console.warn('chatmesh:', error); // Scrolling, or the next welcome, asks again.
    } finally {
        isLoadingOlder = false;
        byId('older').hidden = true;
    }
    fillScreen();
}

/** A tall window, or many lines that are not shown, need more than one page. */
function fillScreen() {
    const scroller = byId('scroller');
    if (
        model.open?.isLoaded &&
        client.state === 'online' &&
        scroller.scrollHeight <= scroller.clientHeight
    )
        void loadOlder();
}

/** @param {SubmitEvent | null} event */
function onSend(event) {
    event?.preventDefault();
    const conversation = model.open;
    const text = byId('text').value.trim();
    if (conversation === null || text === '') return;
    const cid = newCid();
    model.addOutgoing(conversation, cid, text);
    const target =
        conversation.conv !== null ? { conv: conversation.conv } : { to: conversation.peer };
    client.send(target, { text }, { cid }).catch(() => {}); // `refused` shows it at the message.
    byId('text').value = '';
    fitComposer();
    drawNow();
    scrollToBottom();
}

/** Seen is what is on the screen of someone who is there. */
function markSeen() {
    const conversation = model.open;
    if (
        conversation === null ||
        conversation.conv === null ||
        document.hidden ||
        !isAtBottom() ||
        !conversation.isLoaded
    )
        return;
    if (model.markRead(conversation, conversation.head))
        client.markRead(conversation.conv, conversation.head);
}

/* ---- The screen ---- */

const isAtBottom = () => {
    const { scrollHeight, scrollTop, clientHeight } = byId('scroller');
    return scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
};

function scrollToBottom() {
    byId('scroller').scrollTop = byId('scroller').scrollHeight;
}

function draw() {
    if (drawTimer === 0) drawTimer = window.setTimeout(drawNow, FRAME_MS);
}

function drawNow() {
    clearTimeout(drawTimer);
    drawTimer = 0;
    const stick = isAtBottom();
    drawOpen();
    if (stick) scrollToBottom();
    if (model.open !== null && !model.open.isLoaded) void loadOlder();
    markSeen();
    drawList();
    drawBanner();
    byId('to-bottom').hidden = isAtBottom();
    sessionStorage.setItem('chatmesh.open', model.open?.conv ?? '');
    sessionStorage.setItem('chatmesh.cursors', JSON.stringify(model.saveCursors()));
}

function drawList() {
    const hadFocus = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.key;
    const sorted = model.sorted();
    const rows = sorted.map((conversation) => {
        const row = conversationRow(conversation, model.me, conversation === model.open);
        const button = /** @type {HTMLElement} */ (row.firstElementChild);
        button.dataset.key = conversation.conv ?? `to ${conversation.peer}`;
        button.addEventListener('click', () => openConversation(conversation));
        return row;
    });
    byId('conversations').replaceChildren(...rows);
    rows.map((row) => /** @type {HTMLElement} */ (row.firstElementChild))
        .find((button) => hadFocus !== undefined && button.dataset.key === hadFocus)
        ?.focus();
    byId('no-conversations').hidden = rows.length > 0 || client.state !== 'online' || isListLoading;
    document.title = model.unread > 0 ? `(${model.unread}) Chatmesh` : 'Chatmesh';
}

function drawOpen() {
    const conversation = model.open;
    byId('chat-open').hidden = conversation === null;
    byId('chat-empty').hidden = conversation !== null;
    if (conversation === null) return;
    const isGroup = conversation.kind === 'group';
    byId('chat-avatar').replaceChildren(avatar(conversation.name));
    byId('chat-title').textContent = conversation.name;
    byId('chat-note').textContent = isGroup ? `${conversation.members} members` : '';
    byId('show-members').hidden = !isGroup;
    messages.show(linesOf(conversation), { me: model.me, isGroup });
}

/** @param {Conversation} conversation @returns {import('./chat_view.js').Line[]} */
function linesOf(conversation) {
    const lines = [];
    for (const entry of conversation.entries) {
        const { seq, ts, from } = entry;
        const isEvent = entry.type !== 'message';
        const text = isEvent ? eventText(entry) : bodyText(entry.body);
        if (text === null || (isEvent && conversation.kind === 'direct')) continue;
        const status =
            from === model.me && !isEvent ? model.statusOf(conversation, seq) : undefined;
        // The cid is the key from the first moment on, so that the bubble stays the same node.
        lines.push({
            key: status !== undefined && entry.cid !== undefined ? entry.cid : `#${seq}`,
            ts,
            from,
            text,
            isEvent,
            status,
        });
    }
    for (const { cid, ts, text, refused, seq } of conversation.outgoing) {
        /** @type {import('./chat_model.js').Status} */
        let status = 'sending';
        if (refused !== undefined) status = 'failed';
        else if (seq !== undefined) status = model.statusOf(conversation, seq);
        lines.push({ key: cid, ts, from: model.me, text, isEvent: false, status, refused });
    }
    return lines;
}

function drawBanner() {
    const queued = client.pending.length;
    const isOnline = client.state === 'online';
    const away = navigator.onLine ? 'Connecting…' : 'Offline';
    byId('me-state').textContent = isOnline ? 'Online' : away;
    document.body.dataset.online = String(isOnline);
    const waiting = queued === 1 ? '1 message waits' : `${queued} messages wait`;
    const text =
        (navigator.onLine ? 'Connecting…' : 'You are offline.') +
        (queued > 0 ? ` ${waiting} to be sent.` : '');
    for (const banner of [byId('banner'), byId('chat-banner')]) {
        banner.hidden = isOnline || !isBannerDue;
        if (!banner.hidden && banner.textContent !== text) banner.textContent = text;
    }
}

function fitComposer() {
    const text = byId('text');
    text.style.height = 'auto'; // Else it could only grow.
    text.style.height = `${Math.min(text.scrollHeight, COMPOSER_MAX_PX)}px`;
}

/* ---- Wiring ---- */

byId('login-form').addEventListener('submit', onLogin);
byId('logout').addEventListener('click', logOut);
byId('composer').addEventListener('submit', onSend);
byId('back').addEventListener('click', closeConversation);
byId('to-bottom').addEventListener('click', () => {
    scrollToBottom();
    drawNow();
});
byId('text').addEventListener('input', fitComposer);
byId('text').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        // Else an IME takes its Enter.
        event.preventDefault();
        onSend(null);
    }
});
byId('scroller').addEventListener(
    'scroll',
    () => {
        byId('to-bottom').hidden = isAtBottom();
        if (byId('scroller').scrollTop < NEAR_TOP_PX && client.state === 'online') void loadOlder();
        if (isAtBottom() && (model.open?.unread ?? 0) > 0) draw();
    },
    { passive: true },
);
document.addEventListener('keydown', (event) => {
    if (
        event.key === 'Escape' &&
        model.open !== null &&
        document.querySelector('dialog[open]') === null
    )
        closeConversation();
});
document.addEventListener('visibilitychange', () => client !== undefined && draw());
window.addEventListener('resize', () => model.open !== null && fillScreen());
window.addEventListener('beforeunload', (event) => {
    // They wait in this tab only.
    if (client !== undefined && client.pending.length > 0) event.preventDefault();
});
wireDialogs({
    client: () => client,
    openDirect: (name) => openConversation(model.startDirect(name)),
    openConv: (conv) => {
        openConversation(model.ensure(conv));
        void loadList();
    },
});

const name = sessionStorage.getItem('chatmesh.name');
if (name !== null) {
    toReopen = sessionStorage.getItem('chatmesh.open') ?? '';
    start(name);
}
