// chat - the chat page: the client's events into the model, what a person does into the client,
// the model onto the screen.
//
// Each tab is a device of its own (sessionStorage), so two tabs of one name both get everything.
// Drawing is gathered: whatever changed, one pass a frame redraws the list, the open conversation
// and the banner.

import { ChatmeshClient, newCid } from './client.js';
import { copy, MessageActions } from './chat_actions.js';
import { Composer } from './chat_composer.js';
import { wireDialogs } from './chat_dialogs.js';
import { announce, avatar, byId, orToast, toast } from './chat_dom.js';
import { Drafts } from './chat_drafts.js';
import { GroupDialog } from './chat_group.js';
import { ConversationList } from './chat_list.js';
import { fetchToken, hideFatal, showFatal, showLogin, wireLogin } from './chat_login.js';
import { Me } from './chat_me.js';
import { ask } from './chat_menu.js';
import { MessageList } from './chat_messages.js';
import { ChatModel } from './chat_model.js';
import { People } from './chat_people.js';
import { Places } from './chat_places.js';
import { counted, excerpt, notSentText, typingText } from './chat_text.js';

/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./client.js').StateChange} StateChange */

const FRAME_MS = 16;

const model = new ChatModel();
const drafts = new Drafts(model);
const people = new People();
/** @type {ChatmeshClient} */
let client;
let drawTimer = 0;
let toReopen = sessionStorage.getItem('chatmesh.open') ?? ''; // From before a reload.
let isIn = false; // Somebody is logged in.
let isCaughtUp = false; // What comes now is new, and not what was missed.

const places = new Places(model, () => client, draw);
const current = () => model.open;
const list = new ConversationList(model, people, {
    open: openConversation,
    startDirect: (name) => openConversation(model.startDirect(name)),
    typists: (conv) => client.typists(conv),
    statusOf: (conv, seq) => client.statusOf(conv, seq).status,
});
const messages = new MessageList({
    current,
    me: () => model.me,
    older: () => void loadOlder(),
    reach: (seq) => places.reach(seq),
    quote: (seq) => places.loadQuote(seq),
    progressOf: (conv, which) => client.statusOf(conv, which),
    menu: (message, node, at) => actions.open(message, node, at),
    react: (message, emoji, on) => actions.react(message, emoji, on),
    reply: (message) => composer.reply(message),
    readers: (message) => actions.showReaders(message),
    unsent,
    seen: () => (model.open?.unread ?? 0) > 0 && draw(),
    leave: () => composer.focus(),
});
const composer = new Composer({
    current,
    me: () => model.me,
    send,
    edit: ({ conv, seq, body }, text) =>
        orToast(client.edit(conv, seq, typeof body === 'object' ? { ...body, text } : { text })),
    typing: (isTyping) => model.open?.conv && client.typing(model.open.conv, isTyping),
    drafted: () => drafts.keepSoon(),
});
const group = new GroupDialog({
    client: () => client,
    current,
    people,
    loadRoster: (conversation) => places.loadRoster(conversation),
});
const actions = new MessageActions(model, {
    client: () => client,
    reply: (message) => composer.reply(message),
    edit: (message) => composer.edit(message),
    jump: (seq) => void messages.jump(seq),
});
const me = new Me(people, { client: () => client, logOut: () => void logOut(), lost });

/* ---- In and out ---- */

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
    isIn = true;
    me.show(name);
    document.body.dataset.screen = 'list';
    follow();
    model.adoptPending(client.pending);
    client.connect();
    draw();
}

async function logOut() {
    const unsent = notSentText(client.pending.length, client.pendingChanges.length);
    if (unsent === '' || (await ask(unsent, 'Log out all the same'))) leave();
}

/** To the login, with nothing left of who was here. Not by a reload: offline that ends on the
 * browser's own page. */
function leave() {
    isIn = false;
    client.close();
    drafts.stop();
    sessionStorage.clear();
    model.clear();
    people.clear();
    places.clear();
    me.clear();
    closeOverlays();
    hideFatal();
    toReopen = '';
    document.title = 'Chatmesh';
    messages.reset();
    composer.show();
    drawOpen();
    list.clearFilter();
    showLogin();
}

function reload() {
    drafts.keep();
    isIn = false; // What waits is kept over a reload: nobody need be asked.
    location.reload();
}

/* ---- The client's events ---- */

function follow() {
    client.on('state', onState);
    client.on('welcome', () => void loadList());
    client.on('resumed', () => {
        isCaughtUp = true;
    });
    for (const type of /** @type {const} */ ([
        'message',
        'member',
        'info',
        'edit',
        'delete',
        'reaction',
    ]))
        client.on(type, onEntry);
    client.on('gap', (gap) => {
        // Scrolling back loads it when someone wants it.
        gap.skip();
        model.skipTo(gap.conv);
        draw();
    });
    client.on('reset', reload);
    client.on('receipt', ({ conv, user, read }) => {
        const conversation = model.byConv.get(conv);
        if (conversation !== undefined && user === model.me)
            model.markRead(conversation, read ?? 0); // In another tab or device of ours.
        draw();
    });
    client.on('typing', draw);
    client.on('presence', (presence) => {
        people.apply(presence);
        draw();
    });
    client.on('activity', (activity) => {
        if (!model.byConv.has(activity.conv)) void loadList();
        places.loadLast(model.applyActivity(activity, !places.isListLoading));
        draw();
    });
    client.on('conversation', ({ conv, gone }) => {
        if (gone) forget(conv);
        else void loadList();
    });
    client.on('sent', (sent) => {
        if (sent.request === undefined || sent.request === 'send') model.applySent(sent);
        draw();
    });
    client.on('refused', ({ cid, error }) => {
        model.refuse(cid, error.message); // Of a page that was reloaded since: nobody else asks.
        draw();
    });
    client.on('outbox', draw);
    client.on('error', (error) => console.warn('chatmesh:', error));
}

