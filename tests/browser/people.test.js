// people.test - who is there: typing, presence, groups and their roles, who has read, and large
// conversations. Those begin at five members here.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    bubbles,
    closeAll,
    logIn,
    messageOf,
    names,
    openRow,
    removeMember,
    rowOf,
    sees,
    shot,
    startChat,
    startGroup,
    tickOf,
    useCluster,
    waitForText,
    write,
} from './page.js';

useCluster(['--no-limits', '--fanout-members', '4']);

test('one sees that the other is typing, until he sends or stops', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello');
    await openRow(b, alice);
    await waitForText(b, 'Hello');
    await b.locator('#text').pressSequentially('Hi');
    await a.locator('#chat-note', { hasText: 'typing…' }).waitFor();
    await rowOf(a, bob).locator('.row-typing').waitFor();
    await shot(a, 'desk-typing');
    await b.keyboard.press('Enter');
    await waitForText(a, 'Hi');
    await a.locator('#chat-note.is-typing').waitFor({ state: 'detached' });
    await b.waitForTimeout(2100); // Nobody is told more often that one types.
    await b.locator('#text').pressSequentially('Well');
    await a.locator('#chat-note', { hasText: 'typing…' }).waitFor();
    await b.locator('#text').fill(''); // Thought better of it.
    await a.locator('#chat-note.is-typing').waitFor({ state: 'detached' });
    await closeAll(a, b);
});

test('one sees who is online, away, and when he was last seen', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello');
    await a.locator('#chat-note', { hasText: 'Online' }).waitFor();
    await rowOf(a, bob).locator('.dot-online').waitFor();
    await b.locator('#me').click();
    await shot(b, 'desk-me');
    await b.getByRole('menuitemradio', { name: 'Do not disturb' }).click();
    await a.locator('#chat-note', { hasText: 'Do not disturb' }).waitFor();
    await rowOf(a, bob).locator('.dot-busy').waitFor();
    await b.context().close();
    // He might come back: five seconds pass before he is offline.
    await a.locator('#chat-note', { hasText: 'Last seen today' }).waitFor({ timeout: 12000 });
    assert.equal(await rowOf(a, bob).locator('.dot').count(), 0);
    await closeAll(a);
});

test('a group is made, talks, grows and shrinks, and everyone sees it', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Weekend trip', bob);
    await write(a, 'Where shall we go?');
    await openRow(b, 'Weekend trip');
    await waitForText(b, 'Where shall we go?');
    await write(b, 'To the sea.', 'Or the mountains, I cannot decide at all today.');
    await waitForText(a, 'mountains');
    await a.getByRole('button', { name: 'Members' }).click();
    await a.locator('.member', { hasText: bob }).waitFor();
    await a.getByLabel('Add people').fill(carol);
    await a.getByRole('button', { name: 'Add', exact: true }).click();
    await a.locator('.member', { hasText: carol }).waitFor();
    await a.locator('.member', { hasText: bob }).locator('.dot-online').waitFor();
    await shot(a, 'desk-members');
    const c = await logIn(carol, { gateway: 2 });
    await openRow(c, 'Weekend trip');
    await waitForText(c, 'Where shall we go?');
    await write(c, 'Hi!');
    await waitForText(b, 'Hi!');
    await a.getByRole('button', { name: `Remove ${bob}` }).click();
    await a.locator('#ask-dialog').getByRole('button', { name: 'Cancel' }).click();
    await a.locator('.member', { hasText: bob }).waitFor();
    await removeMember(a, bob);
    await rowOf(b, 'Weekend trip').waitFor({ state: 'detached' });
    await a.getByRole('button', { name: 'Done' }).click();
    await a.locator('.event', { hasText: `removed ${bob}` }).waitFor();
    await shot(a, 'desk-group');
    await c.getByRole('button', { name: 'Members' }).click();
    await c.getByRole('button', { name: 'Leave group' }).click();
    await c.locator('#ask-yes').click();
    await rowOf(c, 'Weekend trip').waitFor({ state: 'detached' });
    assert.equal(await c.locator('#toast').isVisible(), false, 'she knows');
    await a.locator('.event', { hasText: `${carol} left` }).waitFor();
    await closeAll(a, b, c);
});

