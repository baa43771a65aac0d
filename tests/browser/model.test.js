// model.test - gateway/web/chat_model.js without a browser: what becomes of events, in the orders
// in which they may come.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { ChatModel } from '../../gateway/web/chat_model.js';
import { addedRun, lineStart, linesBack, linesOn } from '../../gateway/web/chat_window.js';

let model;
beforeEach(() => {
    model = new ChatModel();
    model.me = 'alice';
});

const message = (seq, text = `m${seq}`, fields = {}) => ({
    type: 'message',
    conv: 'c',
    seq,
    ts: seq,
    from: 'bob',
    body: { text },
    ...fields,
});
const change = (type, seq, target, fields = {}) => ({
    type,
    conv: 'c',
    seq,
    ts: seq,
    from: 'bob',
    target,
    ...fields,
});
const feed = (...entries) => entries.forEach((entry) => model.applyEntry(entry));
const open = () => model.byConv.get('c');
const texts = () => open().entries.map(({ body }) => body?.text ?? null);

test('an edit, a deletion and reactions change their message, in the list too', () => {
    feed(
        message(1),
        message(2),
        change('edit', 3, 1, { body: { text: 'new' } }),
        change('reaction', 4, 1, { emoji: '👍', on: true }),
        change('reaction', 5, 1, { emoji: '👍', on: true, from: 'alice' }),
        change('reaction', 6, 1, { emoji: '👍', on: false }),
        change('delete', 7, 2),
    );
    assert.deepEqual(texts(), ['new', null]);
    assert.deepEqual(open().entries[0].edited, { seq: 3, ts: 3 });
    assert.deepEqual([...open().entries[0].who.get('👍')], ['alice']);
    assert.equal(open().last.deleted, true);
});

test('a change that is known before its message applies when that is loaded', () => {
    feed(
        change('edit', 11, 5, { body: { text: 'new' } }),
        change('reaction', 12, 5, { emoji: '❤️', on: true }),
        message(13),
    );
    const page = [4, 5, 6].map((seq) => message(seq));
    model.applyHistory(open(), page, true);
    assert.deepEqual(texts(), ['m4', 'new', 'm6', 'm13']);
    assert.deepEqual([...open().find(5).who.get('❤️')], ['bob']);
});

test('an edit older than the text that was read changes nothing', () => {
    feed(message(9));
    const page = [
        message(1, 'second', { edited: { seq: 3, ts: 3 } }),
        change('edit', 2, 1, { body: { text: 'first' } }),
        change('edit', 3, 1, { body: { text: 'second' } }),
    ];
    model.applyHistory(open(), page, false);
    assert.deepEqual(texts(), ['second', 'm9']);
    assert.ok(open().isComplete);
});

test('only messages of others are unread, and reading some leaves the rest', () => {
    feed(
        message(1),
        message(2, 'mine', { from: 'alice' }),
        change('reaction', 3, 1, { emoji: '👍' }),
        message(4),
        message(5),
    );
    assert.equal(open().unread, 3);
    assert.ok(model.markRead(open(), 4));
    assert.equal(open().unread, 1);
    assert.ok(!model.markRead(open(), 3));
});

test('a hole that we went without empties what was before it', () => {
    feed(message(1), message(2));
    model.skipTo('c');
    feed(message(900), message(901));
    assert.deepEqual(texts(), ['m900', 'm901']);
    assert.ok(!open().isLoaded && !open().isComplete);
});

test('a chat begun here and its first message from elsewhere become one', () => {
    const begun = model.startDirect('bob');
    begun.draft = 'half a thought';
    model.open = begun;
    feed(message(1));
    const numbers = { head: 1, read: 0, unread: 1, members: 2 };
    model.applyList([
        { conv: 'c', kind: 'direct', title: null, peer: 'bob', last: null, ...numbers },
    ]);
    assert.equal(model.all.size, 1);
    assert.equal(model.open, open());
    assert.equal(open().draft, 'half a thought');
    assert.equal(open().name, 'bob');
});