/** @param {Entry} entry */
function onEntry(entry) {
    const isNew = isCaughtUp && entry.seq > (model.byConv.get(entry.conv)?.head ?? 0);
    if (!model.byConv.has(entry.conv)) void loadList(); // Its title and kind.
    const conversation = model.applyEntry(entry);
    if (conversation === model.open) {
        if (entry.type === 'member') loadRoster(conversation);
        if (entry.type === 'info') group.refresh();
        if (entry.type === 'delete') composer.forget(entry.target ?? 0);
    }
    if (isNew && entry.type === 'message' && entry.from !== model.me) tell(conversation, entry);
    draw();
}

/** To who does not see the page. @param {Conversation} conversation @param {Entry} entry */
function tell(conversation, entry) {
    const where = conversation === model.open ? '' : ` in ${conversation.name}`;
    announce(`${entry.from}${conversation.kind === 'group' ? where : ''}: ${excerpt(entry)}`);
}

/** Not ours any more. @param {string} conv */
function forget(conv) {
    const conversation = model.byConv.get(conv);
    if (conversation === undefined) return;
    const wasOpen = conversation === model.open;
    const lost = conversation.outgoing.filter(({ seq }) => seq === undefined).length;
    model.forget(conv);
    if (wasOpen) {
        closeOverlays();
        closeConversation();
        list.focusFirst();
    }
    const isOwnWish = group.leaving === conv;
    group.leaving = '';
    const where = wasOpen && !isOwnWish ? `You are no longer in ${conversation.name}. ` : '';
    const text = where + notSentText(lost, 0);
    if (text !== '') toast(text.trim());
    draw();
}

function closeOverlays() {
    for (const dialog of document.querySelectorAll('dialog')) dialog.close();
    for (const menu of document.querySelectorAll('[popover]'))
        /** @type {HTMLElement} */ (menu).hidePopover();
}

async function loadList() {
    if (!(await places.loadList())) return;
    drafts.restore();
    const reopened = model.at(toReopen); // If it still is ours.
    toReopen = '';
    if (reopened !== undefined && model.open === null) openConversation(reopened);
    composer.refresh();
    draw();
}

/** @param {StateChange} change */
function onState({ state, code }) {
    if (!isIn) return;
    isCaughtUp = false;
    if (state === 'closed' && code !== 1000) {
        closeOverlays();
        showFatal(code ?? 0, { connect: () => client.connect(), logOut, reload });
        return;
    }
    me.onState(state === 'online');
    draw();
}

/** Away for longer than a moment: how others are is no longer known. */
function lost() {
    people.known.clear();
    draw();
}

/* ---- The open conversation ---- */

/** @param {Conversation} conversation */
function openConversation(conversation) {
    const isOther = conversation !== model.open;
    if (isOther) {
        model.open = conversation;
        conversation.newFrom = conversation.unread > 0 ? conversation.read + 1 : 0;
        messages.reset();
        if (history.state?.chat !== true) history.pushState({ chat: true }, '');
    }
    document.body.dataset.screen = 'chat';
    drawOpen();
    if (isOther) composer.show(); // Now that there is room to measure what it holds.
    messages.toBottom();
    messages.toNew();
    drawNow();
    void places.loadReceipts(conversation);
    loadRoster(conversation);
    // On a phone that would raise the keyboard unasked.
    if (matchMedia('(hover: hover)').matches) composer.focus();
}

/** The buttons and Escape; a phone's own back key as well, for an open conversation is one step of
 * the browser's history. */
function closeConversation() {
    const closed = model.open;
    if (closed?.conv && composer.text.value !== '') client.typing(closed.conv, false);
    model.open = null;
    messages.reset();
    document.body.dataset.screen = 'list';
    drawNow();
    if (closed !== null) list.focus(closed);
}

/** @param {Conversation} conversation */
function loadRoster(conversation) {
    if (conversation.kind === 'group') places.loadRoster(conversation).catch(() => {});
}

async function loadOlder() {
    const conversation = model.open;
    if (conversation === null || client.state !== 'online') return;
    const wasLoaded = conversation.isLoaded;
    if (!(await places.loadOlder(conversation)) || conversation !== model.open) return;
    if (wasLoaded) {
        messages.fill();
    } else {
        messages.toBottom();
        messages.toNew();
        void places.loadReceipts(conversation);
    }
    drawNow();
}

