// chat.test - two people chat on two gateways: ticks, unread counts, offline, history.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    bubbles,
    closeAll,
    isOnline,
    logIn,
    messageOf,
    names,
    openRow,
    rowOf,
    sees,
    shot,
    startChat,
    tickOf,
    useCluster,
    waitForText,
    write,
    writeFrom,
    writeMany,
} from './page.js';

useCluster();

test('two people chat: unread counts, and ticks up to read', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, { gateway: 1 });
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello there', 'How are you?');
    await b.locator('.badge', { hasText: '2' }).waitFor();
    assert.equal(await b.title(), '(2) Chatmesh');
    await tickOf(a, 'How are you?', 'delivered');
    await shot(b, 'desk-unread');
    await openRow(b, alice);
    await waitForText(b, 'How are you?');
    await tickOf(a, 'Hello there', 'read');
    await tickOf(a, 'How are you?', 'read');
    await rowOf(a, bob).locator('.tick-read').waitFor();
    assert.equal(await rowOf(b, alice).locator('.badge').count(), 0);
    await write(b, 'Very well, thank you.');
    await waitForText(a, 'Very well');
    await tickOf(b, 'Very well', 'read');
    await b.keyboard.press('Escape');
    await write(a, 'Glad to hear it');
    await b.locator('.badge', { hasText: '1' }).waitFor();
    await openRow(b, alice);
    await b.locator('.new-messages + .message', { hasText: 'Glad to hear it' }).waitFor();
    await tickOf(a, 'Glad to hear it', 'read');
    await shot(a, 'desk-chat');
    await closeAll(a, b);
});

test('a tick says sending, sent, delivered and read, as far as the message has come', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'first');
    await tickOf(a, 'first', 'sent'); // Nobody of that name has ever been here.
    await a.context().setOffline(true);
    await write(a, 'second');
    await tickOf(a, 'second', 'sending');
    await a.context().setOffline(false);
    await tickOf(a, 'second', 'sent');
    const b = await logIn(bob, { gateway: 2 });
    await tickOf(a, 'second', 'delivered');
    await openRow(b, alice);
    await tickOf(a, 'second', 'read');
    await closeAll(a, b);
});

test('after a login the list says how far our messages came, however many others wrote since', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'seen');
    await openRow(b, alice);
    await tickOf(a, 'seen', 'read');
    await writeFrom(a, alice, Array.from({ length: 31 }, (_, n) => `${bob} ${n}`));
    const again = await logIn(alice);
    await rowOf(again, new RegExp(`^${bob}$`)).locator('.tick-read').waitFor();
    await closeAll(a, b, again);
});

test('what is written is shown as text, never as markup', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    const text = '<img src=x onerror="document.title=1"><b>bold</b> &amp; 😀';
    await startChat(a, bob);
    await write(a, text);
    await openRow(b, alice);
    await waitForText(b, 'bold');
    assert.deepEqual(await bubbles(b), [text]);
    assert.equal(await b.locator('.bubble b, .bubble img').count(), 0);
    await closeAll(a, b);
});

test('addresses are links, and only those that lead to a page', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const text = 'See https://example.org/a_(b)?x=1, www.example.com. Not javascript:alert(1)';
    await startChat(a, bob);
    await write(a, text);
    await waitForText(a, 'See');
    const links = await a
        .locator('.bubble a')
        .evaluateAll((nodes) =>
            nodes.map(({ href, textContent, rel, target }) => ({ href, textContent, rel, target })),
        );
    const safe = { rel: 'noopener noreferrer nofollow', target: '_blank' };
    assert.deepEqual(links, [
        {
            href: 'https://example.org/a_(b)?x=1',
            textContent: 'https://example.org/a_(b)?x=1',
            ...safe,
        },
        { href: 'https://www.example.com/', textContent: 'www.example.com', ...safe },
    ]);
    assert.deepEqual(await bubbles(a), [text]);
    await closeAll(a);
});

test('written offline, messages wait, are counted, and arrive once and in order', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'before');
    await openRow(b, alice);
    await waitForText(b, 'before');
    await a.context().setOffline(true);
    await a.locator('#banner', { hasText: 'offline' }).waitFor();
    await write(a, 'one', 'two', 'three');
    await a.locator('#banner', { hasText: '3 messages wait' }).waitFor();
    assert.equal(await a.locator('#messages .tick-sending').count(), 3);
    await shot(a, 'desk-offline');
    await write(b, 'meanwhile');
    await messageOf(b, 'meanwhile').locator('.tick:not(.tick-sending)').waitFor();
    await a.context().setOffline(false);
    await waitForText(b, 'three');
    await waitForText(a, 'meanwhile');
    await a.locator('#banner').waitFor({ state: 'hidden' });
    await tickOf(a, 'three', 'read');
    const expected = ['before', 'meanwhile', 'one', 'two', 'three'];
    assert.deepEqual(await bubbles(b), expected);
    assert.deepEqual(await bubbles(a), expected);
    await closeAll(a, b);
});

test('a reload shows the same conversation again and goes on', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'one', 'two');
    await openRow(b, alice);
    await tickOf(a, 'two', 'read');
    await a.reload();
    await waitForText(a, 'two');
    await tickOf(a, 'two', 'read'); // As the server knows.
    await write(b, 'three');
    await waitForText(a, 'three');
    assert.deepEqual(await bubbles(a), ['one', 'two', 'three']);
    await closeAll(a, b);
});

