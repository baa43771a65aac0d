// Two people chat, in fifty lines. With `scripts/run` in another terminal: node example.js
import WebSocket from 'ws'; // Browsers, and Node from 22 on, have their own.

import { ChatmeshClient } from '../../gateway/web/client.js';

const server = process.env.CHAT_URL ?? 'http://localhost:8080';

/** Your own server would make the token; this one does so in dev mode. */
async function tokenFor(user) {
    const body = JSON.stringify({ user });
    const response = await fetch(`${server}/v1/dev/token`, { method: 'POST', body });
    return (await response.json()).token;
}

function deviceOf(user) {
    const url = `${server.replace('http', 'ws')}/ws`;
    return new ChatmeshClient({ url, getToken: () => tokenFor(user), device: 'demo', WebSocket });
}

const alice = deviceOf('example-alice');
const bob = deviceOf('example-bob');

// Bob sees what comes, also what came while he was away, and says that he has read it.
bob.on('message', async ({ conv, seq, from, body }) => {
    if (from === bob.user) return;
    console.log(`${from}: ${body.text}`);
    bob.markRead(conv, seq);
    await bob.react(conv, seq, '👍');
    await bob.send(conv, { text: 'Hello Alice' }, { replyTo: seq });
});
const edited = new Promise((resolve) => bob.on('edit', resolve));

// Alice sees who types, what Bob made of her message, and how far it came.
alice.on('typing', ({ user, on }) => console.log(`${user} ${on ? 'types' : 'stopped typing'}`));
alice.on('reaction', ({ from, emoji, target }) => console.log(`${from}: ${emoji} to ${target}`));
alice.on('receipt', ({ user, read }) => read && console.log(`${user} has read up to ${read}`));
const answered = new Promise((resolve) => {
    alice.on('message', (entry) => entry.from !== alice.user && resolve(entry));
});

await Promise.all([alice.connect(), bob.connect()]);
const { conv, seq } = await alice.send({ to: 'example-bob' }, { text: 'Hi Bob' }); // Durable now.
bob.typing(conv);
await alice.edit(conv, seq, { text: 'Hello Bob' });
const edit = await edited;
console.log(`${edit.from} changed message ${edit.target}: ${edit.body.text}`);
const answer = await answered;
console.log(`${answer.from}, to message ${answer.reply_to}: ${answer.body.text}`);

const { entries } = await alice.history(conv, { limit: 10 });
console.log(entries.map(({ type, seq, from }) => `${seq} ${type} by ${from}`).join('\n'));
await Promise.all([alice.close(), bob.close()]);
