// api.test - the HTTP API under /v1/, on a real cluster: each path with what it does, and with each
// way in which it is refused.
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Validator } from '@seriousme/openapi-schema-validator';

import { Cluster, run, sleep, temporaryFolder, until } from './cluster.js';
import { Peer } from './peer.js';

let cluster;
let key;
let openapi;
let next = 1;

before(async () => {
    cluster = await Cluster.start({ routers: 3, gateways: 2 });
    key = readFileSync(join(cluster.data, 'api.key'), 'utf8').trim();
    openapi = await (await fetch(`${cluster.http()}/v1/openapi.json`)).json();
    // A new leader says nothing of a user before gateways had the time to say whom they have.
    const users = Array.from({ length: 400 }, (_, i) => `u${i}`);
    await until(
        'presence is known',
        async () => (await ask('POST', '/v1/presence', { users })).status === 200,
        20000,
    );
});
after(async () => {
    await cluster?.stop();
});

/** A name that no other test uses. */
const unique = (name) => `${name}-${next++}`;

/** One request: {status, headers, body}. `as` is a bearer; null sends none. */
async function ask(method, path, body, { as = key, gateway = 1, headers = {} } = {}) {
    const response = await fetch(cluster.http(gateway) + path, {
        method,
        headers: {
            ...(as !== null && { Authorization: `Bearer ${as}` }),
            ...(body !== undefined && { 'Content-Type': 'application/json' }),
            ...headers,
        },
        body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    return {
        status: response.status,
        headers: response.headers,
        body: text === '' ? null : JSON.parse(text),
    };
}

/** A request that must be answered so. */
async function expect(status, method, path, body, options) {
    const answer = await ask(method, path, body, options);
    assert.equal(
        answer.status,
        status,
        `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`,
    );
    if (status >= 400) {
        assert.deepEqual(Object.keys(answer.body), ['error']);
        assert.deepEqual(Object.keys(answer.body.error), ['code', 'message']);
        assert.equal(answer.headers.get('content-type'), 'application/json');
    }
    return answer.body;
}

const refused = async (status, code, method, path, body, options) => {
    const answer = await expect(status, method, path, body, options);
    assert.equal(answer.error.code, code, JSON.stringify(answer));
};

/** A change with nothing to tell: answered with JSON all the same. */
const done = async (...request) =>
    assert.deepEqual(await expect(200, ...request), { type: 'ok' });

/** A group of these members, the first of them its owner. */
async function group(members, fields = {}) {
    const [from, ...others] = members;
    const { conv } = await expect(201, 'POST', '/v1/conversations', {
        conv: unique('group'),
        from,
        members: others,
        ...fields,
    });
    return conv;
}

const say = (conv, from, body, fields = {}) =>
    expect(201, 'POST', `/v1/conversations/${conv}/messages`, { from, body, ...fields });

// ---- The document ----

test('GET /v1/openapi.json is an OpenAPI 3.1 document that a validator accepts', async () => {
    const validator = new Validator();
    const result = await validator.validate(openapi);
    assert.ok(result.valid, JSON.stringify(result.errors));
    assert.equal(validator.version, '3.1');
});

test('openapi.json names every path and method that is served, and no other', async () => {
    const methods = ['get', 'post', 'put', 'patch', 'delete'];
    for (const [path, item] of Object.entries(openapi.paths)) {
        const sample = path.replace('{conv}', 'c').replace('{user}', 'u').replace('{seq}', '1');
        const documented = methods.filter((method) => item[method] !== undefined);
        const { status, headers } = await ask('PUT', sample);
        assert.equal(status, 405, path);
        const allowed = headers.get('allow').toLowerCase().split(', ');
        assert.deepEqual(allowed.filter((method) => method !== 'head').sort(), documented.sort());
    }
});

test('openapi.json says of every operation how it is refused', () => {
    for (const [path, item] of Object.entries(openapi.paths)) {
        for (const [method, operation] of Object.entries(item)) {
            if (method === 'parameters' || path === '/v1/openapi.json') continue;
            const statuses = Object.keys(operation.responses);
            for (const status of ['401', '429', '503'])
                assert.ok(statuses.includes(status), `${method} ${path} ${status}`);
            if (operation.operationId === 'setRole')
                assert.ok(statuses.includes('409'), 'a group keeps an owner');
            assert.equal(operation.requestBody !== undefined, statuses.includes('413'), path);
        }
    }
});

// ---- Who asks ----

const everything = () => [
    ['POST', '/v1/conversations', { members: [] }],
    ['GET', '/v1/conversations/c'],
    ['PATCH', '/v1/conversations/c', { title: 't' }],
    ['DELETE', '/v1/conversations/c'],
    ['GET', '/v1/conversations/c/messages'],
    ['POST', '/v1/conversations/c/messages', { from: 'u', body: 1 }],
    ['PATCH', '/v1/conversations/c/messages/1', { body: 1 }],
    ['DELETE', '/v1/conversations/c/messages/1'],
    ['GET', '/v1/conversations/c/members'],
    ['POST', '/v1/conversations/c/members', { users: ['u'] }],
    ['GET', '/v1/conversations/c/members/u'],
    ['POST', '/v1/conversations/c/members/u'],
    ['PATCH', '/v1/conversations/c/members/u', { role: 'admin' }],
    ['DELETE', '/v1/conversations/c/members/u'],
    ['GET', '/v1/users/u/conversations'],
    ['GET', '/v1/users/u/presence'],
    ['POST', '/v1/users/u/disconnect'],
    ['DELETE', '/v1/users/u'],
    ['POST', '/v1/presence', { users: ['u'] }],
    ['GET', '/v1/cluster'],
];

test('every path is 401 without a key, with a wrong one, and with a token that is none', async () => {
    const wrong = `cmk_${'A'.repeat(43)}`;
    for (const [method, path, body] of everything()) {
        for (const as of [null, wrong, 'no-token', cluster.forge({ sub: 'u', exp: 1 })]) {
            if (as === null && path === '/v1/cluster') continue; // In dev it needs none.
            const answer = await ask(method, path, body, { as });
            assert.equal(answer.status, 401, `${method} ${path} as ${as}`);
            assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
            assert.equal(answer.body.error.code, 'unauthorized');
        }
    }
});

test('a token in the query lets nobody in: queries end up in logs', async () => {
    const token = await cluster.token('alice');
    await refused(401, 'unauthorized', 'GET', `/v1/users/alice/presence?token=${token}`, undefined, {
        as: null,
    });
});

test('what is the operator’s is 403 with a token', async () => {
    const as = await cluster.token('alice');
    for (const [method, path] of [
        ['DELETE', '/v1/conversations/c'],
        ['DELETE', '/v1/users/bob'],
        ['GET', '/v1/users/bob/conversations'],
        ['POST', '/v1/users/bob/disconnect'],
    ])
        await refused(403, 'forbidden', method, path, undefined, { as });
});

test('the key of a dev cluster is for its owner’s eyes only, and no config holds it', () => {
    const path = join(cluster.data, 'api.key');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.match(key, /^cmk_[A-Za-z0-9_-]{43}$/);
    for (const file of ['auth.zpl', 'dev.json', 'g1.log', 'r1.log'])
        assert.doesNotMatch(readFileSync(join(cluster.data, file), 'utf8'), new RegExp(key));
});

test('chatmesh apikey makes a key; SIGHUP lets it in, and takes it away again', async () => {
    const made = await run(['apikey', 'billing']);
    assert.equal(made.code, 0, made.stderr);
    const [fresh] = made.stdout.split('\n');
    const config = join(temporaryFolder(), 'keys.zpl');
    writeFileSync(config, made.stdout.slice(made.stdout.indexOf('auth\n')), { mode: 0o600 });
    const other = await Cluster.start({ gateways: 1, args: ['--no-limits', '--config', config] });
    const status = async () =>
        (
            await fetch(`${other.http()}/v1/users/u/conversations`, {
                headers: { Authorization: `Bearer ${fresh}` },
            })
        ).status;
    try {
        assert.equal(await status(), 200);
        writeFileSync(config, 'auth\n    leeway_s = 5\n', { mode: 0o600 });
        other.signal('g1', 'SIGHUP');
        await until('the key is refused', async () => (await status()) === 401);
    } finally {
        await other.stop();
    }
});

test('chatmesh apikey refuses a name that is none', async () => {
    assert.equal((await run(['apikey', 'a b'])).code, 2);
});

test('a config that holds a key instead of its digest is refused, and the key is not printed', async () => {
    const config = join(temporaryFolder(), 'bad.zpl');
    writeFileSync(config, `auth\n    api_key = "${key}"\n`, { mode: 0o600 });
    const { code, stderr } = await run(['config', 'check', config]);
    assert.equal(code, 2);
    assert.match(stderr, /auth\/api_key/);
    assert.doesNotMatch(stderr, /cmk_/);
});

// ---- Requests as such ----

test('an unknown path is 404, and so is one with an empty or a superfluous part', async () => {
    for (const path of [
        '/v1/none',
        '/v1/conversations/',
        '/v1/conversations/c/',
        '/v1/conversations/c/messages/1/2',
        '/v1/conversations/c/nothing',
        '/v1/users',
        '/v1/users/u/none',
        '/v1/users/a/b/presence',
        '/v2/cluster',
    ])
        await refused(404, 'not_found', 'GET', path);
});

test('a method that is not allowed is 405, and says which are', async () => {
    for (const [method, path, allow, ...more] of [
        ['GET', '/v1/conversations', 'POST'],
        ['PUT', '/v1/conversations/c', 'GET, PATCH, DELETE'],
        ['DELETE', '/v1/conversations/c/messages', 'GET, POST'],
        ['GET', '/v1/users/u/disconnect', 'POST'],
        ['POST', '/v1/cluster', 'GET'],
        ['PUT', '/v1/conversations/c', 'GET, PATCH, DELETE', { title: 't' }],
        ['DELETE', '/v1/presence', 'POST', { users: ['u'] }],
    ]) {
        const answer = await ask(method, path, ...more);
        assert.equal(answer.status, 405, `${method} ${path}`);
        assert.equal(answer.headers.get('allow'), allow);
    }
    await refused(400, 'bad_request', 'DELETE', '/v1/conversations/c', { title: 't' });
});

test('a name that breaks its rule is 400', async () => {
    for (const path of [
        '/v1/conversations/a%20b',
        `/v1/conversations/${'c'.repeat(129)}`,
        '/v1/conversations/c%00d',
        '/v1/users/a%01b/presence',
        `/v1/users/${'u'.repeat(129)}/presence`,
        '/v1/users/%FF/presence',
        '/v1/users/%zz/presence',
        '/v1/users/%',
        '/v1/conversations/c%2Fd',
        '/v1/conversations/c?after=%zz',
    ]) {
        await refused(400, 'bad_request', 'GET', path);
    }
    await refused(400, 'bad_request', 'DELETE', '/v1/conversations/c/messages/0');
    await refused(400, 'bad_request', 'DELETE', '/v1/conversations/c/messages/one');
});

test('names in paths are percent-decoded: every byte a conversation or a user may have', async () => {
    const conv = `${unique('c')}~:@.-_Z`;
    const user = `ü ñ?&=+#;%"'${unique('u')}`;
    const path = `/v1/conversations/${encodeURIComponent(conv)}`;
    await expect(201, 'POST', '/v1/conversations', { conv, members: ['x'] });
    await done('POST', `${path}/members`, { users: [user] });
    const { members } = await expect(200, 'GET', `${path}/members`);
    assert.deepEqual(members.map((member) => member.user).sort(), ['x', user].sort());
    await until('it is in his list', async () => {
        const list = await expect(200, 'GET', `/v1/users/${encodeURIComponent(user)}/conversations`);
        return list.conversations.length === 1 && list.conversations[0].conv === conv;
    });
    await done('DELETE', `${path}/members/${encodeURIComponent(user)}`);
    assert.equal((await expect(200, 'GET', `${path}/members`)).total, 1);
});

test('a body that is no JSON object with the right fields is 400', async () => {
    const conv = await group(['alice', 'bob']);
    for (const [method, path, bodies] of [
        ['POST', '/v1/conversations', ['', 'x', '[]', '{}', '{"members":"alice"}', '{"members":[1]}',
            '{"members":[],"kind":"none"}', '{"members":[],"conv":"a b"}', '{"members":[],"body":1}',
            '{"members":["a"],"kind":"direct"}', '{"members":["a","a"],"kind":"direct"}']],
        ['PATCH', `/v1/conversations/${conv}`, ['', '{}', '{"title":1}', '{"history":"some"}']],
        ['POST', `/v1/conversations/${conv}/messages`, ['', '{}', '{"body":1}', '{"from":"alice"}',
            '{"from":"alice","body":1,"cid":""}', '{"from":"alice","body":1,"body":2}',
            '{"from":"alice","body":1,"reply_to":"1"}']],
        ['PATCH', `/v1/conversations/${conv}/messages/1`, ['{}']],
        ['POST', `/v1/conversations/${conv}/members`, ['{}', '{"users":[]}', '{"users":["a"],"role":"king"}',
            '{"users":["a"],"user":"b"}', '{"user":1}']],
        ['POST', `/v1/conversations/${conv}/members/carol`, ['x', '{"role":"king"}']],
        ['PATCH', `/v1/conversations/${conv}/members/bob`, ['{}', '{"role":"king"}']],
        ['POST', '/v1/presence', ['{}', '{"users":[]}', '{"users":[""]}']],
    ])
        for (const body of bodies) {
            const answer = await ask(method, path, body);
            assert.equal(answer.status, 400, `${method} ${path} ${body}: ${JSON.stringify(answer.body)}`);
            assert.equal(answer.body.error.code, 'bad_request');
        }
});

test('what is larger than its limit is 413, whether the head says so or the body', async () => {
    const conv = await group(['alice']);
    const path = `/v1/conversations/${conv}/messages`;
    await refused(413, 'too_large', 'POST', path, { from: 'alice', body: 'x'.repeat(140000) });
    await refused(413, 'too_large', 'PATCH', `/v1/conversations/${conv}`, { title: 'x'.repeat(1025) });
    await refused(413, 'too_large', 'POST', '/v1/presence', {
        users: Array.from({ length: 501 }, (_, i) => `u${i}`),
    });
    const body = 'x'.repeat(120000);
    const { seq } = await say(conv, 'alice', body);
    const { entries } = await expect(200, 'GET', `${path}?after=${seq - 1}`);
    assert.equal(entries[0].body, body);
});

test('a body is JSON, whatever it says that it is', async () => {
    const body = '{"members":["x"]}';
    for (const type of [undefined, 'application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
        const status = await new Promise((resolve, reject) => {
            const request = httpRequest(
                `${cluster.http()}/v1/conversations`,
                {
                    method: 'POST',
                    headers: {
                        Authorization: `Bearer ${key}`,
                        'Content-Length': body.length,
                        ...(type && { 'Content-Type': type }),
                    },
                },
                (response) => {
                    response.resume();
                    response.on('end', () => resolve(response.statusCode));
                },
            );
            request.on('error', reject);
            request.end(body);
        });
        assert.equal(status, 201, String(type));
    }
});

/** Raw requests on one connection, one after the other; the status of each answer. */
async function onOneConnection(requests) {
    const socket = connect(cluster.port, '127.0.0.1');
    const statuses = [];
    let text = '';
    socket.on('data', (data) => {
        text += data;
    });
    for (const request of requests) {
        text = '';
        socket.write(request);
        await until('an answer', () => {
            const end = text.indexOf('\r\n\r\n');
            if (end < 0) return false;
            const size = /content-length: (\d+)/i.exec(text);
            return text.length >= end + 4 + Number(size?.[1] ?? 0);
        });
        statuses.push(Number(text.slice(9, 12)));
    }
    socket.destroy();
    return statuses;
}

/** A raw request without a body, as the operator; `target` is sent as it stands. */
const raw = (method, target) =>
    `${method} ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`;

/** The same in pieces of this many bytes, each in a segment of its own; the answer's status. */
async function inSegments(request, size) {
    const socket = connect(cluster.port, '127.0.0.1');
    socket.setNoDelay(true);
    let text = '';
    socket.on('data', (data) => {
        text += data;
    });
    for (let at = 0; at < request.length; at += size) {
        socket.write(request.slice(at, at + size));
        await sleep(2);
    }
    await until('an answer', () => text.includes('\r\n\r\n'));
    socket.destroy();
    return Number(text.slice(9, 12));
}

/** A conversation comes to a user's list a moment after it was made. */
const isListed = (conv, user) =>
    until('it is in his list', async () => {
        const path = `/v1/users/${encodeURIComponent(user)}/conversations`;
        const { conversations } = await expect(200, 'GET', path);
        return conversations.some((item) => item.conv === conv);
    });

const membersOf = async (conv) => {
    const { members } = await expect(200, 'GET', `/v1/conversations/${conv}/members`);
    return members.map((member) => member.user).sort();
};

test('a name in a path is nobody else’s, however many slashes and dots are in it', async () => {
    const other = await group(['eve', 'bob']);
    const names = [
        `../../${other}`,
        `../../../conversations/${other}`,
        '..',
        '.',
        'dave/slash',
        '/bob',
        'bob/',
        'x/../bob',
        '//',
        'a+b',
        '%2e%2e',
        '%2F',
    ];
    const conv = await group(['bob', ...names]);
    const everybody = ['bob', ...names].sort();
    assert.deepEqual(await membersOf(conv), everybody);
    const encodings = (name) => [
        encodeURIComponent(name),
        encodeURIComponent(name)
            .replaceAll('.', '%2E')
            .replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase()),
    ];
    const paths = (name) =>
        encodings(name).map((part) => `/v1/conversations/${conv}/members/${part}`);
    for (const name of names) {
        const targets = paths(name);
        // Each is there, is removed by the one connection's second request, and is not there then.
        assert.deepEqual(
            await onOneConnection([
                raw('GET', targets[0]),
                raw('DELETE', targets[1]),
                raw('GET', targets[0]),
            ]),
            [200, 200, 404],
            name,
        );
        assert.deepEqual(await membersOf(conv), everybody.filter((user) => user !== name), name);
        assert.deepEqual(await onOneConnection([raw('POST', targets[0])]), [200], name);
        assert.equal(await inSegments(raw('GET', targets[1]), 7), 200, name);
    }
    assert.deepEqual(await membersOf(conv), everybody);
    assert.deepEqual(await membersOf(other), ['bob', 'eve']);
});

test('a path that another server would tidy ends nothing but what it names', async () => {
    const [first, second] = [await group(['alice', 'bob']), await group(['alice', 'bob'])];
    const targets = [
        [`/v1/conversations/${first}/members/..%2F..%2F${second}`, 200],
        [`/v1/conversations/${first}/members/..`, 200],
        [`/v1/conversations/${first}/members/%2E%2e`, 200],
        [`/v1/conversations/${first}/members/.`, 200],
        [`/v1/conversations/${first}/members/../../${second}`, 404],
        [`/v1/conversations/${first}/members//`, 404],
        [`/v1/conversations/${first}/`, 404],
        [`/v1/conversations//${first}`, 404],
        [`/v1//conversations/${first}`, 404],
        [`//v1/conversations/${first}`, 404],
        [`/v1/./conversations/${first}`, 404],
        [`/x/../v1/conversations/${first}`, 404],
        [`/v1/conversations/${first}/.`, 404],
        [`/v1/conversations/${first}/..%2F${second}`, 404],
        [`/v1/conversations/${first}%2F`, 400],
        [`/v1/conversations/..%2Fconversations%2F${second}`, 400],
        [`/v1/users/../conversations/${first}`, 404],
        [`/v1/conversations/${first}#`, 400],
        [`/v1/conversations/${first}%00`, 400],
    ];
    for (const [target, status] of targets) {
        const request = raw('DELETE', target);
        assert.deepEqual(await onOneConnection([request]), [status], target);
        assert.deepEqual(
            await onOneConnection([raw('GET', '/health'), request]),
            [200, status],
            target,
        );
        assert.equal(await inSegments(request, 5), status, target);
    }
    assert.deepEqual(await membersOf(first), ['alice', 'bob']);
    assert.deepEqual(await membersOf(second), ['alice', 'bob']);
});

test('to erase a user whose name is a path erases that user', async () => {
    const conv = await group(['alice', 'bob']);
    const target = `/v1/users/..%2Fconversations%2F${conv}`;
    assert.deepEqual(await onOneConnection([raw('GET', '/health'), raw('DELETE', target)]), [200, 200]);
    const name = `../conversations/${conv}`;
    const its = await group(['alice', name]);
    await isListed(its, name);
    await done('DELETE', target);
    assert.deepEqual(await membersOf(its), ['alice']);
    assert.deepEqual(await membersOf(conv), ['alice', 'bob']);
});

test('what is pipelined is served in its order, each by its own path', async () => {
    const conv = await group(['alice', 'a/b']);
    const path = `/v1/conversations/${conv}/members`;
    const socket = connect(cluster.port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => {
        text += data;
    });
    socket.write(
        raw('GET', `${path}/a%2Fb`) +
            raw('GET', `${path}/a/b`) +
            raw('DELETE', `${path}/a%2Fb`) +
            raw('GET', `${path}/a%2Fb`) +
            raw('GET', `${path}/%zz`),
    );
    await until('five answers', () => text.split('HTTP/1.1 ').length === 6);
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => Number(match[1]));
    assert.deepEqual(statuses, [200, 404, 200, 404, 400]);
    assert.match(text, /\{"error":\{"code":"bad_request","message":"[^"]+"\}\}$/);
    socket.destroy();
});

test('a connection serves one request after the other, also after an error', async () => {
    const head = `Host: x\r\nAuthorization: Bearer ${key}\r\n`;
    const body = '{"users":["u"]}';
    const good = `GET /v1/users/u/conversations HTTP/1.1\r\n${head}\r\n`;
    const post = `POST /v1/presence HTTP/1.1\r\n${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const bad = `POST /v1/presence HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\n{}`;
    const none = `GET /v1/conversations/no-such HTTP/1.1\r\n${head}\r\n`;
    const empty = `POST /v1/users/u/disconnect HTTP/1.1\r\n${head}Content-Length: 0\r\n\r\n`;
    const patch = `PATCH /v1/conversations/c HTTP/1.1\r\n${head}Content-Length: 0\r\n\r\n`;
    const health = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';
    assert.deepEqual(
        await onOneConnection([good, bad, none, empty, patch, post, health, good]),
        [200, 400, 404, 200, 400, 200, 200, 200],
    );
});

test('a POST that does not say how long its body is has none, and ends the connection', async () => {
    const head = `Host: x\r\nAuthorization: Bearer ${key}\r\n`;
    const [status] = await onOneConnection([
        `POST /v1/users/u/disconnect HTTP/1.1\r\n${head}\r\n`,
    ]);
    assert.equal(status, 200);
});

test('who goes before his answer harms nobody', async () => {
    const head = `Host: x\r\nAuthorization: Bearer ${key}\r\n`;
    for (let i = 0; i < 50; i++) {
        const socket = connect(cluster.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write(`GET /v1/users/u/conversations HTTP/1.1\r\n${head}\r\n`, () => socket.destroy());
    }
    await sleep(300);
    await expect(200, 'GET', '/v1/users/u/conversations');
});

test('a page of another site gets no answer, one of an allowed origin may read it', async () => {
    const evil = { headers: { Origin: 'http://evil.example' } };
    await refused(403, 'forbidden', 'GET', '/v1/cluster', undefined, evil);
    const own = { Origin: cluster.http() };
    const answer = await ask('GET', '/v1/cluster', undefined, { headers: own });
    assert.equal(answer.headers.get('access-control-allow-origin'), cluster.http());
    assert.equal(answer.headers.get('vary'), 'Origin');
    const preflight = await fetch(`${cluster.http()}/v1/presence`, {
        method: 'OPTIONS',
        headers: { ...own, 'Access-Control-Request-Method': 'POST' },
    });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get('access-control-allow-methods'), /PATCH/);
    assert.match(preflight.headers.get('access-control-allow-headers'), /authorization/);
});

test('more requests a second than a key or a user may make are 429, with Retry-After', async () => {
    const limited = await Cluster.start({ gateways: 1, args: ['--frames-per-second', '5'] });
    const bearer = readFileSync(join(limited.data, 'api.key'), 'utf8').trim();
    const headers = { Authorization: `Bearer ${bearer}` };
    try {
        const answers = await Promise.all(
            Array.from({ length: 30 }, () =>
                fetch(`${limited.http()}/v1/users/u/conversations`, { headers }),
            ),
        );
        const late = answers.filter((answer) => answer.status === 429);
        assert.ok(late.length > 0);
        assert.equal(late[0].headers.get('retry-after'), '1');
        assert.equal((await late[0].json()).error.code, 'rate_limited');
        await until(
            'the second is over',
            async () =>
                (await fetch(`${limited.http()}/v1/users/u/conversations`, { headers })).status === 200,
        );
    } finally {
        await limited.stop();
    }
});

test('without a router it is 503, with Retry-After', async () => {
    const lost = await Cluster.start({
        gateways: 1,
        args: ['--no-limits', '--request-ms', '500'],
    });
    const bearer = readFileSync(join(lost.data, 'api.key'), 'utf8').trim();
    try {
        await lost.kill('r1');
        const response = await fetch(`${lost.http()}/v1/users/u/conversations`, {
            headers: { Authorization: `Bearer ${bearer}` },
        });
        assert.equal(response.status, 503);
        assert.ok(Number(response.headers.get('retry-after')) >= 1);
        assert.equal((await response.json()).error.code, 'unavailable');
    } finally {
        await lost.stop();
    }
});

// ---- Conversations ----

test('POST /v1/conversations makes a group, all of it, and its members hear of it', async () => {
    const bob = unique('bob');
    const peer = await Peer.join(cluster, bob, { gateway: 2 });
    const conv = unique('group');
    const made = await expect(201, 'POST', '/v1/conversations', {
        conv,
        from: 'owner',
        members: [bob],
        title: 'A title',
        meta: { colour: 'red' },
        body: 'first',
        cid: 'first-1',
    });
    assert.deepEqual(made, { type: 'conversation', conv, kind: 'group', title: 'A title', head: made.head });
    const message = await peer.next((frame) => frame.type === 'message' && frame.conv === conv);
    assert.deepEqual([message.from, message.body], ['owner', 'first']);
    const { members } = await expect(200, 'GET', `/v1/conversations/${conv}/members`);
    assert.deepEqual(
        members.map(({ user, role }) => [user, role]).sort(),
        [[bob, 'member'], ['owner', 'owner']].sort(),
    );
    await peer.close();
});

test('the same creation with the same cid is 200, another one of that id 409', async () => {
    const request = { conv: unique('c'), from: 'a', members: ['b'], cid: 'once' };
    await expect(201, 'POST', '/v1/conversations', request);
    await expect(200, 'POST', '/v1/conversations', request);
    await refused(409, 'conflict', 'POST', '/v1/conversations', { ...request, cid: 'again' });
});

test('POST /v1/conversations makes an id where none is named, and needs no owner', async () => {
    const { conv } = await expect(201, 'POST', '/v1/conversations', { members: ['a'] });
    assert.match(conv, /^g:[A-Za-z0-9_-]{22}$/);
    const { members } = await expect(200, 'GET', `/v1/conversations/${conv}/members`);
    assert.deepEqual(members.map(({ user, role }) => [user, role]), [['a', 'member']]);
});

test('POST /v1/conversations opens the direct conversation of two users, one and the same', async () => {
    const [a, b] = [unique('a'), unique('b')];
    const first = await expect(201, 'POST', '/v1/conversations', { kind: 'direct', members: [a, b] });
    const second = await expect(200, 'POST', '/v1/conversations', { kind: 'direct', from: b, members: [a] });
    assert.equal(first.conv, second.conv);
    const as = await cluster.token(a);
    const third = await expect(200, 'POST', '/v1/conversations', { kind: 'direct', members: [b] }, { as });
    assert.equal(third.conv, first.conv);
    for (const request of [{ from: a, members: [a, b] }, { from: b, members: [a, b, b] }]) {
        const again = await expect(200, 'POST', '/v1/conversations', { kind: 'direct', ...request });
        assert.equal(again.conv, first.conv);
    }
    const peer = await Peer.join(cluster, a);
    const sent = await peer.say({ to: b }, 'hello');
    assert.equal(sent.conv, first.conv);
    await peer.close();
});

test('a first message of the operator’s has a sender whom from names, in a direct one too', async () => {
    const [a, b] = [unique('a'), unique('b')];
    for (const kind of ['direct', 'group']) {
        const request = { kind, members: [a, b], body: 'who says it?' };
        await refused(400, 'bad_request', 'POST', '/v1/conversations', request);
        const { conv } = await expect(201, 'POST', '/v1/conversations', { ...request, from: b });
        const { entries } = await expect(200, 'GET', `/v1/conversations/${conv}/messages?limit=1`);
        assert.equal(entries[0].from, b);
    }
});

test('with a token one makes conversations in one’s own name only', async () => {
    const as = await cluster.token('alice');
    const { conv } = await expect(201, 'POST', '/v1/conversations', { members: ['bob'] }, { as });
    const { members } = await expect(200, 'GET', `/v1/conversations/${conv}/members`, undefined, { as });
    assert.deepEqual(members.find((member) => member.user === 'alice').role, 'owner');
    await refused(403, 'forbidden', 'POST', '/v1/conversations', { from: 'bob', members: [] }, { as });
});

test('GET /v1/conversations/{conv} is the list’s item: for the operator, for a member', async () => {
    const conv = await group(['alice', 'bob'], { title: 'T', meta: [1] });
    await say(conv, 'alice', 'one');
    const shown = await expect(200, 'GET', `/v1/conversations/${conv}`);
    assert.equal(shown.conv, conv);
    assert.deepEqual([shown.kind, shown.title, shown.meta, shown.members], ['group', 'T', [1], 2]);
    assert.equal(shown.last.body, 'one');
    const as = await cluster.token('bob');
    assert.equal((await expect(200, 'GET', `/v1/conversations/${conv}`, undefined, { as })).unread, 1);
});

test('a conversation that is not there is 404; to who is no member 403, in every way', async () => {
    const conv = await group(['alice', 'bob']);
    const { seq } = await say(conv, 'alice', 'hush');
    const as = await cluster.token('eve');
    for (const [method, path, body] of [
        ['GET', ''],
        ['PATCH', '', { title: 't' }],
        ['GET', '/messages'],
        ['POST', '/messages', { body: 1 }],
        ['PATCH', `/messages/${seq}`, { body: 1 }],
        ['DELETE', `/messages/${seq}`],
        ['GET', '/members'],
        ['POST', '/members', { users: ['eve'] }],
        ['PATCH', '/members/bob', { role: 'admin' }],
        ['DELETE', '/members/bob'],
    ]) {
        await refused(403, 'forbidden', method, `/v1/conversations/${conv}${path}`, body, { as });
        const withFrom = path === '/messages' && method === 'POST' ? { ...body, from: 'alice' } : body;
        await refused(404, 'not_found', method, `/v1/conversations/no-such${path}`, withFrom);
    }
});

test('PATCH /v1/conversations/{conv} changes title and meta, which members are told', async () => {
    const alice = unique('alice');
    const conv = await group([alice, 'bob'], { title: 'old' });
    const peer = await Peer.join(cluster, alice);
    await done('PATCH', `/v1/conversations/${conv}`, { title: 'new', meta: { a: 1 } });
    const info = await peer.next((frame) => frame.type === 'info' && frame.title === 'new');
    assert.equal(info.from, undefined, 'the operator is nobody');
    assert.deepEqual((await expect(200, 'GET', `/v1/conversations/${conv}`)).meta, { a: 1 });
    const as = await cluster.token('bob');
    await refused(403, 'forbidden', 'PATCH', `/v1/conversations/${conv}`, { title: 'x' }, { as });
    await peer.close();
});

test('PATCH /v1/conversations/{conv} sets what newcomers see and how much is kept', async () => {
    const conv = await group(['alice']);
    const path = `/v1/conversations/${conv}`;
    await done('PATCH', path, { history: 'joined' });
    await say(conv, 'alice', 'before');
    await done('POST', `${path}/members`, { users: ['late'] });
    const as = await cluster.token('late');
    const { entries } = await expect(200, 'GET', `${path}/messages`, undefined, { as });
    assert.ok(entries.every((entry) => entry.body !== 'before'));
    await done('PATCH', path, { retain_count: 3, retain_ms: null });
});

test('DELETE /v1/conversations/{conv} ends it for everybody, and its id is not used again', async () => {
    const alice = unique('alice');
    const conv = await group([alice, 'bob']);
    await say(conv, alice, 'soon gone');
    const peer = await Peer.join(cluster, alice);
    await done('DELETE', `/v1/conversations/${conv}`);
    await refused(404, 'not_found', 'GET', `/v1/conversations/${conv}/messages`);
    await refused(409, 'conflict', 'POST', '/v1/conversations', { conv, members: ['x'] });
    await peer.next((frame) => frame.type === 'conversation' && frame.conv === conv && frame.gone);
    await until('his list is without it', async () => {
        const list = await expect(200, 'GET', `/v1/users/${alice}/conversations`);
        return list.conversations.length === 0;
    });
    await peer.close();
});

test('who was away while a direct conversation ended is told, and of a gap once it begins again', async () => {
    const bob = await Peer.join(cluster, unique('bob'));
    for (const hasMap of [true, false]) {
        const alice = unique('alice');
        const device = { device: 'd' };
        const { conv } = await bob.must('send', { to: alice, cid: 'a', body: 'before' });
        let peer = await Peer.join(cluster, alice, device);
        await peer.must('ack', { conv, seq: 3 });
        await peer.close();
        await bob.must('send', { conv, cid: 'b', body: 'missed' });
        await done('DELETE', `/v1/conversations/${conv}`);
        const resume = hasMap ? { [conv]: 3 } : undefined;
        const gone = (frame) => frame.conv === conv && frame.gone;
        await until('his list knows', async () => {
            peer = await Peer.join(cluster, alice, { ...device, resume });
            await sleep(100);
            if (peer.frames.some(gone)) return true;
            await peer.close();
            return false;
        });
        const again = await bob.must('send', { to: alice, cid: 'a', body: 'said before its end' });
        assert.deepEqual([again.dup, again.seq], [true, 3]);
        await bob.must('send', { to: alice, cid: 'c', body: 'after' });
        const gap = await peer.next('gap');
        assert.deepEqual([gap.conv, gap.from, gap.to, gap.trimmed], [conv, hasMap ? 4 : 1, 6, true]);
        const seqs = peer.frames.filter((frame) => frame.conv === conv && frame.seq > 4);
        await peer.next((frame) => frame.conv === conv && frame.body === 'after');
        assert.ok(seqs.every(({ seq }) => seq >= 7), JSON.stringify(seqs));
        const { entries } = await expect(200, 'GET', `/v1/conversations/${conv}/messages`);
        assert.deepEqual(entries.map(({ seq }) => seq), [7, 8, 9]);
        await peer.close();
    }
    await bob.close();
});

// ---- Messages ----

test('POST …/messages sends as a member, who hears of it like everybody', async () => {
    const alice = unique('alice');
    const conv = await group([alice, 'bob']);
    const peer = await Peer.join(cluster, alice, { gateway: 2 });
    const sent = await expect(201, 'POST', `/v1/conversations/${conv}/messages`, {
        from: 'bob',
        body: { text: 'hi', n: [1.5, null] },
        cid: 'm1',
    });
    assert.deepEqual(Object.keys(sent), ['type', 'conv', 'cid', 'seq', 'ts']);
    const message = await peer.next((frame) => frame.type === 'message' && frame.seq === sent.seq);
    assert.deepEqual(message.body, { text: 'hi', n: [1.5, null] });
    assert.equal(message.from, 'bob');
    await refused(403, 'forbidden', 'POST', `/v1/conversations/${conv}/messages`, { from: 'eve', body: 1 });
    await peer.close();
});

test('the same cid again is 200 with dup and the first seq, by way of any gateway', async () => {
    const conv = await group(['alice', 'bob']);
    const path = `/v1/conversations/${conv}/messages`;
    const request = { from: 'alice', body: 'once', cid: 'the-cid' };
    const first = await expect(201, 'POST', path, request);
    const again = await expect(200, 'POST', path, request, { gateway: 2 });
    assert.deepEqual(again, { ...first, dup: true });
    const as = await cluster.token('alice');
    assert.equal((await expect(200, 'POST', path, { body: 'once', cid: 'the-cid' }, { as })).dup, true);
    const { entries } = await expect(200, 'GET', path);
    assert.equal(entries.filter((entry) => entry.type === 'message').length, 1);
});

test('with a token one speaks for oneself', async () => {
    const conv = await group(['alice', 'bob']);
    const as = await cluster.token('bob');
    const path = `/v1/conversations/${conv}/messages`;
    await expect(201, 'POST', path, { body: 1 }, { as });
    await expect(201, 'POST', path, { from: 'bob', body: 2 }, { as });
    await refused(403, 'forbidden', 'POST', path, { from: 'alice', body: 3 }, { as });
});

test('a reply names what it replies to, which must exist', async () => {
    const conv = await group(['alice']);
    const { seq } = await say(conv, 'alice', 'question');
    await say(conv, 'alice', 'answer', { reply_to: seq });
    const { entries } = await expect(200, 'GET', `/v1/conversations/${conv}/messages?after=${seq}`);
    assert.equal(entries[0].reply_to, seq);
    const answer = await ask('POST', `/v1/conversations/${conv}/messages`, {
        from: 'alice',
        body: 1,
        reply_to: 9999,
    });
    assert.ok([400, 404].includes(answer.status));
});

test('GET …/messages pages in both directions, and shows the newest where nothing is said', async () => {
    const conv = await group(['alice']);
    for (let i = 1; i <= 25; i++) await say(conv, 'alice', i);
    const path = `/v1/conversations/${conv}/messages`;
    const { head } = await expect(200, 'GET', path);
    const forward = [];
    for (let more = true; more;) {
        const page = await expect(200, 'GET', `${path}?after=${forward.at(-1) ?? 0}&limit=7`);
        forward.push(...page.entries.map((entry) => entry.seq));
        more = page.more;
    }
    assert.deepEqual(forward, Array.from({ length: head }, (_, i) => i + 1));
    const back = [];
    for (let more = true; more;) {
        const page = await expect(200, 'GET', `${path}?limit=7${back.length ? `&before=${back[0]}` : ''}`);
        back.unshift(...page.entries.map((entry) => entry.seq));
        more = page.more;
    }
    assert.deepEqual(back, forward);
    for (const query of ['after=x', 'after=-1', 'before=0', 'limit=0', 'after=1&before=2', 'after=1&after=2'])
        await refused(400, 'bad_request', 'GET', `${path}?${query}`);
});

test('PATCH and DELETE …/messages/{seq} edit and delete: the sender’s, an admin’s, the operator’s', async () => {
    const conv = await group(['owner', 'alice', 'bob']);
    const path = `/v1/conversations/${conv}/messages`;
    const { seq } = await say(conv, 'alice', 'tpyo');
    const alice = await cluster.token('alice');
    const bob = await cluster.token('bob');
    const edit = await expect(200, 'PATCH', `${path}/${seq}`, { body: 'typo' }, { as: alice });
    assert.ok(edit.seq > seq);
    await refused(403, 'forbidden', 'PATCH', `${path}/${seq}`, { body: 'x' }, { as: bob });
    await refused(403, 'forbidden', 'DELETE', `${path}/${seq}`, undefined, { as: bob });
    await expect(200, 'PATCH', `${path}/${seq}`, { body: 'by the operator' });
    let page = await expect(200, 'GET', `${path}?after=${seq - 1}&limit=1`);
    assert.equal(page.entries[0].body, 'by the operator');
    assert.ok(page.entries[0].edited.seq > edit.seq);
    await expect(200, 'DELETE', `${path}/${seq}`, undefined, { as: alice });
    page = await expect(200, 'GET', `${path}?after=${seq - 1}&limit=1`);
    assert.deepEqual([page.entries[0].body, page.entries[0].deleted], [null, true]);
    await refused(409, 'conflict', 'PATCH', `${path}/${seq}`, { body: 'x' });
    await refused(404, 'not_found', 'DELETE', `${path}/9999`);
    const other = await say(conv, 'bob', 'rude');
    await expect(200, 'DELETE', `${path}/${other.seq}`);
});

// ---- Members ----

test('members are added, given roles, listed in pages and removed', async () => {
    const conv = await group(['owner']);
    const path = `/v1/conversations/${conv}/members`;
    const users = Array.from({ length: 12 }, (_, i) => `m${String(i).padStart(2, '0')}`);
    await done('POST', path, { users });
    await done('POST', path, { users: ['chief'], role: 'admin' });
    const seen = [];
    for (let more = true; more;) {
        const page = await expect(200, 'GET', `${path}?limit=5${seen.length ? `&after=${seen.at(-1)}` : ''}`);
        assert.equal(page.total, 14);
        seen.push(...page.members.map((member) => member.user));
        more = page.more;
    }
    assert.deepEqual(seen, ['chief', ...users, 'owner']);
    await done('PATCH', `${path}/m03`, { role: 'admin' });
    await done('DELETE', `${path}/m04`);
    const { members } = await expect(200, 'GET', path);
    assert.equal(members.find((member) => member.user === 'm03').role, 'admin');
    assert.equal(members.find((member) => member.user === 'm04'), undefined);
    await refused(404, 'not_found', 'PATCH', `${path}/nobody`, { role: 'admin' });
    await refused(400, 'bad_request', 'GET', `${path}?after=`);
});

test('one member is added, and looked at, by the path', async () => {
    const conv = await group(['owner']);
    const path = `/v1/conversations/${conv}/members`;
    await done('POST', path, { user: 'bob' });
    await done('POST', `${path}/bo`);
    await done('POST', `${path}/bobo`, { role: 'admin' });
    await done('POST', `${path}/${encodeURIComponent('ü ')}`);
    for (const [user, role] of [['bob', 'member'], ['bo', 'member'], ['bobo', 'admin'], ['owner', 'owner'], ['ü ', 'member']]) {
        const member = await expect(200, 'GET', `${path}/${encodeURIComponent(user)}`);
        assert.deepEqual(Object.keys(member), ['user', 'role', 'joined']);
        assert.deepEqual([member.user, member.role], [user, role]);
    }
    await done('DELETE', `${path}/bob`);
    for (const user of ['bob', 'b', 'boa', 'bobo%20', 'p', '%20', '%F4%8F%BF%BF'])
        await refused(404, 'not_found', 'GET', `${path}/${user}`);
    await refused(404, 'not_found', 'GET', '/v1/conversations/no-such/members/bo');
    const as = await cluster.token('bob');
    await refused(403, 'forbidden', 'GET', `${path}/bo`, undefined, { as });
    await refused(403, 'forbidden', 'POST', `${path}/bob`, undefined, { as });
});

test('with a token the roles count, and who removes himself leaves', async () => {
    const conv = await group(['owner', 'alice', 'bob']);
    const path = `/v1/conversations/${conv}/members`;
    const alice = await cluster.token('alice');
    const owner = await cluster.token('owner');
    await refused(403, 'forbidden', 'PATCH', `${path}/bob`, { role: 'admin' }, { as: alice });
    await refused(403, 'forbidden', 'DELETE', `${path}/bob`, undefined, { as: alice });
    await done('PATCH', `${path}/alice`, { role: 'admin' }, { as: owner });
    await done('DELETE', `${path}/bob`, undefined, { as: alice });
    await done('DELETE', `${path}/alice`, undefined, { as: alice });
    const { entries } = await expect(200, 'GET', `/v1/conversations/${conv}/messages`);
    assert.deepEqual(
        entries.slice(-2).map(({ change, from, user }) => [change, from, user]),
        [
            ['left', 'alice', 'bob'],
            ['left', 'alice', 'alice'],
        ],
    );
});

// ---- Users ----

test('GET /v1/users/{user}/conversations: newest activity first, in pages', async () => {
    const user = unique('busy');
    const convs = [];
    for (let i = 0; i < 7; i++) {
        convs.push(await group([user]));
        await say(convs[i], user, i);
    }
    const list = await until('all are in his list', async () => {
        const page = await expect(200, 'GET', `/v1/users/${user}/conversations`);
        return page.conversations.length === 7 && page;
    });
    assert.deepEqual(
        list.conversations.map((item) => item.last.body),
        [6, 5, 4, 3, 2, 1, 0],
    );
    const as = await cluster.token(user);
    const page = await expect(200, 'GET', `/v1/users/${user}/conversations?limit=3`, undefined, { as });
    assert.equal(page.more, true);
    const rest = await expect(
        200,
        'GET',
        `/v1/users/${user}/conversations?limit=10&after=${page.conversations.at(-1).conv}`,
        undefined,
        { as },
    );
    assert.deepEqual(
        [...page.conversations, ...rest.conversations].map((item) => item.conv),
        list.conversations.map((item) => item.conv),
    );
    assert.equal(rest.more, false);
});

test('when a creation is answered, the lists of its members show it, through any gateway', async () => {
    const [alice, bob] = [unique('alice'), unique('bob')];
    const as = await cluster.token(bob);
    const peer = await Peer.join(cluster, bob, { gateway: 2 });
    const shows = ({ conversations }, conv) => conversations.some((item) => item.conv === conv);
    for (let n = 0; n < 10; n++) {
        const made = { from: alice, members: [bob], body: n };
        const { conv } = await expect(201, 'POST', '/v1/conversations', made);
        for (const [user, gateway] of [[alice, 1], [bob, 2]]) {
            const path = `/v1/users/${user}/conversations?limit=5`;
            assert.ok(shows(await expect(200, 'GET', path, undefined, { gateway }), conv));
        }
        const own = (await expect(201, 'POST', '/v1/conversations', { members: [] }, { as })).conv;
        assert.ok(shows(await peer.must('conversations'), own));
    }
    await peer.close();
});

test('presence: who has a session on any gateway is online, to any token', async () => {
    const alice = unique('alice');
    const never = unique('never');
    const path = `/v1/users/${alice}/presence`;
    assert.deepEqual(await expect(200, 'GET', path), { user: alice, status: 'offline' });
    const peer = await Peer.join(cluster, alice, { gateway: 2 });
    await until('he is online', async () => (await expect(200, 'GET', path)).status === 'online');
    const as = await cluster.token('bob');
    assert.equal((await expect(200, 'GET', path, undefined, { as })).status, 'online');
    const { users } = await expect(200, 'POST', '/v1/presence', { users: [never, alice, never] });
    assert.deepEqual(
        users.map(({ user, status }) => [user, status]),
        [[never, 'offline'], [alice, 'online'], [never, 'offline']],
    );
    await peer.close();
});

test('to ask for somebody’s conversations does not make him online', async () => {
    const user = unique('watched');
    await expect(200, 'GET', `/v1/users/${user}/conversations`);
    assert.equal((await expect(200, 'GET', `/v1/users/${user}/presence`)).status, 'offline');
});

test('POST …/disconnect closes all his sessions with 4503, on every gateway, and nobody else’s', async () => {
    const [alice, bob] = [unique('alice'), unique('bob')];
    const peers = [
        await Peer.join(cluster, alice, { gateway: 1 }),
        await Peer.join(cluster, alice, { gateway: 2 }),
    ];
    const other = await Peer.join(cluster, bob, { gateway: 2 });
    await done('POST', `/v1/users/${alice}/disconnect`);
    for (const peer of peers) {
        const { code, reason } = await peer.closed;
        assert.deepEqual([code, reason], [4503, 'logged out by the server']);
    }
    assert.equal((await other.ask('ping')).type, 'pong');
    const back = await Peer.join(cluster, alice); // The token is still good.
    const as = await cluster.token(alice);
    await done('POST', `/v1/users/${alice}/disconnect`, undefined, { as, gateway: 2 });
    assert.equal((await back.closed).code, 4503);
    await other.close();
});

test('DELETE /v1/users/{user} erases him everywhere, also where he had left, and may be repeated', async () => {
    const user = unique('gone');
    const convs = [await group(['alice', user]), await group(['alice', user]), await group(['alice', user])];
    for (const conv of convs) {
        await say(conv, user, 'a secret of his');
        await say(conv, 'alice', 'not his');
    }
    await done('DELETE', `/v1/conversations/${convs[2]}/members/${user}`);
    await until('all is in his list', async () => {
        const list = await expect(200, 'GET', `/v1/users/${user}/conversations`);
        return list.conversations.length === 2;
    });
    const peer = await Peer.join(cluster, user);
    await done('DELETE', `/v1/users/${user}`);
    assert.equal((await peer.closed).code, 4503);
    for (const conv of convs) {
        const { entries } = await expect(200, 'GET', `/v1/conversations/${conv}/messages`);
        const messages = entries.filter((entry) => entry.type === 'message');
        assert.deepEqual(
            messages.map((message) => message.body),
            [null, 'not his'],
        );
        const { members } = await expect(200, 'GET', `/v1/conversations/${conv}/members`);
        assert.ok(members.every((member) => member.user !== user));
    }
    await until('his list is empty', async () => {
        const list = await expect(200, 'GET', `/v1/users/${user}/conversations`);
        return list.conversations.length === 0;
    });
    await until('he is offline, and was never seen', async () => {
        const presence = await expect(200, 'GET', `/v1/users/${user}/presence`);
        return presence.status === 'offline';
    });
    await done('DELETE', `/v1/users/${user}`);
    await done('DELETE', `/v1/users/${unique('nobody')}`);
});

test('with his own token a user erases himself', async () => {
    const user = unique('gone');
    const conv = await group(['alice', user]);
    const as = await cluster.token(user);
    await isListed(conv, user);
    await done('DELETE', `/v1/users/${user}`, undefined, { as });
    await refused(404, 'not_found', 'GET', `/v1/conversations/${conv}/members/${user}`);
});

// ---- The cluster ----

test('GET /v1/cluster shows what chatmesh status --json shows', async () => {
    const shown = await expect(200, 'GET', '/v1/cluster', undefined, { gateway: 2 });
    const printed = JSON.parse((await run(['status', '--json', '--data', cluster.data])).stdout);
    assert.deepEqual(Object.keys(shown), Object.keys(printed));
    assert.equal(shown.cluster, printed.cluster);
    const ids = (nodes) => nodes.map((node) => node.id).sort();
    assert.deepEqual(ids(shown.nodes), ['g1', 'g2', 'r1', 'r2', 'r3']);
    assert.deepEqual(ids(shown.nodes), ids(printed.nodes));
    assert.deepEqual(ids(shown.members), ['r1', 'r2', 'r3']);
    assert.deepEqual(ids(shown.routers), ['r1', 'r2', 'r3']);
    assert.equal(shown.shards.led, shown.shards.total);
});

test('in a dev cluster GET /v1/cluster needs no key; a bad one is refused all the same', async () => {
    await expect(200, 'GET', '/v1/cluster', undefined, { as: null });
    await expect(200, 'GET', '/v1/cluster', undefined, { as: await cluster.token('alice') });
    await refused(401, 'unauthorized', 'GET', '/v1/cluster', undefined, { as: 'cmk_no' });
});

test('GET /v1/cluster shows a router that died, and the others', async () => {
    const small = await Cluster.start({ routers: 3, gateways: 1 });
    try {
        await small.kill('r3');
        const { status, body } = await until('the dead one is missed', async () => {
            const response = await fetch(`${small.http()}/v1/cluster`);
            const shown = await response.json();
            const dead = shown.members?.find((member) => member.id === 'r3');
            return dead && !dead.up && { status: response.status, body: shown };
        });
        assert.equal(status, 200);
        assert.equal(body.nodes.find((node) => node.id === 'r3'), undefined);
        assert.ok(body.routers.length === 2);
    } finally {
        await small.stop();
    }
});

test('/admin is a page, and everything it refers to is there', async () => {
    const response = await fetch(`${cluster.http()}/admin`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/html/);
    const html = await response.text();
    for (const [, path] of html.matchAll(/(?:src|href)="([a-z][^":#]*)"/g))
        assert.equal((await fetch(`${cluster.http()}/${path}`)).status, 200, path);
});