test('an owner gives roles and a title, and a member may not', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Old name', bob);
    await write(a, 'Welcome');
    await openRow(b, 'Old name');
    await waitForText(b, 'Welcome');
    await b.getByRole('button', { name: 'Members' }).click();
    await b.locator('.member', { hasText: alice }).locator('.role', { hasText: 'owner' }).waitFor();
    assert.equal(await b.locator('#manage').isVisible(), false);
    assert.equal(await b.locator('#edit-title').isEditable(), false);
    await a.getByRole('button', { name: 'Members' }).click();
    await a.getByLabel(`Role of ${bob}`).selectOption('admin');
    await b.locator('#manage').waitFor();
    await b.locator('#edit-title').fill('New name');
    await b.keyboard.press('Tab');
    await a.locator('#chat-title', { hasText: 'New name' }).waitFor();
    await rowOf(a, 'New name').waitFor();
    await a.locator('.event', { hasText: `made ${bob} an admin` }).waitFor({ state: 'attached' });
    await closeAll(a, b);
});

test('who joins a group that shows no history sees only what comes then', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    await a.getByRole('button', { name: 'New group' }).click();
    await a.locator('#group-title').fill('Fresh');
    await a.getByLabel('Names, separated by commas').fill(bob);
    await a.getByLabel('Who joins later sees earlier messages').uncheck();
    await shot(a, 'desk-new-group');
    await a.getByRole('button', { name: 'Create' }).click();
    await write(a, 'before carol');
    await tickOf(a, 'before carol', 'sent');
    await a.getByRole('button', { name: 'Members' }).click();
    await a.getByLabel('Add people').fill(carol);
    await a.getByRole('button', { name: 'Add', exact: true }).click();
    await a.locator('.member', { hasText: carol }).waitFor();
    await a.getByRole('button', { name: 'Done' }).click();
    await write(a, 'after carol');
    const c = await logIn(carol, { gateway: 2 });
    await openRow(c, 'Fresh');
    await waitForText(c, 'after carol');
    assert.deepEqual(await bubbles(c), ['after carol']);
    await closeAll(a, c);
});

test('a group tells how many have read, and who', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Readers', bob, carol);
    await write(a, 'Read this');
    await openRow(b, 'Readers');
    await messageOf(a, 'Read this').getByText('Read by 1 of 2').waitFor();
    await a.getByText('Read by 1 of 2').click();
    await a.locator('#readers .member', { hasText: bob }).waitFor();
    assert.equal(await a.locator('#readers .member', { hasText: carol }).count(), 0);
    await shot(a, 'desk-readers');
    await a.getByRole('button', { name: 'Done' }).click();
    const c = await logIn(carol);
    await openRow(c, 'Readers');
    await tickOf(a, 'Read this', 'read');
    await messageOf(a, 'Read this').getByText('Read by all 2').waitFor();
    await closeAll(a, b, c);
});

test('people added at once are one line, and what was said before is above it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startGroup(a, 'Growing', bob);
    const texts = Array.from({ length: 20 }, (_, n) => `before ${n}`);
    await write(a, ...texts);
    await tickOf(a, 'before 19', 'sent');
    await a.getByRole('button', { name: 'Members' }).click();
    const many = Array.from({ length: 120 }, (_, n) => `${bob}-${n}`);
    await a.getByLabel('Add people').fill(many.join(', '));
    await a.getByRole('button', { name: 'Add', exact: true }).click();
    await a.locator('#members-count', { hasText: '122 members' }).waitFor();
    const b = await logIn(bob, { gateway: 2, viewport: { width: 1280, height: 1600 } });
    await openRow(b, 'Growing');
    const added = b.locator('.event', { hasText: 'and 117 others' });
    await added.waitFor();
    await waitForText(b, 'before 19');
    await b.waitForTimeout(300); // Nothing that is drawn later takes it away again.
    assert.deepEqual(await bubbles(b), texts);
    await shot(b, 'desk-many-added');
    await b.setViewportSize({ width: 1280, height: 600 });
    await b.reload();
    await added.waitFor();
    await waitForText(b, 'before 19');
    await sees(b, () => {
        const { bottom } = document.querySelector('.event:last-child').getBoundingClientRect();
        return bottom <= document.querySelector('#composer').getBoundingClientRect().top;
    });
    assert.deepEqual(await bubbles(b), texts);
    await closeAll(a, b);
});