/** @param {string} text @param {number} [replyTo] */
function send(text, replyTo) {
    const conversation = /** @type {Conversation} */ (model.open);
    const cid = newCid();
    model.addOutgoing(conversation, { cid, text, ts: Date.now(), replyTo });
    conversation.newFrom = 0;
    const target =
        conversation.conv !== null ? { conv: conversation.conv } : { to: conversation.peer };
    client.send(target, { text }, { cid, replyTo }).catch((error) => {
        model.refuse(cid, error.message);
        draw();
    });
    messages.toBottom();
    drawNow();
}

/** What to do with a message that was refused. @param {'retry'|'copy'|'discard'} what
 * @param {string} cid */
function unsent(what, cid) {
    const out = model.open?.outgoing.find((item) => item.cid === cid);
    if (model.open === null || out?.refused === undefined) return;
    if (what === 'copy') {
        copy(out.text);
        return;
    }
    model.open.outgoing = model.open.outgoing.filter((item) => item !== out);
    if (what === 'retry') send(out.text, out.replyTo);
    else composer.takeBack(out.text);
    drawNow();
}

/** Seen is what is on the screen of someone who is there. */
function markSeen() {
    const conversation = model.open;
    if (conversation === null || conversation.conv === null || document.hidden) return;
    if (!conversation.isLoaded) return;
    const seq = messages.seenSeq;
    if (model.markRead(conversation, seq)) client.markRead(conversation.conv, seq);
}

/* ---- The screen ---- */

function draw() {
    if (drawTimer === 0 && isIn) drawTimer = window.setTimeout(drawNow, FRAME_MS);
}

function drawNow() {
    clearTimeout(drawTimer);
    drawTimer = 0;
    if (!isIn) return;
    if (messages.isAtBottom) model.trimOpen();
    drawOpen();
    if (model.open !== null && !model.open.isLoaded) void loadOlder();
    else if (messages.wantsOlder) void loadOlder(); // One page was not enough.
    markSeen();
    places.showOnly(document.hidden ? null : (model.open?.conv ?? null));
    people.watch(client, watched());
    list.draw();
    const isEmpty = model.all.size === 0 && client.state === 'online' && !places.isListLoading;
    byId('no-conversations').hidden = !isEmpty;
    document.title = model.unread > 0 ? `(${model.unread}) Chatmesh` : 'Chatmesh';
    me.draw(client);
    drawBottomButton();
    sessionStorage.setItem('chatmesh.open', model.open?.place ?? '');
}

/** Whose presence is to be seen: ours, the peers', the members' of the open group. */
function* watched() {
    yield model.me;
    for (const { user } of model.open?.roster ?? []) yield user;
    for (const { kind, peer } of model.all) if (kind === 'direct' && peer !== '') yield peer;
}

function drawOpen() {
    const conversation = model.open;
    byId('chat-open').hidden = conversation === null;
    byId('chat-empty').hidden = conversation !== null;
    if (conversation === null) return;
    const { kind, peer, name, conv } = conversation;
    const isGroup = kind === 'group';
    const status = isGroup ? null : people.statusOf(peer);
    const typing = typingText(conv === null ? [] : client.typists(conv), isGroup);
    const online = conversation.roster.filter(({ user }) => people.isOnline(user)).length;
    const about = isGroup
        ? `${counted(conversation.members, 'member')}${online > 0 ? `, ${online} online` : ''}`
        : people.textOf(peer);
    byId('chat-avatar').replaceChildren(avatar(name, '', status));
    byId('chat-title').textContent = name;
    byId('chat-note').textContent = typing || about;
    byId('chat-note').classList.toggle('is-typing', typing !== '');
    byId('show-members').hidden = !isGroup;
    messages.draw();
    if (byId('members-dialog').open) group.draw();
}

function drawBottomButton() {
    byId('to-bottom').hidden = messages.isAtBottom;
    const unread = model.open?.unread ?? 0;
    byId('to-bottom-count').textContent = unread > 0 ? String(unread) : '';
}

/* ---- Wiring ---- */

wireLogin(start);
byId('back').addEventListener('click', () => {
    // The step that opening it made, else the phone's own key would have to be pressed twice.
    if (history.state?.chat === true) history.back();
    else closeConversation();
});
byId('to-bottom').addEventListener('click', () => {
    messages.toBottom();
    drawNow();
});
byId('scroller').addEventListener('scroll', drawBottomButton, { passive: true });
document.addEventListener('keydown', (event) => {
    if (event.key === 'k' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        byId('filter').focus();
    } else if (
        event.key === 'Escape' &&
        model.open !== null &&
        document.querySelector('dialog[open], :popover-open, .fatal:not([hidden])') === null
    ) {
        closeConversation();
    }
});
document.addEventListener('visibilitychange', draw);
window.addEventListener('popstate', () => model.open !== null && closeConversation());
window.addEventListener('resize', draw);
window.addEventListener('pagehide', () => isIn && drafts.keep());
window.addEventListener('beforeunload', (event) => {
    // They wait in this tab only.
    if (isIn && client.pending.length + client.pendingChanges.length > 0) event.preventDefault();
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
if (name !== null) start(name);