test('a draft stays with its conversation, over a reload too', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'to bob');
    await tickOf(a, 'to bob', 'sent');
    await a.locator('#text').fill('half a thought');
    await startChat(a, carol);
    assert.equal(await a.locator('#text').inputValue(), '');
    await rowOf(a, bob).locator('.row-draft').waitFor();
    await write(a, 'to carol');
    await tickOf(a, 'to carol', 'sent');
    await a.reload();
    await isOnline(a);
    await waitForText(a, 'to carol');
    await openRow(a, bob);
    await sees(a, () => document.getElementById('text').value === 'half a thought');
    await closeAll(a);
});

test('what was sent is no draft, whatever else the page learns meanwhile', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    await startChat(a, carol);
    await write(a, 'hi');
    await tickOf(a, 'hi', 'sent');
    await startChat(a, bob);
    await a.locator('#text').fill('Hello Bob');
    await sees(a, () => sessionStorage.getItem('chatmesh.drafts')?.includes('Hello Bob'));
    await a.keyboard.press('Enter');
    await tickOf(a, 'Hello Bob', 'sent');
    await a.waitForTimeout(400);
    await openRow(a, carol);
    assert.equal(await rowOf(a, bob).locator('.row-draft').count(), 0);
    await openRow(a, bob);
    await waitForText(a, 'Hello Bob');
    assert.equal(await a.locator('#text').inputValue(), '');
    assert.equal(await a.evaluate(() => sessionStorage.getItem('chatmesh.drafts')), '{}');
    await closeAll(a);
});

test('a draft to somebody to whom nothing was ever written survives a reload', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await a.locator('#text').fill('How shall I begin');
    for (let n = 0; n < 2; n++) {
        await a.reload();
        await isOnline(a);
        await a.locator('#chat-title', { hasText: bob }).waitFor();
        await sees(a, () => document.getElementById('text').value === 'How shall I begin');
    }
    await a.keyboard.press('Escape');
    await a.reload();
    await rowOf(a, bob).locator('.row-draft').waitFor();
    await closeAll(a);
});

test('scrolling back loads earlier messages without moving what is in view', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await writeMany(a, bob, 'line', 160);
    await tickOf(a, 'line 159', 'sent');
    const b = await logIn(bob, { gateway: 2 });
    await openRow(b, alice);
    await waitForText(b, 'line 159');
    const count = await b.locator('.message').count();
    const topOf = (key) =>
        b.evaluate((k) => {
            const nodes = [...document.querySelectorAll('.message')];
            const edge = document.getElementById('scroller').getBoundingClientRect().top;
            const node = nodes.find((n) =>
                k === null ? n.getBoundingClientRect().top > edge : n.dataset.key === k,
            );
            return { key: node.dataset.key, top: node.getBoundingClientRect().top };
        }, key);
    await b.locator('#scroller').evaluate((scroller) => {
        scroller.scrollTop = 200;
    });
    const inView = await topOf(null);
    await sees(b, (n) => document.querySelectorAll('.message').length > n, count);
    assert.ok(Math.abs((await topOf(inView.key)).top - inView.top) < 2, 'it has not moved');
    for (let n = 0; n < 20 && !(await bubbles(b)).includes('line 0'); n++) {
        await b.locator('#scroller').evaluate((scroller) => {
            scroller.scrollTop = 0;
        });
        await b.waitForTimeout(100);
    }
    const expected = Array.from({ length: 160 }, (_, i) => `line ${i}`);
    assert.deepEqual(await bubbles(b), expected);
    await b.locator('#to-bottom').click();
    await b.locator('#to-bottom').waitFor({ state: 'hidden' });
    await closeAll(a, b);
});

test('thousands of messages: only some are in the document, all can be reached', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'the first');
    await tickOf(a, 'the first', 'sent');
    await writeMany(a, bob, 'bulk', 3000);
    await waitForText(a, 'bulk 2999');
    assert.ok((await a.locator('.message').count()) <= 300);
    await a.locator('#scroller').focus();
    await a.keyboard.press('ArrowUp');
    // From the newest to far above, as fast as a hand on the Home key.
    const started = Date.now();
    for (let n = 0; n < 10; n++) {
        await a.keyboard.press('Home');
        await a.waitForTimeout(50);
    }
    assert.ok(Date.now() - started < 5000);
    assert.ok((await a.locator('.message').count()) <= 300);
    await a.locator('#to-bottom').click();
    await waitForText(a, 'bulk 2999');
    await write(a, 'the last');
    await tickOf(a, 'the last', 'sent');
    assert.equal((await bubbles(a)).at(-1), 'the last');
    await closeAll(a);
});

test('two tabs of one name both get everything, and what one has read the other knows', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const one = await logIn(bob, { gateway: 1 });
    const two = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'to both');
    await Promise.all([one, two].map((page) => page.locator('.badge', { hasText: '1' }).waitFor()));
    await openRow(one, alice);
    await rowOf(two, alice).locator('.badge').waitFor({ state: 'detached' });
    await closeAll(a, one, two);
});