test('our own role is as the newest of list and entries says', () => {
    const numbers = { read: 0, unread: 0, members: 2, kind: 'group', title: 'g', last: null };
    const member = (seq, change, role) => ({
        type: 'member',
        conv: 'c',
        seq,
        ts: seq,
        from: 'bob',
        user: 'alice',
        change,
        role,
    });
    model.applyList([{ conv: 'c', head: 3, role: 'admin', ...numbers }]);
    assert.equal(open().role, 'admin');
    feed(member(4, 'role', 'owner'));
    assert.equal(open().role, 'owner');
    model.applyList([{ conv: 'c', head: 3, role: 'admin', ...numbers }]); // It was under way.
    assert.equal(open().role, 'owner');
    feed({ ...member(5, 'role', 'member'), user: 'carol' });
    assert.equal(open().role, 'owner');
    model.applyHistory(open(), [member(2, 'joined', 'member')], false);
    assert.equal(open().role, 'owner');
    model.applyList([{ conv: 'c', head: 6, role: 'member', ...numbers }]);
    assert.equal(open().role, 'member');
    model.applyActivity({ conv: 'c', head: 9, unread: 0 }); // Large, and not open.
    model.skipTo('c');
    model.applyHistory(open(), [member(5, 'role', 'member'), member(9, 'role', 'admin')], true);
    assert.equal(open().role, 'admin');
});

test('of a conversation nobody looks at only the newest entries are kept', () => {
    for (let seq = 1; seq <= 1000; seq++) feed(message(seq));
    assert.ok(open().entries.length <= 400);
    assert.equal(open().newest, 1000);
    assert.equal(open().oldest, open().entries[0].seq);
    assert.ok(!open().isComplete);
});

test('of the open one as well, where its reader is at the newest, but more of them', () => {
    model.ensure('c');
    model.open = open();
    for (let seq = 1; seq <= 10000; seq++) {
        feed(message(seq));
        if (seq === 5000) assert.equal(open().entries.length, 5000, 'none while somebody reads back');
        if (seq > 5000) model.trimOpen();
    }
    assert.ok(open().entries.length <= 4000);
    assert.deepEqual([open().newest, open().oldest], [10000, open().entries[0].seq]);
});

test('what a reload finds in the outbox is on its way, and changes are not messages', () => {
    model.adoptPending([
        { type: 'send', to: 'bob', cid: 'x', body: { text: 'hi' } },
        { type: 'edit', conv: 'c', seq: 3, cid: 'y', body: { text: 'no' } },
    ]);
    assert.equal(model.all.size, 1);
    model.applySent({ conv: 'c', cid: 'x', seq: 1, ts: 5 });
    assert.equal(open().outgoing[0].seq, 1);
    feed(message(1, 'hi', { from: 'alice', cid: 'x' }));
    assert.equal(open().outgoing.length, 0);
});

test('lines are counted: people added by one person are one, what says nothing is none', () => {
    const joined = (seq, from = 'bob') => ({
        type: 'member',
        conv: 'c',
        seq,
        ts: seq,
        from,
        user: `u${seq}`,
        change: 'joined',
    });
    const entries = [
        message(1),
        joined(2),
        joined(3),
        joined(4, 'carol'),
        { type: 'info', conv: 'c', seq: 5, ts: 5, from: 'bob' },
        message(6),
    ];
    assert.equal(addedRun(entries, 1), 2);
    assert.equal(addedRun(entries, 0), 0);
    assert.equal(lineStart(entries, 2), 1);
    assert.deepEqual(
        [1, 2, 3, 4, 5].map((count) => linesBack(entries, entries.length, count)),
        [5, 3, 1, 0, 0],
    );
    assert.deepEqual(
        [0, 1, 2, 3, 4].map((count) => linesOn(entries, 0, count)),
        [0, 1, 3, 5, 6],
    );
});

test('what was sent stands in the list by the time of the server, whatever our clock says', () => {
    model.applyEntry({ ...message(1), conv: 'other', ts: 20 });
    feed(message(1));
    model.addOutgoing(open(), { cid: 'x', text: 'hi', ts: Date.now() });
    assert.deepEqual(
        model.sorted().map(({ conv }) => conv),
        ['c', 'other'],
    );
    model.applySent({ conv: 'c', cid: 'x', seq: 2, ts: 10 });
    assert.deepEqual(
        model.sorted().map(({ conv }) => conv),
        ['other', 'c'],
    );
});