test('an owner who is far down the list of members may do what an owner may', async () => {
    const [zoe, bob] = names('zoe', 'bob');
    const z = await logIn(zoe);
    const many = Array.from({ length: 130 }, (_, n) => `${bob}-${n}`);
    await startGroup(z, 'Crowd', bob, ...many);
    await write(z, 'Welcome');
    const b = await logIn(bob, { gateway: 2 });
    await openRow(b, 'Crowd');
    await write(b, 'Thank you');
    await waitForText(z, 'Thank you');
    await messageOf(z, 'Thank you').click({ button: 'right' });
    await z.getByRole('menuitem', { name: 'Delete' }).waitFor();
    await z.keyboard.press('Escape');
    await z.getByRole('button', { name: 'Members' }).click();
    await z.locator('#manage').waitFor();
    await z.getByRole('button', { name: 'Show more' }).click();
    await z.locator('.member', { hasText: '(you)' }).waitFor();
    assert.equal(await z.locator('.member').count(), 132);
    await removeMember(z, `${bob}-99`);
    await z.locator('#members-count', { hasText: '131 members' }).waitFor();
    await sees(z, () => document.querySelectorAll('.member').length === 131);
    await z.waitForTimeout(300);
    assert.equal(await z.locator('.member').count(), 131, 'and the list is not cut again');
    await shot(z, 'desk-crowd');
    await z.getByLabel(`Role of ${bob}`, { exact: true }).selectOption('admin');
    await b.getByRole('button', { name: 'Members' }).click();
    await b.locator('#manage').waitFor();
    await z.getByLabel(`Role of ${bob}`, { exact: true }).selectOption('member');
    await b.locator('#manage').waitFor({ state: 'hidden' });
    await closeAll(z, b);
});

test('a large group counts what is unread, and shows it once it is opened', async () => {
    const [alice, bob, ...others] = names('alice', 'bob', 'm', 'n', 'o', 'p');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Everybody', bob, ...others);
    await write(a, 'one', 'two', 'three');
    await rowOf(b, 'Everybody').locator('.badge', { hasText: '3' }).waitFor();
    await rowOf(b, 'Everybody').locator('.row-text', { hasText: 'three' }).waitFor();
    await openRow(b, 'Everybody');
    await waitForText(b, 'three');
    const added = `added ${bob}, ${others[0]}, ${others[1]} and 2 others`;
    await b.locator('.event', { hasText: added }).waitFor();
    await write(a, 'four');
    await waitForText(b, 'four');
    assert.deepEqual(await bubbles(b), ['one', 'two', 'three', 'four']);
    await messageOf(a, 'four').getByText('Read by 1 of 5').waitFor();
    await b.keyboard.press('Escape');
    await write(a, 'five', 'six');
    await rowOf(b, 'Everybody').locator('.badge', { hasText: '2' }).waitFor();
    await openRow(b, 'Everybody');
    await waitForText(b, 'six');
    assert.deepEqual(await bubbles(b), ['one', 'two', 'three', 'four', 'five', 'six']);
    await closeAll(a, b);
});

test('a large group that moved on earlier does not come first in the list of who logs in', async () => {
    const [alice, bob, ...others] = names('alice', 'bob', 'm', 'n', 'o', 'p');
    const a = await logIn(alice);
    await startGroup(a, 'Everybody', bob, ...others);
    await write(a, 'long ago');
    await tickOf(a, 'long ago', 'sent');
    await startChat(a, bob);
    await write(a, 'just now');
    await tickOf(a, 'just now', 'sent');
    const b = await logIn(bob, { gateway: 2 });
    await rowOf(b, 'Everybody').locator('.row-text', { hasText: 'long ago' }).waitFor();
    await rowOf(b, alice).locator('.row-text', { hasText: 'just now' }).waitFor();
    await b.waitForTimeout(500); // By then all that it missed was told.
    assert.deepEqual(await b.locator('.row-name').allTextContents(), [alice, 'Everybody']);
    await closeAll(a, b);
});
